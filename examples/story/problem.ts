/**
 * What the algorithms are given, the same random numbers in every run.
 *
 * @module
 */

import { createRandom } from "../llama/random.ts";
import { Matrix } from "./memory.ts";

/** What a run is about: N queries and keys of d numbers each, and a fast memory of M numbers. */
export interface Sizes {
  readonly n: number;
  readonly d: number;
  readonly m: number;
}

/** Queries, keys and values, in slow memory. */
export interface Inputs {
  readonly q: Matrix;
  readonly k: Matrix;
  readonly v: Matrix;
}

/** Numbers from -1 to 1, N x d. */
export function randomMatrix(name: string, n: number, d: number, seed: number): Matrix {
  const random = createRandom(seed);
  return new Matrix(name, n, d, Float64Array.from({ length: n * d }, () => 2 * random() - 1));
}

/** Random queries, keys and values. */
export function randomInputs({ n, d }: Sizes, seed = 1): Inputs {
  const [q, k, v] = ["Q", "K", "V"].map((name, index) =>
    randomMatrix(name, n, d, 3 * seed + index)
  );
  return { q, k, v };
}

/** The factor of the scores. */
export function scaleFor(d: number): number {
  return 1 / Math.sqrt(d);
}
