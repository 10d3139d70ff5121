/**
 * The oracle of `attentionBackward()`.
 *
 * @module
 */

import type { AttentionOptions } from "../operations/attention/options.ts";
import type { CapturedArray } from "../scores/kinds.ts";
import { type Call, callOf } from "./call.ts";
import { attendRow } from "./forward.ts";
import type { AddTo } from "./scores.ts";
import {
  axesOf,
  forEachRow,
  listOf,
  type Read,
  type ReferenceArray,
  type ReferenceTensor,
  type RowIndex,
  type Sums,
  zeros,
} from "./tensor.ts";

/** Options of `referenceAttentionBackward()`. */
export interface ReferenceBackwardOptions extends AttentionOptions {
  /** Gradient with respect to `lse`, `[B, Hq, Nq]`; zeros where it is not given. */
  readonly dLse?: ReferenceTensor | undefined;
}

/** The oracle's gradients, each in the shape and layout of what it is by, contiguous. */
export interface ReferenceGradients {
  /** By `q`. */
  readonly dq: ReferenceArray;
  /** By `k`: query heads of a group are summed. */
  readonly dk: ReferenceArray;
  /** By `v`, likewise. */
  readonly dv: ReferenceArray;
  /** In the shape of `bias`, summed over the axes of extent 1; where one is given. */
  readonly dBias?: ReferenceArray;
  /** `[Hq]`; where sinks are given. */
  readonly dSinks?: ReferenceArray;
}

/** What a score function's arrays get, those that ask for it, each in its shape; where there is one. */
export interface CapturedGradients {
  /** By array, in its shape. */
  readonly dCaptured?: ReadonlyMap<CapturedArray, ReferenceArray>;
}

/** Gradients that rows add to. */
type Totals = { readonly [Name in keyof ReferenceGradients]: Sums };

/** The loss's gradients with respect to what attention gives: `dLse` is read by `(0, b, h, i)`. */
export interface Given {
  readonly dOut: Read;
  readonly dLse: Read;
}

/** Reads them. */
export function givenOf(
  dOut: ReferenceTensor,
  dLse: ReferenceTensor | undefined,
  bnhd: boolean,
): Given {
  return { dOut: axesOf(dOut, bnhd).read, dLse: dLse ? axesOf(dLse).read : () => 0 };
}

/** What one row's scores are, and its gradients by them and by its sink. */
interface ScoreGradients {
  /** -Infinity where it does not see the key. */
  readonly scores: Float64Array;
  readonly dScores: Float64Array;
  readonly dSink: number;
}

/** The gradients of one row by its scores; what it gives to the values is added. */
export function differentiateScores(
  call: Call,
  { dOut, dLse }: Given,
  dv: Sums,
  [b, h, i]: RowIndex,
): ScoreGradients {
  const { Nk, Dv, V } = call, g = call.keyHead(h), dScores = new Float64Array(Nk);
  const { scores, weights, sinkWeight, out, lse } = attendRow(call, b, h, i);
  // It sees nothing: nothing that it sees can change its result.
  if (lse === -Infinity) return { scores, dScores, dSink: 0 };

  // 1. What all scores of a row have in common, since its weights always sum to 1.
  let delta = -dLse(0, b, h, i);
  for (let d = 0; d < Dv; d++) delta += dOut(b, h, i, d) * out[d];

  for (let j = 0; j < Nk; j++) {
    if (scores[j] === -Infinity) continue;

    // 2. The value, by its weight; and the weight, by its value.
    const p = weights[j]; // exp(s - lse), without the rounding of a large lse.
    let dP = 0;
    for (let d = 0; d < Dv; d++) {
      dP += dOut(b, h, i, d) * V(b, g, j, d);
      dv.add(b, g, j, d, p * dOut(b, h, i, d));
    }

    // 3. The score.
    dScores[j] = p * (dP - delta);
  }

  // 4. The sink: a score whose value is 0.
  const dSink = call.sink(h) === -Infinity ? 0 : -sinkWeight * delta;
  return { scores, dScores, dSink };
}

/** Adds what one row gives to the gradients. */
function differentiateRow(
  call: Call,
  given: Given,
  totals: Totals,
  addTo: AddTo,
  row: RowIndex,
): void {
  const { Nk, D, Q, K, scale } = call, { dq, dk, dv, dBias, dSinks } = totals;
  const [b, h, i] = row, g = call.keyHead(h);
  const { scores, dScores, dSink } = differentiateScores(call, given, dv, row);
  dSinks?.add(0, 0, 0, h, dSink);
  for (let j = 0; j < Nk; j++) {
    if (scores[j] === -Infinity) continue;

    // The score, which the bias is added to; then through softcap, a function, scale and the dot product.
    dBias?.add(b, h, i, j, dScores[j]);
    const dProduct = scale * call.throughScore([b, h, i, j], dScores[j], addTo);
    for (let d = 0; d < D; d++) {
      dq.add(b, h, i, d, dProduct * K(b, g, j, d));
      dk.add(b, g, j, d, dProduct * Q(b, h, i, d));
    }
  }
}

/** Adds what all rows give; what arrays of a score function get is told. */
export function differentiate(
  call: Call,
  given: Given,
  totals: Totals,
  addTo: AddTo = () => {},
): void {
  const { B, Hq, Nq } = call;
  forEachRow([B, Hq, Nq], (row) => differentiateRow(call, given, totals, addTo, row));
}

/** The results without what adds to them. */
export function arraysOf<T extends { readonly [Name in keyof T]?: Sums }>(
  totals: T,
): { [Name in keyof T]: ReferenceArray } {
  const entries = Object.entries<Sums>(totals as Record<string, Sums>);
  return Object.fromEntries(
    entries.map(([name, { data, shape }]) => [name, { data, shape }]),
  ) as { [Name in keyof T]: ReferenceArray };
}

/**
 * Gradients of attention by the direct formula in float64, of every option of `attention()`. The
 * forward pass is its own: it needs no `out` and no `lse`.
 *
 * ```ts
 * import { referenceAttentionBackward } from "@flashtile/attention/reference";
 *
 * const q = { data: [0], shape: [1, 1] };
 * const k = { data: [1, 3], shape: [2, 1] }, v = { data: [2, 6], shape: [2, 1] };
 * const dOut = { data: [1], shape: [1, 1] };
 * const { dq, dv } = referenceAttentionBackward(dOut, q, k, v);
 * console.log(dv.data); // [1 / 2, 1 / 2]: both weights
 * console.log(dq.data); // [2]: (1 - 2) * (2 - 4) / 2 + (3 - 2) * (6 - 4) / 2
 * ```
 *
 * @param dOut Gradient with respect to `out`, `[B, Hq, Nq, Dv]` in the rank and layout of `q`.
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options As those of `attention()`, and `dLse`; what is about memory and time is ignored.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referenceAttentionBackward(
  dOut: ReferenceTensor,
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferenceBackwardOptions = {},
): ReferenceGradients & CapturedGradients {
  const call = callOf(q, k, v, options), { bnhd } = call, { bias, sinks } = options;
  const totals: Totals = {
    ...{ dq: zeros(q.shape, bnhd), dk: zeros(k.shape, bnhd), dv: zeros(v.shape, bnhd) },
    ...(bias && { dBias: zeros(bias.shape) }),
    ...(sinks && { dSinks: zeros(listOf(sinks).shape) }),
  };
  const dCaptured = new Map(call.captured.map((array) => [array, zeros(array.shape)]));
  differentiate(call, givenOf(dOut, options.dLse, bnhd), totals, (array, place, term) => {
    dCaptured.get(array)!.data[place] += term;
  });
  const captured: CapturedGradients = dCaptured.size > 0 ? { dCaptured } : {};
  return { ...arraysOf(totals), ...captured };
}
