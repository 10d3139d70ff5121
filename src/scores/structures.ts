/**
 * What is compiled of functions, once for each structure: literals and arrays are no part of it.
 *
 * @module
 */

import type { Functions } from "./functions.ts";

/** What is kept; what was not used for longest goes. */
const mostKept = 64;

/** What was compiled, by structure. */
export class Structures<Compiled> {
  readonly #kept = new Map<string, Compiled>();
  readonly #compile: (functions: Functions, hasGradient: boolean) => Compiled;
  /** For tests: how many were compiled. */
  count = 0;

  constructor(compile: (functions: Functions, hasGradient: boolean) => Compiled) {
    this.#compile = compile;
  }

  /** What two functions are compiled to, with gradients or without. */
  of(functions: Functions, hasGradient: boolean): Compiled {
    const { score, mask } = functions;
    // Which arrays ask for gradients is seen in what has these alone.
    const asked = hasGradient ? score?.arrays.map(({ grad }) => Number(grad)).join("") : "-";
    const key = `${score?.structure}\n\n${mask?.structure}\n\n${asked}`;
    const known = this.#kept.get(key) ?? this.#compileNew(functions, hasGradient);
    this.#kept.delete(key);
    this.#kept.set(key, known);
    if (this.#kept.size > mostKept) this.#kept.delete(this.#kept.keys().next().value!);
    return known;
  }

  #compileNew(functions: Functions, hasGradient: boolean): Compiled {
    this.count++;
    return this.#compile(functions, hasGradient);
  }
}
