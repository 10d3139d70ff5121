/**
 * The oracle of `attentionBackward()`.
 *
 * @module
 */

import type { AttentionOptions } from "../operations/attention/options.ts";
import { type Call, callOf } from "./call.ts";
import { attendRow } from "./forward.ts";
import {
  axesOf,
  listOf,
  type Read,
  type ReferenceArray,
  type ReferenceTensor,
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

/** Gradients that rows add to. */
type Totals = { readonly [Name in keyof ReferenceGradients]: Sums };

/** The loss's gradients with respect to what attention gives: `dLse` is read by `(0, b, h, i)`. */
interface Given {
  readonly dOut: Read;
  readonly dLse: Read;
}

/** Adds what one row gives to the gradients. */
function differentiateRow(
  call: Call,
  { dOut, dLse }: Given,
  { dq, dk, dv, dBias, dSinks }: Totals,
  [b, h, i]: readonly [number, number, number],
): void {
  const { Nk, D, Dv, Q, K, V, scale } = call, g = call.keyHead(h), sink = call.sink(h);
  const { scores, weights, sinkWeight, out, lse } = attendRow(call, b, h, i);
  if (lse === -Infinity) return; // It sees nothing: nothing that it sees can change its result.

  // 1. What all scores of a row have in common, since its weights always sum to 1.
  let delta = -dLse(0, b, h, i);
  for (let d = 0; d < Dv; d++) delta += dOut(b, h, i, d) * out[d];

  // 2. The sink: a score whose value is 0.
  if (sink !== -Infinity) dSinks?.add(0, 0, 0, h, -sinkWeight * delta);

  for (let j = 0; j < Nk; j++) {
    if (scores[j] === -Infinity) continue;

    // 3. The value, by its weight; and the weight, by its value.
    const p = weights[j]; // exp(s - lse), without the rounding of a large lse.
    let dP = 0;
    for (let d = 0; d < Dv; d++) {
      dP += dOut(b, h, i, d) * V(b, g, j, d);
      dv.add(b, g, j, d, p * dOut(b, h, i, d));
    }

    // 4. The score, which the bias is added to; then through softcap, scale and the dot product.
    const dS = p * (dP - delta);
    dBias?.add(b, h, i, j, dS);
    const dProduct = scale * call.capSlope(b, h, i, j) * dS;
    for (let d = 0; d < D; d++) {
      dq.add(b, h, i, d, dProduct * K(b, g, j, d));
      dk.add(b, g, j, d, dProduct * Q(b, h, i, d));
    }
  }
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
): ReferenceGradients {
  const call = callOf(q, k, v, options), { B, Hq, Nq, bnhd } = call, { bias, sinks } = options;
  const given: Given = {
    dOut: axesOf(dOut, bnhd).read,
    dLse: options.dLse ? axesOf(options.dLse).read : () => 0,
  };
  const totals: Totals = {
    ...{ dq: zeros(q.shape, bnhd), dk: zeros(k.shape, bnhd), dv: zeros(v.shape, bnhd) },
    ...(bias && { dBias: zeros(bias.shape) }),
    ...(sinks && { dSinks: zeros(listOf(sinks).shape) }),
  };
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < Hq; h++) {
      for (let i = 0; i < Nq; i++) differentiateRow(call, given, totals, [b, h, i]);
    }
  }
  const gradients = Object.entries(totals).map((
    [name, { data, shape }],
  ) => [name, { data, shape }]);
  return Object.fromEntries(gradients);
}
