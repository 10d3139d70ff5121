/**
 * Finds an architecture's tensors in a file. What is missing, of another shape, stored in a way that cannot be
 * read or left over is kept, and told all at once, before anything is allocated.
 *
 * @module
 */

import { isReadable, type TensorEntry } from "../files/weights.ts";
import type { LinearTensors, NormTensors } from "./model.ts";

/** Endings of a norm's weight and bias: the first as they are, others as older files have them. */
const weightNames = ["weight", "gamma"], biasNames = ["bias", "beta"];

/** What an entry is where there is none: nobody sees it, since that is told. */
function placeholder(name: string, shape: readonly number[]): TensorEntry {
  return { name, shape, dtype: "f32", bytes: 0 };
}

/** The first of some names, and how many more. */
function some(names: readonly string[]): string {
  const most = 3, more = names.length - most;
  return names.slice(0, most).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** Tensors of a file that are asked for by their names. */
export class Claims {
  readonly #entries: ReadonlyMap<string, TensorEntry>;
  readonly #claimed = new Set<string>();
  readonly #missing: string[] = [];
  readonly #misshapen: string[] = [];
  /** Tensors by how they are stored. */
  readonly #unreadable = new Map<string, string[]>();

  constructor(entries: ReadonlyMap<string, TensorEntry>) {
    this.#entries = entries;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** A tensor by the first of its names that is there. */
  #claim(names: readonly string[], shape: readonly number[], isPlain: boolean): TensorEntry {
    const name = names.find((one) => this.#entries.has(one));
    if (name === undefined) {
      this.#missing.push(`${names[0]} [${shape}]`);
      return placeholder(names[0], shape);
    }
    const entry = this.#entries.get(name)!, { dtype } = entry;
    this.#claimed.add(name);
    if (`${entry.shape}` !== `${shape}`) {
      this.#misshapen.push(`${name} is [${entry.shape}] and must be [${shape}]`);
    }
    const isFloat = dtype === "f32" || dtype === "f16" || dtype === "bf16";
    if (!isFloat && (isPlain || !isReadable(dtype) || dtype === "i8")) {
      this.#unreadable.set(dtype, [...this.#unreadable.get(dtype) ?? [], name]);
    }
    return entry;
  }

  /** A matrix by its name, in blocks too. */
  matrix(name: string, shape: readonly number[]): TensorEntry {
    return this.#claim([`${name}.weight`], shape, false);
  }

  norm(name: string, width: number, hasBias: boolean): NormTensors {
    const claim = (endings: readonly string[]) =>
      this.#claim(endings.map((ending) => `${name}.${ending}`), [width], true);
    return { weight: claim(weightNames), ...(hasBias && { bias: claim(biasNames) }) };
  }

  linear(
    name: string,
    { outputs, inputs, layout }: Pick<LinearTensors, "outputs" | "inputs" | "layout">,
    hasBias: boolean,
  ): LinearTensors {
    const shape = layout === "out-in" ? [outputs, inputs] : [inputs, outputs];
    return {
      ...{ weight: this.matrix(name, shape), outputs, inputs, layout },
      ...(hasBias && { bias: this.#claim([`${name}.bias`], [outputs], true) }),
    };
  }

  /** What is wrong, in words; tensors that are left over are, unless they are known not to be needed. */
  problems(ignored: (name: string) => boolean): string[] {
    const others = [...this.#entries.keys()]
      .filter((name) => !this.#claimed.has(name) && !ignored(name));
    const unreadable = [...this.#unreadable].map(([dtype, names]) => `${dtype} (${some(names)})`);
    const problems: readonly (readonly [what: string, names: readonly string[]])[] = [
      ["tensors are missing", this.#missing],
      ["tensors have other shapes", this.#misshapen],
      ["tensors are stored in a way that cannot be read", unreadable],
      ["there are tensors that this architecture does not have", others],
    ];
    return problems.flatMap(([what, names]) =>
      names.length === 0 ? [] : [`${what}: ${names.join(", ")}`]
    );
  }
}
