/**
 * The oracle of `performerAttention()`.
 *
 * @module
 */

import type { Layout } from "../tensor/tensor.ts";
import { arraysOf, differentiateScores, givenOf } from "./backward.ts";
import { type Call, callOf, refuseUnknown } from "./call.ts";
import { attend } from "./forward.ts";
import { type ReferenceOutput, weigh } from "./softmax.ts";
import {
  axesOf,
  forEachRow,
  type Read,
  type ReferenceArray,
  type ReferenceTensor,
  type RowIndex,
  type Sums,
  zeros,
} from "./tensor.ts";

/** Options of `referencePerformerAttention()`. */
export interface ReferencePerformerOptions {
  /** The features' directions: `[features, D]` for all heads, or `[Hkv, features, D]`. */
  readonly projection: ReferenceTensor;
  /** Which features: of the softmax kernel by default. */
  readonly kernel?: "softmax" | "relu" | undefined;
  /** Whether row `i` sees keys up to `i + Nk - Nq` alone, as in `attention()`. */
  readonly causal?: boolean | undefined;
  /** What dot products are multiplied by, at least 0; `1 / sqrt(D)` by default. */
  readonly scale?: number | undefined;
  /** Order of the axes; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
}

/** The oracle's gradients, each in the shape and layout of what it is by, contiguous. */
export interface ReferencePerformerGradients {
  /** By `q`. */
  readonly dq: ReferenceArray;
  /** By `k`: query heads of a group are summed. */
  readonly dk: ReferenceArray;
  /** By `v`, likewise. */
  readonly dv: ReferenceArray;
}

/** A feature of `x` along `w`, by its logarithm, which is never too large. */
interface Kernel {
  /** `ln phi`, from `w^T x` and `|x|^2`. */
  exponent(dot: number, square: number): number;
  /** The derivative of that by one element of `x`, from that of `w` and that of `x`. */
  slope(dot: number, w: number, x: number): number;
}

const kernels: Readonly<Record<"softmax" | "relu", Kernel>> = {
  // exp(w^T x - |x|^2 / 2), lemma 1. A factor that all features have, as 1 / sqrt(m), cancels.
  softmax: { exponent: (dot, square) => dot - square / 2, slope: (_, w, x) => w - x },
  // max(0, w^T x) + 1e-3.
  relu: {
    exponent: (dot) => Math.log(Math.max(0, dot) + 1e-3),
    slope: (dot, w) => dot > 0 ? w / (dot + 1e-3) : 0,
  },
};

/** Rows whose features are wanted: the queries or the keys, and the directions of their heads. */
interface Rows {
  /** `[B, H, N, features]`. */
  readonly extents: readonly [B: number, H: number, N: number, features: number];
  readonly D: number;
  readonly kernel: Kernel;
  /** What elements are multiplied by: the root of the scale, so that a product has all of it. */
  readonly root: number;
  /** An element so multiplied. */
  readonly x: Read;
  /** Element `d` of direction `r` of a head. */
  readonly w: (h: number, r: number, d: number) => number;
}

function dotOf({ D, x, w }: Rows, [b, h, n]: RowIndex, r: number): number {
  let sum = 0;
  for (let d = 0; d < D; d++) sum += w(h, r, d) * x(b, h, n, d);
  return sum;
}

/** `ln phi_r(x)` of all rows and features. */
function exponentsOf(rows: Rows): Read {
  const { extents, D, x, kernel } = rows, exponents = zeros(extents);
  forEachRow(extents, (row) => {
    const [b, h, n] = row;
    let square = 0;
    for (let d = 0; d < D; d++) square += x(b, h, n, d) ** 2;
    for (let r = 0; r < extents[3]; r++) {
      exponents.add(b, h, n, r, kernel.exponent(dotOf(rows, row, r), square));
    }
  });
  return axesOf(exponents).read;
}

/** Adds to a gradient by queries or keys what that by the exponents of their features gives. */
function throughExponents(rows: Rows, dExponents: Sums, gradient: Sums): void {
  const { extents, D, x, w, kernel, root } = rows, { read: given } = axesOf(dExponents);
  forEachRow(extents, (row) => {
    const [b, h, n] = row;
    for (let r = 0; r < extents[3]; r++) {
      const dot = dotOf(rows, row, r), dExponent = given(b, h, n, r);
      for (let d = 0; d < D; d++) {
        const slope = root * kernel.slope(dot, w(h, r, d), x(b, h, n, d));
        gradient.add(b, h, n, d, slope * dExponent);
      }
    }
  });
}

/** A call as attention whose scores are `ln sum_r phi_r(q_i) phi_r(k_j)`, and what they are made of. */
interface PerformerCall {
  readonly call: Call;
  readonly queries: Rows;
  readonly keys: Rows;
  /** The share of feature `r` in the sum. */
  share(row: RowIndex, j: number, r: number, score: number): number;
}

const known = [
  ...["projection", "kernel", "causal", "scale", "layout"],
  ...["out", "signal", "onProgress"],
];

/** `ln sum_r exp(x_r)`, shifted by the largest. */
function logSumExp(exponents: Float64Array): number {
  const { max, logSum } = weigh(exponents);
  return max + logSum;
}

function openCall(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferencePerformerOptions,
): PerformerCall {
  refuseUnknown(options, known);
  const { projection, scale, layout, causal } = options;
  const kernel = kernels[options.kernel ?? "softmax"];
  const plain = callOf(q, k, v, { scale, layout }), { B, Hq, Nq, Nk, D, Q, K, keyHead } = plain;
  const Hkv = axesOf(k, plain.bnhd).extents[1], root = Math.sqrt(plain.scale);
  const { extents: [, , features], read: W } = axesOf(projection), common = { D, kernel, root };

  // 1. Exponents of the features.
  const queries: Rows = {
    ...common,
    extents: [B, Hq, Nq, features],
    x: (b, h, i, d) => root * Q(b, h, i, d),
    w: (h, r, d) => W(0, keyHead(h), r, d),
  };
  const keys: Rows = {
    ...common,
    extents: [B, Hkv, Nk, features],
    x: (b, g, j, d) => root * K(b, g, j, d),
    w: (g, r, d) => W(0, g, r, d),
  };
  const ofQueries = exponentsOf(queries), ofKeys = exponentsOf(keys);
  const together = ([b, h, i]: RowIndex, j: number, r: number) =>
    ofQueries(b, h, i, r) + ofKeys(b, keyHead(h), j, r);

  // 2. Logarithms of the sums of products of features, of the keys that a row sees.
  const score = (row: RowIndex, j: number) =>
    logSumExp(Float64Array.from({ length: features }, (_, r) => together(row, j, r)));
  const scores = (b: number, h: number, i: number) => {
    const last = causal ? i + Nk - Nq : Nk - 1;
    return Float64Array.from(
      { length: Nk },
      (_, j) => j > last ? -Infinity : score([b, h, i], j),
    );
  };
  const share = (row: RowIndex, j: number, r: number, s: number) =>
    Math.exp(together(row, j, r) - s);
  return { call: { ...plain, scores }, queries, keys, share };
}

/**
 * Performer attention, `sum_j (phi(q_i)^T phi(k_j)) v_j / sum_j phi(q_i)^T phi(k_j)`: Choromanski et
 * al., arXiv 2009.14794, equation 4, of positive features `phi_r(x) = exp(w_r^T x - |x|^2 / 2)` (lemma
 * 1) or `max(0, w_r^T x) + 1e-3`, where `x` is a row of `q` or `k` times `sqrt(scale)`. There is no
 * epsilon in the denominator. It is computed in quadratic time, as attention whose scores are the
 * logarithms of `phi(q_i)^T phi(k_j)`: a shift of its own for each of them, so that none is too large
 * or too small for any row.
 *
 * ```ts
 * import { referencePerformerAttention } from "@flashtile/attention/reference";
 *
 * const q = { data: [5], shape: [1, 1] };
 * const k = { data: [0, 2], shape: [2, 1] }, v = { data: [0, 1], shape: [2, 1] };
 * const projection = { data: [1], shape: [1, 1] };
 * const { out } = referencePerformerAttention(q, k, v, { projection });
 * console.log(out.data); // [1 / 2]: phi(0) = exp(0), phi(2) = exp(2 - 2)
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options The projection, `kernel`, `causal`, `scale` and `layout`.
 * @returns `out` in the rank and layout of `q`, float64; 0 where a row sees no key. Inputs are not
 *   checked.
 */
export function referencePerformerAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferencePerformerOptions,
): ReferenceOutput {
  const { out } = attend(openCall(q, k, v, options).call, q.shape);
  return { out };
}

/**
 * Gradients of Performer attention. A product of features is the exponential of a score `s_ij`, whose
 * gradient is that of softmax; and `ds_ij` by the exponent of feature `r`, of the query or of the key,
 * is the share of that feature in the sum.
 *
 * ```ts
 * import { referencePerformerAttentionBackward } from "@flashtile/attention/reference";
 *
 * const q = { data: [5], shape: [1, 1] }, dOut = { data: [1], shape: [1, 1] };
 * const k = { data: [0, 2], shape: [2, 1] }, v = { data: [0, 1], shape: [2, 1] };
 * const projection = { data: [1], shape: [1, 1] };
 * const { dk, dv } = referencePerformerAttentionBackward(q, k, v, dOut, { projection });
 * console.log(dv.data); // [1 / 2, 1 / 2]: both weights
 * console.log(dk.data); // [-1 / 4, -1 / 4]: -1 / 4 * (1 - 0) and 1 / 4 * (1 - 2)
 * ```
 *
 * @param q Queries, as in `referencePerformerAttention()`.
 * @param k Keys.
 * @param v Values.
 * @param dOut Gradient with respect to `out`, in the rank and layout of `q`.
 * @param options As those of `referencePerformerAttention()`.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referencePerformerAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferencePerformerOptions,
): ReferencePerformerGradients {
  const { call, queries, keys, share } = openCall(q, k, v, options), { bnhd, Nk } = call;
  const given = givenOf(dOut, undefined, bnhd), features = queries.extents[3];
  const dq = zeros(q.shape, bnhd), dk = zeros(k.shape, bnhd), dv = zeros(v.shape, bnhd);
  const dQueries = zeros(queries.extents), dKeys = zeros(keys.extents);

  // 1. From the result to scores, and from there to the exponents of features.
  forEachRow(queries.extents, (row) => {
    const [b, h, i] = row, g = call.keyHead(h);
    const { scores, dScores } = differentiateScores(call, given, dv, row);
    for (let j = 0; j < Nk; j++) {
      if (scores[j] === -Infinity) continue;
      for (let r = 0; r < features; r++) {
        const dExponent = dScores[j] * share(row, j, r, scores[j]);
        dQueries.add(b, h, i, r, dExponent);
        dKeys.add(b, g, j, r, dExponent);
      }
    }
  });

  // 2. From exponents to queries and keys.
  throughExponents(queries, dQueries, dq);
  throughExponents(keys, dKeys, dk);
  return arraysOf({ dq, dk, dv });
}
