/**
 * Standard attention: scores S and weights P are whole matrices in slow memory
 * (arXiv 2205.14135, algorithm 0).
 *
 * @module
 */

import { blocksOf } from "./blocks.ts";
import type { Matrix, Memory } from "./memory.ts";
import { mix, scores } from "./products.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import type { Softmax } from "./softmax.ts";

/** `softmax(Q Kᵀ / sqrt(d)) V`, a step at a time, each from slow memory to slow memory. */
export function standardAttention(inputs: Inputs, softmax: Softmax, memory: Memory): Matrix {
  return mix("O", weightsOf(inputs, softmax, memory), inputs.v, memory);
}

/** The weights P. */
export function weightsOf({ q, k }: Inputs, softmax: Softmax, memory: Memory): Matrix {
  const d = q.columns, s = scores("S", q, k, scaleFor(d), memory);
  return softmax(s, blocksOf(memory.size, d), memory);
}
