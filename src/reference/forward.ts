/**
 * The oracle of `attention()`.
 *
 * @module
 */

import type { AttentionOptions } from "../operations/attention/options.ts";
import { type Call, callOf } from "./call.ts";
import { forEachRow, type ReferenceArray, type ReferenceTensor, zeros } from "./tensor.ts";

/** The oracle's result, contiguous. */
export interface ReferenceResult {
  /** In the rank and layout of `q`. */
  readonly out: ReferenceArray;
  /** `[B, Hq, Nq]` in the rank of `q`, natural logarithm. */
  readonly lse: ReferenceArray;
}

/** What one row is given. */
export interface AttendedRow {
  /** -Infinity where it does not see the key. */
  readonly scores: Float64Array;
  /** Of the keys and of the sink: their sum is 1, or 0 where it sees nothing. */
  readonly weights: Float64Array;
  readonly sinkWeight: number;
  readonly out: Float64Array;
  readonly lse: number;
}

/** One row by the direct formula. */
export function attendRow(call: Call, b: number, h: number, i: number): AttendedRow {
  const { Nk, Dv, V } = call, g = call.keyHead(h);

  // 1. Scores, scaled, capped and biased; a key that is not kept has none.
  const scores = call.scores(b, h, i);

  // 2. Their maximum; NaN is left to the sum.
  const sink = call.sink(h);
  let m = sink;
  for (const s of scores) if (s > m) m = s;

  // 3. Weights and their sum.
  const weights = scores.map((s) => s === -Infinity ? 0 : Math.exp(s - m));
  const sinkAlone = sink === -Infinity ? 0 : Math.exp(sink - m);
  let l = sinkAlone;
  for (const weight of weights) l += weight;

  // 4. The weighted mean of the values that are kept. No key and no sink: 0 and -Infinity.
  const out = new Float64Array(Dv);
  for (let d = 0; d < Dv; d++) {
    let sum = 0;
    for (let j = 0; j < Nk; j++) {
      if (scores[j] !== -Infinity) sum += weights[j] * V(b, g, j, d);
    }
    out[d] = l === 0 ? 0 : sum / l;
  }
  if (l === 0) return { scores, weights, sinkWeight: 0, out, lse: -Infinity };
  return {
    scores,
    weights: weights.map((weight) => weight / l),
    sinkWeight: sinkAlone / l,
    out,
    lse: m + Math.log(l),
  };
}

/** All rows; `shape` is that of `q`. */
export function attend(call: Call, shape: readonly number[]): ReferenceResult {
  const { B, Hq, Nq, Dv, bnhd } = call;
  const out = zeros([...shape.slice(0, -1), Dv], bnhd);
  const lse = new Float64Array(B * Hq * Nq);
  forEachRow([B, Hq, Nq], ([b, h, i]) => {
    const row = attendRow(call, b, h, i);
    for (let d = 0; d < Dv; d++) out.add(b, h, i, d, row.out[d]);
    lse[(b * Hq + h) * Nq + i] = row.lse;
  });
  const lseShape = [B, Hq, Nq].slice(4 - shape.length);
  return {
    out: { data: out.data, shape: out.shape },
    lse: { data: lse, shape: lseShape },
  };
}

/**
 * Attention by the direct formula in float64: every option of `attention()`, tensors in arrays.
 *
 * ```ts
 * import { referenceAttention } from "@flashtile/attention/reference";
 *
 * const q = { data: [1, 0], shape: [1, 2] };
 * const kv = { data: [1, 0, 0, 1], shape: [2, 2] };
 * const { out } = referenceAttention(q, kv, kv, { scale: 1 });
 * console.log(out.data); // [e / (e + 1), 1 / (e + 1)]
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options As those of `attention()`; what is about memory, time and `precision` is ignored: this is what all levels are
 * measured against.
 * @returns `out` and `lse`, float64. Inputs are not checked.
 */
export function referenceAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: AttentionOptions = {},
): ReferenceResult {
  return attend(callOf(q, k, v, options), q.shape);
}
