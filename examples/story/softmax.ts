/**
 * Softmax of the rows of a matrix in slow memory, three ways (arXiv 1805.02867, algorithms 1 to 3).
 * Each visit reads every score once.
 *
 * @module
 */

import { type Blocks, spans } from "./blocks.ts";
import { Matrix, type Memory, type Span, type Tile } from "./memory.ts";
import { greatest, sum } from "./tiles.ts";

/** Makes the weights P from the scores S. */
export type Softmax = (s: Matrix, blocks: Blocks, memory: Memory) => Matrix;

/** Two visits: the sum of exponentials, then the division. exp(89) overflows in f32. */
export const naiveSoftmax: Softmax = (s, blocks, memory) => {
  const p = new Matrix("P", s.rows, s.columns);
  for (const i of spans(s.rows, blocks.outer)) {
    const l = new Float64Array(i.count);
    visit(s, i, blocks, memory, ({ rows }) => {
      rows.forEach((row, at) => l[at] += sum(row.map(Math.exp)));
    });
    divide(s, p, i, blocks, memory, (x, at) => Math.exp(x) / l[at]);
  }
  return p;
};

/** Three visits: the maximum first, so that no exponent is above 0. */
export const safeSoftmax: Softmax = (s, blocks, memory) => {
  const p = new Matrix("P", s.rows, s.columns);
  for (const i of spans(s.rows, blocks.outer)) {
    const m = new Float64Array(i.count).fill(-Infinity), l = new Float64Array(i.count);
    visit(s, i, blocks, memory, ({ rows }) => {
      rows.forEach((row, at) => m[at] = Math.max(m[at], greatest(row)));
    });
    visit(s, i, blocks, memory, ({ rows }) => {
      rows.forEach((row, at) => l[at] += sum(row.map((x) => Math.exp(x - m[at]))));
    });
    divide(s, p, i, blocks, memory, (x, at) => Math.exp(x - m[at]) / l[at]);
  }
  return p;
};

/** Two visits again: maximum and sum go together; the sum is rescaled when the maximum grows. */
export const onlineSoftmax: Softmax = (s, blocks, memory) => {
  const p = new Matrix("P", s.rows, s.columns);
  for (const i of spans(s.rows, blocks.outer)) {
    const m = new Float64Array(i.count).fill(-Infinity), l = new Float64Array(i.count);
    visit(s, i, blocks, memory, ({ rows }) => rows.forEach((row, at) => follow(m, l, at, row)));
    divide(s, p, i, blocks, memory, (x, at) => Math.exp(x - m[at]) / l[at]);
  }
  return p;
};

/** One step of the online softmax: a row's maximum and sum take in more scores. */
export function follow(m: Float64Array, l: Float64Array, at: number, scores: Float64Array): void {
  const before = m[at];
  m[at] = Math.max(before, greatest(scores));
  l[at] = l[at] * Math.exp(before - m[at]) + sum(scores.map((x) => Math.exp(x - m[at])));
}

/** Reads all tiles of some rows. */
function visit(s: Matrix, i: Span, { inner }: Blocks, memory: Memory, look: (tile: Tile) => void) {
  for (const j of spans(s.columns, inner)) {
    const sij = memory.load(s, i, j);
    look(sij);
    memory.free(sij);
  }
}

/** Reads all tiles of some rows and writes their weights. */
function divide(
  s: Matrix,
  p: Matrix,
  i: Span,
  { inner }: Blocks,
  memory: Memory,
  weigh: (score: number, row: number) => number,
): void {
  for (const j of spans(s.columns, inner)) {
    const sij = memory.load(s, i, j), pij = memory.make(p, i, j);
    pij.rows.forEach((row, at) => row.set(sij.rows[at].map((x) => weigh(x, at))));
    memory.store(pij);
    memory.free(sij, pij);
  }
}
