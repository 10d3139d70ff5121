/**
 * Random inputs, the same in every run, and the work that they are.
 *
 * @module
 */

import { type Tensor, tensor } from "@flashtile/attention";
import type { Settings } from "./settings.ts";

/** The inputs of a call. */
export interface Problem {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly causal: boolean;
}

/** Inputs for a length. */
export function randomProblem({ heads, dim, causal }: Settings, length: number): Problem {
  const random = seeded(length);
  const one = () => tensor(normals(heads * length * dim, random), [heads, length, dim]);
  return { q: one(), k: one(), v: one(), causal };
}

/** Mulberry32: the next number of `[0, 1)`, from 32 bits of state. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Numbers near the normal distribution: sums of four uniform ones, scaled to variance 1. */
function normals(length: number, random: () => number): Float32Array {
  const one = () => (random() + random() + random() + random() - 2) * Math.sqrt(3);
  return Float32Array.from({ length }, one);
}

/** Floating-point operations of a call: two products per key that is seen. */
export function operationsOf({ q, causal }: Problem): number {
  const [heads, length, dim] = q.shape;
  const seen = causal ? length * (length + 1) / 2 : length * length;
  return 4 * heads * dim * seen;
}
