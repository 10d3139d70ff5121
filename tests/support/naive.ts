/**
 * The plain formula in f32: what one gets without tiles and without care, every step rounded. Its
 * error is the measure of ours.
 *
 * @module
 */

import { meaningOf, type RowMeaning } from "./meaning.ts";
import type { Meaning, Problem } from "./problem.ts";

const round = Math.fround;

/** Dense results, `[B, Hq, Nq, Dv]` and `[B, Hq, Nq]`. */
export interface Results<A extends ArrayLike<number> = ArrayLike<number>> {
  readonly out: A;
  readonly lse: A;
}

/** One row of the formula: the row's query, its head's keys and values, and what it may see. */
export interface Row {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly scale: number;
  readonly softcap: number;
  readonly meaning: RowMeaning;
}

/** A sum of products, from the first to the last. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum = round(sum + round(a[d] * b[d]));
  return sum;
}

/** The scaled product with a key. */
export function productOf({ q, k, scale }: Row, j: number): number {
  return round(scale * dot(q, keyOf(k, q.length, j)));
}

/** What a score function makes of it. */
function changedOf(row: Row, j: number): number {
  return row.meaning.changed(j, productOf(row, j));
}

/** The tanh of a softcap: of the scaled product with a key. */
export function tanhOf(row: Row, j: number): number {
  return round(Math.tanh(round(changedOf(row, j) / row.softcap)));
}

/** One key, or value, of a head's. */
export function keyOf(keys: Float32Array, width: number, j: number): Float32Array {
  return keys.subarray(j * width, (j + 1) * width);
}

/** Scores of a row; -Infinity where it does not see the key. */
export function scoresOf(row: Row): Float32Array {
  const { q, k, softcap, meaning } = row;
  return Float32Array.from({ length: k.length / q.length }, (_, j) => {
    if (!meaning.sees(j)) return -Infinity;
    let s = changedOf(row, j);
    if (s === -Infinity) return s;
    if (softcap) s = round(softcap * tanhOf(row, j));
    s = round(s + meaning.bias(j));
    return meaning.slope ? s - round(meaning.slope * round(meaning.distance(j))) : s;
  });
}

/** A row's weights from its scores, then the weighted mean of the values; gives the row's lse. */
export function attendRow(row: Row, out: Float32Array): number {
  const Dv = out.length, scores = scoresOf(row), { sees, sink } = row.meaning;
  const m = scores.reduce((a, b) => Math.max(a, b), sink);
  if (m === -Infinity) return -Infinity;
  const weights = scores.map((s) => Math.exp(round(s - m)));
  let l = Math.exp(round(sink - m));
  for (const weight of weights) l = round(l + weight);
  weights.forEach((weight, j) => {
    if (!sees(j) || scores[j] === -Infinity) return;
    const p = round(weight / l);
    for (let d = 0; d < Dv; d++) out[d] = round(out[d] + round(p * row.v[j * Dv + d]));
  });
  return m + round(Math.log(l));
}

/** Where a row is among all: `row` of `[B * Hq * Nq]`, `keyHead` of `[B * Hkv]`. */
export interface RowPlace {
  readonly b: number;
  readonly h: number;
  readonly i: number;
  readonly keyHead: number;
}

/** The rows of a problem, by their index in `[B, Hq, Nq]`. */
export function rowsOf(problem: Problem, meaning: Meaning): (at: number) => Row & RowPlace {
  const { Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes;
  const rowMeaning = meaningOf(problem, meaning);
  return (at) => {
    const head = Math.floor(at / Nq), b = Math.floor(head / Hq), h = head % Hq, i = at % Nq;
    const keyHead = b * Hkv + Math.floor(h * Hkv / Hq);
    return {
      ...{ b, h, i, keyHead },
      q: problem.q.subarray(at * D, (at + 1) * D),
      k: problem.k.subarray(keyHead * Nk * D, (keyHead + 1) * Nk * D),
      v: problem.v.subarray(keyHead * Nk * Dv, (keyHead + 1) * Nk * Dv),
      scale: round(meaning.scale ?? 1 / Math.sqrt(D)),
      softcap: round(meaning.softcap ?? 0),
      meaning: rowMeaning(b, h, i),
    };
  };
}

/** Attention by the plain formula in f32. */
export function naiveAttention(problem: Problem, meaning: Meaning = {}): Results<Float32Array> {
  const { B, Hq, Nq, Dv } = problem.sizes, rowAt = rowsOf(problem, meaning);
  const out = new Float32Array(B * Hq * Nq * Dv);
  const lse = new Float32Array(B * Hq * Nq);
  for (let at = 0; at < lse.length; at++) {
    lse[at] = attendRow(rowAt(at), out.subarray(at * Dv, (at + 1) * Dv));
  }
  return { out, lse };
}
