/**
 * The shaders' template: what WGSL lacks to write one source for many variants, and no more.
 *
 * - `#import path NAME=text ...` puts a file here, each `$NAME` in it replaced. A file comes once for
 *   the same names.
 * - `#if NAME`, `#else`, `#end`: kept where the constant `NAME` is given and not 0.
 * - `#for i in N` to `#end`: once for each number below `N` (a constant or a number), `$i` replaced.
 * - `$(i*N+j)`: products and sums of numbers, counters and constants.
 *
 * Constants are whole numbers; each is also declared as `const NAME: u32` in front.
 *
 * @module
 */

/** Whole numbers by name; a flag is 1 or absent. */
export type Constants = Readonly<Record<string, number>>;

/** Sources by path. */
export type Sources = Readonly<Record<string, string>>;

/** Expands a source. Throws where the template is wrong, with the file and the line. */
export function expand(path: string, sources: Sources, constants: Constants): string {
  const imported = new Set<string>();
  const lines = new Expansion(sources, constants, imported).file(path, {});
  const names = Object.keys(constants).filter((name) => /^[A-Z]/.test(name)).sort();
  return [...names.map((name) => `const ${name}: u32 = ${constants[name]};`), ...lines]
    .join("\n") + "\n";
}

/** Words that are replaced, by name. */
type Words = Readonly<Record<string, string>>;

class Expansion {
  readonly #sources: Sources;
  readonly #constants: Constants;
  readonly #imported: Set<string>;
  #path = "";
  #lines: readonly string[] = [];
  #at = 0;

  constructor(sources: Sources, constants: Constants, imported: Set<string>) {
    this.#sources = sources;
    this.#constants = constants;
    this.#imported = imported;
  }

  /** Every line of a file. */
  file(path: string, words: Words): string[] {
    const source = this.#sources[path];
    if (source === undefined) throw new Error(`No shader source ${path}`);
    this.#path = path;
    this.#lines = source.split("\n");
    const lines = this.#block(words, true);
    if (this.#at < this.#lines.length) this.#fail("`#end` or `#else` without a beginning");
    return lines;
  }

  /** Lines up to the `#end` or `#else` of this block, which is left to be read. */
  #block(words: Words, kept: boolean): string[] {
    const out: string[] = [];
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = this.#lines[this.#at];
      const [directive, ...rest] = this.#replace(line, words, kept).trim().split(/\s+/);
      if (directive === "#end" || directive === "#else") break;
      if (directive === "#if") out.push(...this.#choice(rest[0], words, kept));
      else if (directive === "#for") out.push(...this.#loop(rest, words, kept));
      else if (directive === "#import") out.push(...(kept ? this.#include(rest) : []));
      else if (directive.startsWith("#")) this.#fail(`unknown directive ${directive}`);
      else if (kept) out.push(this.#replace(line, words, kept));
    }
    return out;
  }

  #choice(name: string, words: Words, kept: boolean): string[] {
    const holds = (this.#constants[name] ?? 0) !== 0;
    const begin = this.#at++;
    const first = this.#block(words, kept && holds);
    const second: string[] = [];
    if (this.#lines[this.#at]?.trim() === "#else") {
      this.#at++;
      second.push(...this.#block(words, kept && !holds));
    }
    this.#expectEnd(begin);
    return [...first, ...second];
  }

  #loop([counter, word, count]: string[], words: Words, kept: boolean): string[] {
    if (word !== "in" || count === undefined) this.#fail("a loop is `#for name in COUNT`");
    const times = kept ? this.#value(count, words) : 0;
    const begin = this.#at, out: string[] = [];
    // Once without effect where it is not kept, to find its end.
    for (let time = 0; time < Math.max(times, 1); time++) {
      this.#at = begin + 1;
      out.push(...this.#block({ ...words, [counter]: String(time) }, kept && times > 0));
    }
    this.#expectEnd(begin);
    return out;
  }

  #expectEnd(begin: number): void {
    if (this.#lines[this.#at]?.trim() === "#end") return;
    this.#at = begin;
    this.#fail("a block without `#end`");
  }

  #include([path, ...pairs]: string[]): string[] {
    const key = [path, ...pairs].join(" ");
    if (this.#imported.has(key)) return [];
    this.#imported.add(key);
    const words = Object.fromEntries(pairs.map((pair) => pair.split("=")));
    return new Expansion(this.#sources, this.#constants, this.#imported).file(path, words);
  }

  #replace(line: string, words: Words, kept: boolean): string {
    const replaced = line.replace(/\$(\w+)/g, (whole, name: string) => {
      // The longest known name that the word begins with: `$TENSOR_f32` is `q_f32`.
      const known = Object.keys(words)
        .filter((word) => name === word || name.startsWith(`${word}_`))
        .sort((a, b) => b.length - a.length)[0];
      if (known !== undefined) return words[known] + name.slice(known.length);
      return kept ? this.#fail(`unknown name ${whole}`) : whole;
    });
    if (!kept) return replaced;
    return replaced.replace(/\$\(([^)]*)\)/g, (_, sum) => String(this.#value(sum, words)));
  }

  /** A sum of products. */
  #value(text: string, words: Words): number {
    const factor = (name: string): number => {
      const value = /^\d+$/.test(name)
        ? Number(name)
        : Number(words[name] ?? this.#constants[name]);
      return Number.isNaN(value) ? this.#fail(`unknown name ${name}`) : value;
    };
    return text.split("+").reduce(
      (sum, product) =>
        sum + product.split("*").reduce((value, name) => value * factor(name.trim()), 1),
      0,
    );
  }

  #fail(what: string): never {
    throw new Error(`${this.#path}:${this.#at + 1}: ${what}`);
  }
}
