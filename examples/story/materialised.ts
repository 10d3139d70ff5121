/**
 * Standard attention as one writes it: every score and every weight in an array, f32.
 *
 * @module
 */

import { turn } from "../browser/turn.ts";

/** Inputs of one head, N x d numbers each. */
export interface Arrays {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** A result, and what it took without the turns of the event loop between its parts. */
export interface Materialised {
  readonly out: Float32Array;
  readonly milliseconds: number;
}

/** Rows that are computed in one turn of the event loop. */
const rowsPerTurn = 64;

/** Computes it some rows at a time, so that a page stays awake and can be stopped. */
export async function materialise(
  { q, k, v }: Arrays,
  d: number,
  signal?: AbortSignal,
): Promise<Materialised> {
  const n = q.length / d, s = new Float32Array(n * n), out = new Float32Array(n * d);
  const steps = [
    (i: number) => scoreRow(q, k, d, s, i),
    (i: number) => softmaxRow(s.subarray(i * n, (i + 1) * n)),
    (i: number) => mixRow(s.subarray(i * n, (i + 1) * n), v, out.subarray(i * d, (i + 1) * d)),
  ];
  let milliseconds = 0;
  for (const step of steps) {
    for (let begin = 0; begin < n; begin += rowsPerTurn) {
      const start = performance.now();
      for (let i = begin; i < Math.min(n, begin + rowsPerTurn); i++) step(i);
      milliseconds += performance.now() - start;
      await turn();
      signal?.throwIfAborted();
    }
  }
  return { out, milliseconds };
}

function scoreRow(
  q: Float32Array,
  k: Float32Array,
  d: number,
  s: Float32Array,
  i: number,
): void {
  const n = k.length / d, scale = 1 / Math.sqrt(d);
  for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += q[i * d + c] * k[j * d + c];
    s[i * n + j] = scale * sum;
  }
}

function softmaxRow(row: Float32Array): void {
  let m = -Infinity, l = 0;
  for (let j = 0; j < row.length; j++) m = Math.max(m, row[j]);
  for (let j = 0; j < row.length; j++) l += row[j] = Math.exp(row[j] - m);
  for (let j = 0; j < row.length; j++) row[j] /= l;
}

function mixRow(weights: Float32Array, v: Float32Array, out: Float32Array): void {
  const d = out.length;
  for (let j = 0; j < weights.length; j++) {
    const weight = weights[j];
    for (let c = 0; c < d; c++) out[c] += weight * v[j * d + c];
  }
}
