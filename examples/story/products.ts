/**
 * Products of matrices in slow memory, tile by tile: what attention consists of without
 * FlashAttention.
 *
 * @module
 */

import { blocksOf, spans } from "./blocks.ts";
import { Matrix, type Memory } from "./memory.ts";
import { addProduct, addTransposed, scoresOf } from "./tiles.ts";

/** `a bᵀ`, times `scale`: N x N numbers from two matrices of N x d. */
export function scores(name: string, a: Matrix, b: Matrix, scale: number, memory: Memory): Matrix {
  const s = new Matrix(name, a.rows, b.rows), { outer, inner } = blocksOf(memory.size, a.columns);
  for (const i of spans(a.rows, outer)) {
    const ai = memory.load(a, i);
    for (const j of spans(b.rows, inner)) {
      const bj = memory.load(b, j), sij = memory.make(s, i, j);
      scoresOf(ai, bj, scale).forEach((row, at) => sij.rows[at].set(row));
      memory.store(sij);
      memory.free(bj, sij);
    }
    memory.free(ai);
  }
  return s;
}

/** `weights x`: sums of the rows of `x`, N x d. */
export function mix(name: string, weights: Matrix, x: Matrix, memory: Memory): Matrix {
  const sums = new Matrix(name, weights.rows, x.columns);
  const { outer, inner } = blocksOf(memory.size, x.columns);
  for (const i of spans(weights.rows, outer)) {
    const sum = memory.make(sums, i);
    for (const j of spans(x.rows, inner)) {
      const wij = memory.load(weights, i, j), xj = memory.load(x, j);
      addProduct(sum, wij.rows, xj);
      memory.free(wij, xj);
    }
    memory.store(sum);
    memory.free(sum);
  }
  return sums;
}

/** `weightsᵀ x`. */
export function mixTransposed(name: string, weights: Matrix, x: Matrix, memory: Memory): Matrix {
  const sums = new Matrix(name, weights.columns, x.columns);
  const { outer, inner } = blocksOf(memory.size, x.columns);
  for (const j of spans(weights.columns, outer)) {
    const sum = memory.make(sums, j);
    for (const i of spans(x.rows, inner)) {
      const wij = memory.load(weights, i, j), xi = memory.load(x, i);
      addTransposed(sum, wij.rows, xi);
      memory.free(wij, xi);
    }
    memory.store(sum);
    memory.free(sum);
  }
  return sums;
}
