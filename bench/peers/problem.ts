/**
 * What is computed: a shape, its numbers, its work, and whether a result is right.
 *
 * @module
 */

import { referenceAttention } from "../../src/reference/mod.ts";
import { numbers } from "../numbers.ts";

/** One call of attention, batch 1. */
export interface Shape {
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly causal: boolean;
}

/** A shape and its numbers, contiguous `[heads, N, dim]`. */
export interface Problem extends Shape {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** How a result lies: `[heads, queries, dim]` or `[queries, heads, dim]`. */
export type Layout = "heads first" | "heads last";

/**
 * Largest error that still counts as a right result. f32 of the plain formula is off by some 1e-7
 * here; peers may approximate the exponential, but not be wrong.
 */
const usualTolerance = 1e-4;

/** The numbers of a shape. */
export function problemOf(shape: Shape): Problem {
  const { heads, queries, keys, dim } = shape;
  return {
    ...shape,
    q: numbers(heads * queries * dim, 1),
    k: numbers(heads * keys * dim, 2),
    v: numbers(heads * keys * dim, 3),
  };
}

/** Floating-point operations: two per multiply-add, of the keys that are seen. */
export function workOf({ heads, queries, keys, dim, causal }: Shape): number {
  const seen = causal ? queries * (keys - (queries - 1) / 2) : queries * keys;
  return 2 * heads * seen * (dim + dim);
}

/** `[heads, N, dim]` as `[N, heads, dim]`, for peers that take it so. */
export function headsLast(data: Float32Array, heads: number, dim: number): Float32Array {
  const length = data.length / (heads * dim);
  const moved = new Float32Array(data.length);
  for (let h = 0; h < heads; h++) {
    for (let n = 0; n < length; n++) {
      const row = data.subarray((h * length + n) * dim, (h * length + n + 1) * dim);
      moved.set(row, (n * heads + h) * dim);
    }
  }
  return moved;
}

/**
 * Largest error of the first, the middle and the last row of every head against the oracle.
 *
 * @throws {Error} When the result is wrong.
 */
export function check(
  problem: Problem,
  out: Float32Array,
  layout: Layout,
  tolerance = usualTolerance,
): number {
  const { heads, queries, dim } = problem;
  if (out.length !== heads * queries * dim) {
    throw new Error(`wrong result: ${out.length} numbers instead of ${heads * queries * dim}`);
  }
  let error = 0;
  for (const row of new Set([0, Math.floor(queries / 2), queries - 1])) {
    const expected = expectedRow(problem, row);
    for (let h = 0; h < heads; h++) {
      const at = layout === "heads first" ? h * queries + row : row * heads + h;
      for (let d = 0; d < dim; d++) {
        const off = Math.abs(out[at * dim + d] - expected[h * dim + d]);
        // Written so that NaN counts as wrong.
        if (!(off <= tolerance)) {
          throw new Error(`wrong result: off by ${off} in row ${row}`);
        }
        error = Math.max(error, off);
      }
    }
  }
  return error;
}

/** One row of each head, `[heads, dim]`. */
function expectedRow({ heads, queries, keys, dim, causal, q, k, v }: Problem, row: number) {
  const rows = {
    data: q,
    shape: [heads, 1, dim],
    strides: [queries * dim, dim, 1],
    offset: row * dim,
  };
  const K = { data: k, shape: [heads, keys, dim] };
  const V = { data: v, shape: [heads, keys, dim] };
  return referenceAttention(rows, K, V, { causal, offset: keys - queries + row }).out.data;
}
