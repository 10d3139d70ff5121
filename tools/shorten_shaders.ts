/**
 * Shorter names for what the shaders declare: users download them. A name becomes the same one
 * everywhere, which nothing else has, so that what it means cannot change.
 *
 * @module
 */

/** A name by itself: no field, and no part of a name that the template puts together. */
const name = /(?<![\w$.])[A-Za-z_]\w*(?![\w$])/g;

/** Declarations of functions, variables, constants and structs; of parameters and members. */
const declarations = [/\b(?:fn|let|const|struct|var(?:<[^>]*>)?) ([A-Za-z_]\w*)(?![\w$])/g];
const parameters = /(?<![\w$.])([A-Za-z_]\w*):/g;

const definitions = /\b(?:fn|struct) ([A-Za-z_]\w*)/g;
const calls = /(?<![\w$.])([A-Za-z_]\w*)\(/g;

/** Names of two letters that WGSL has for itself. */
const reserved = ["as", "do", "fn", "if", "of"];

const letters = Array.from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/** A struct's members; their names stay, since what is behind a dot could be any struct's. */
const members = /(?<=^struct \w+\{\n)[^}]*/gm;

/** Lines of the template, in which names are words of its own. */
const directives = /^#.*/gm;

function namesIn(text: string, patterns: readonly RegExp[]): Set<string> {
  return new Set(patterns.flatMap((pattern) => Array.from(text.matchAll(pattern), (m) => m[1])));
}

/** Whether the template makes a name, of some word and what stands beside it, or gives it as a word. */
function madeNames(text: string): (name: string) => boolean {
  const words = Array.from(text.matchAll(/^#import .*$/gm), ([line]) => line.match(/(?<==)\w+/g));
  const given = new Set(words.flatMap((some) => some ?? []));
  const patterns = Array.from(text.matchAll(/[\w$]*\$[\w$]*/g), ([whole]) => whole)
    .filter((whole) => whole.replace(/\$[a-zA-Z]+/g, "") !== "")
    .map((whole) => new RegExp(`^${whole.replace(/\$[a-zA-Z]+/g, "\\w+")}$`));
  return (name) => given.has(name) || patterns.some((pattern) => pattern.test(name));
}

/** Which name becomes which, the most frequent the shortest: those of `first` before all others. */
function shorterNames(text: string, first: string, provided: string): ReadonlyMap<string, string> {
  const code = text.replace(directives, ""), isMade = madeNames(text);
  // What is called and nowhere defined is WGSL's, though a variable may have its name elsewhere.
  const defined = namesIn(code, [definitions]);
  const builtIn = [...namesIn(code, [calls])].filter((each) => !defined.has(each));
  const known = new Set([...provided.match(/\w+/g) ?? [], ...builtIn, "main", "default"]);
  const declared = namesIn(code.replace(members, ""), [...declarations, parameters]);
  const counts = new Map<string, number>();
  for (const [each] of first.replace(directives, "").matchAll(name)) {
    counts.set(each, (counts.get(each) ?? 0) + 1);
  }
  const kept = (each: string) =>
    each.length < 2 || /^[A-Z_0-9]+$/.test(each) || isMade(each) || known.has(each);
  const long = [...declared].filter((each) => !kept(each))
    .sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0) || (a < b ? -1 : 1));
  const used = new Set([...text.match(/\w+/g) ?? [], ...known, ...reserved]);
  const short = [...letters, ...letters.flatMap((a) => letters.map((b) => a + b))]
    .filter((each) => !used.has(each));
  return new Map(long.map((each, at) => [each, short[at]]));
}

/**
 * Shortens names.
 *
 * @param sources All shaders, without comments and needless spaces.
 * @param provided What they import beside, whose names stay.
 * @param first Those of them whose names are to be the shortest: every program that has a GPU downloads them.
 */
export function shortenNames(
  sources: readonly string[],
  provided: string,
  first: readonly string[] = sources,
): string[] {
  const names = shorterNames(sources.join("\n"), first.join("\n"), provided);
  const rename = (text: string) => text.replace(name, (each) => names.get(each) ?? each);
  const renameTypes = (text: string) => text.replace(/(?<=:).*/g, rename);
  return sources.map((source) =>
    source.split(/(^#.*|(?<=^struct \w+\{\n)[^}]*)/m).map((part, at) => {
      if (at % 2 === 0) return rename(part);
      return part.startsWith("#") ? part : renameTypes(part);
    }).join("")
  );
}
