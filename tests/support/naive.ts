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
interface Row {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly scale: number;
  readonly softcap: number;
  readonly meaning: RowMeaning;
}

/** Scores of a row; -Infinity where it does not see the key. */
function scoresOf({ q, k, scale, softcap, meaning }: Row): Float32Array {
  const D = q.length;
  return Float32Array.from({ length: k.length / D }, (_, j) => {
    if (!meaning.sees(j)) return -Infinity;
    let s = 0;
    for (let d = 0; d < D; d++) s = round(s + round(q[d] * k[j * D + d]));
    s = round(scale * s);
    if (softcap) s = round(softcap * round(Math.tanh(round(s / softcap))));
    s = round(s + meaning.bias(j));
    return meaning.slope ? s - round(meaning.slope * round(meaning.distance(j))) : s;
  });
}

/** A row's weights from its scores, then the weighted mean of the values; gives the row's lse. */
function attendRow(row: Row, out: Float32Array): number {
  const Dv = out.length, scores = scoresOf(row), { sees, sink } = row.meaning;
  const m = scores.reduce((a, b) => Math.max(a, b), sink);
  if (m === -Infinity) return -Infinity;
  const weights = scores.map((s) => Math.exp(round(s - m)));
  let l = Math.exp(round(sink - m));
  for (const weight of weights) l = round(l + weight);
  weights.forEach((weight, j) => {
    if (!sees(j)) return;
    const p = round(weight / l);
    for (let d = 0; d < Dv; d++) out[d] = round(out[d] + round(p * row.v[j * Dv + d]));
  });
  return m + round(Math.log(l));
}

/** Attention by the plain formula in f32. */
export function naiveAttention(problem: Problem, meaning: Meaning = {}): Results<Float32Array> {
  const { B, Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes;
  const rowMeaning = meaningOf(problem, meaning);
  const out = new Float32Array(B * Hq * Nq * Dv);
  const lse = new Float32Array(B * Hq * Nq);
  for (let at = 0; at < lse.length; at++) {
    const head = Math.floor(at / Nq), b = Math.floor(head / Hq);
    const keyHead = b * Hkv + Math.floor((head % Hq) * Hkv / Hq);
    const row = {
      q: problem.q.subarray(at * D, (at + 1) * D),
      k: problem.k.subarray(keyHead * Nk * D, (keyHead + 1) * Nk * D),
      v: problem.v.subarray(keyHead * Nk * Dv, (keyHead + 1) * Nk * Dv),
      scale: round(meaning.scale ?? 1 / Math.sqrt(D)),
      softcap: round(meaning.softcap ?? 0),
      meaning: rowMeaning(b, head % Hq, at % Nq),
    };
    lse[at] = attendRow(row, out.subarray(at * Dv, (at + 1) * Dv));
  }
  return { out, lse };
}
