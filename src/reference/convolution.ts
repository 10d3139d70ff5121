/**
 * The oracles of `lightweightConvolution()` and `dynamicConvolution()`.
 *
 * @module
 */

import type { Layout } from "../tensor/tensor.ts";
import { arraysOf } from "./backward.ts";
import { refuseUnknown } from "./call.ts";
import { type ReferenceOutput, throughSoftmax, weigh } from "./softmax.ts";
import {
  axesOf,
  forEachRow,
  type Read,
  type ReferenceArray,
  type ReferenceTensor,
  type RowIndex,
  zeros,
} from "./tensor.ts";

/** Options of `referenceLightweightConvolution()` and `referenceDynamicConvolution()`. */
export interface ReferenceConvolutionOptions {
  /** Whether the last tap is on the row itself, instead of the middle one. */
  readonly causal?: boolean | undefined;
  /** Order of the axes; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
}

/** The oracle's gradients, each in the shape and layout of what it is by, contiguous. */
export interface ReferenceConvolutionGradients {
  /** By `v`. */
  readonly dv: ReferenceArray;
  /** By `weights`, before their softmax. */
  readonly dWeights: ReferenceArray;
}

/** A convolution as rows and their taps. */
interface Call {
  readonly extents: readonly number[];
  readonly bnhd: boolean;
  readonly V: Read;
  /** Softmax of a row's weights. */
  taps(row: RowIndex): Float64Array;
  /** The row of `v` that is under tap `t` of row `i`; undefined beyond the ends. */
  under(i: number, t: number): number | undefined;
}

/** Where weights of a row are; the first axes of those that rows share have extent 1. */
type Place = (row: RowIndex) => RowIndex;

/** `[H, W]`, read as `[1, 1, H, W]` in both layouts. */
const byHead: Place = ([, h]) => [0, 0, h];

/** `[B, H, N, W]`. */
const byRow: Place = (row) => row;

function openCall(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  place: Place,
  options: ReferenceConvolutionOptions,
): Call {
  refuseUnknown(options, ["causal", "layout", "out", "signal", "onProgress"]);
  const bnhd = options.layout === "bnhd", { extents, read: V } = axesOf(v, bnhd);
  const { extents: [, , , W], read } = axesOf(weights, bnhd);
  const before = options.causal ? W - 1 : Math.floor((W - 1) / 2);
  return {
    ...{ extents, bnhd, V },
    taps: (row) => {
      const [b, h, n] = place(row);
      return weigh(Float64Array.from({ length: W }, (_, t) => read(b, h, n, t))).weights;
    },
    under: (i, t) => {
      const n = i + t - before;
      return n >= 0 && n < extents[2] ? n : undefined;
    },
  };
}

function convolve({ extents, bnhd, V, taps, under }: Call, shape: readonly number[]) {
  const out = zeros(shape, bnhd);
  forEachRow(extents, (row) => {
    const [b, h, i] = row;
    taps(row).forEach((p, t) => {
      const n = under(i, t);
      if (n === undefined) return;
      for (let d = 0; d < extents[3]; d++) out.add(b, h, i, d, p * V(b, h, n, d));
    });
  });
  return arraysOf({ out });
}

function differentiate(
  { extents, bnhd, V, taps, under }: Call,
  v: ReferenceTensor,
  weights: ReferenceTensor,
  place: Place,
  dOut: ReferenceTensor,
): ReferenceConvolutionGradients {
  const { read: given } = axesOf(dOut, bnhd), dv = zeros(v.shape, bnhd);
  const dWeights = zeros(weights.shape, bnhd);
  forEachRow(extents, (row) => {
    const [b, h, i] = row, ofRow = taps(row), dTaps = new Float64Array(ofRow.length);

    // 1. The rows under the taps, by their weights; and the weights, by the rows, 0 beyond the ends.
    ofRow.forEach((p, t) => {
      const n = under(i, t);
      if (n === undefined) return;
      for (let d = 0; d < extents[3]; d++) {
        dv.add(b, h, n, d, p * given(b, h, i, d));
        dTaps[t] += given(b, h, i, d) * V(b, h, n, d);
      }
    });

    // 2. Through softmax, and summed over the rows that share the weights.
    throughSoftmax(ofRow, dTaps).forEach((dWeight, t) => dWeights.add(...place(row), t, dWeight));
  });
  return arraysOf({ dv, dWeights });
}

/**
 * Lightweight convolution, `out_i = sum_t softmax(weights)_t v_{i + t - before}`, where `before` is
 * `W - 1` if causal, else `(W - 1) / 2`: Wu et al., arXiv 1901.10430, section 3. Taps count from the
 * oldest row. Rows beyond the ends are 0, and their taps keep their weight.
 *
 * ```ts
 * import { referenceLightweightConvolution } from "@flashtile/attention/reference";
 *
 * const v = { data: [1, 3, 5], shape: [3, 1] }, weights = { data: [0, 0], shape: [1, 2] };
 * const { out } = referenceLightweightConvolution(v, weights, { causal: true });
 * console.log(out.data); // [1 / 2, 2, 4]: half of a row and half of that before it
 * ```
 *
 * @param v Values, `[B, H, N, D]`, `[H, N, D]` or `[N, D]`.
 * @param weights `[H, W]`, before softmax; `W` is odd where it is not causal.
 * @param options `causal` and `layout`.
 * @returns `out` in the shape of `v`, float64. Inputs are not checked.
 */
export function referenceLightweightConvolution(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  options: ReferenceConvolutionOptions = {},
): ReferenceOutput {
  return convolve(openCall(v, weights, byHead, options), v.shape);
}

/**
 * Dynamic convolution: a lightweight convolution in which every row has weights of its own. Wu et al.,
 * arXiv 1901.10430, section 4, where these are a linear map of the row.
 *
 * ```ts
 * import { referenceDynamicConvolution } from "@flashtile/attention/reference";
 *
 * const v = { data: [1, 3], shape: [2, 1] };
 * const weights = { data: [0, 0, 0, -Infinity], shape: [2, 2] };
 * const { out } = referenceDynamicConvolution(v, weights, { causal: true });
 * console.log(out.data); // [1 / 2, 1]: the second row has all its weight on the first
 * ```
 *
 * @param v Values, `[B, H, N, D]`, `[H, N, D]` or `[N, D]`.
 * @param weights `[B, H, N, W]` in the rank and layout of `v`, before softmax.
 * @param options `causal` and `layout`.
 * @returns `out` in the shape of `v`, float64. Inputs are not checked.
 */
export function referenceDynamicConvolution(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  options: ReferenceConvolutionOptions = {},
): ReferenceOutput {
  return convolve(openCall(v, weights, byRow, options), v.shape);
}

/**
 * Gradients of a lightweight convolution: with `p = softmax(weights)`, `dv_n` is the sum of `p_t dOut_i`
 * over the taps that are on row `n`, and `dp_t` that of `dOut_i . v_n`; then through softmax.
 *
 * ```ts
 * import { referenceLightweightConvolutionBackward } from "@flashtile/attention/reference";
 *
 * const v = { data: [1, 3], shape: [2, 1] }, weights = { data: [0, 0], shape: [1, 2] };
 * const dOut = { data: [0, 1], shape: [2, 1] };
 * const { dv, dWeights } = referenceLightweightConvolutionBackward(v, weights, dOut, {
 *   causal: true,
 * });
 * console.log(dv.data, dWeights.data); // [1 / 2, 1 / 2] and [-1 / 2, 1 / 2]
 * ```
 *
 * @param v Values, as in `referenceLightweightConvolution()`.
 * @param weights `[H, W]`, before softmax.
 * @param dOut Gradient with respect to `out`, in the shape of `v`.
 * @param options `causal` and `layout`.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referenceLightweightConvolutionBackward(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceConvolutionOptions = {},
): ReferenceConvolutionGradients {
  return differentiate(openCall(v, weights, byHead, options), v, weights, byHead, dOut);
}

/**
 * Gradients of a dynamic convolution: those of a lightweight one, each row's weights by themselves.
 *
 * ```ts
 * import { referenceDynamicConvolutionBackward } from "@flashtile/attention/reference";
 *
 * const v = { data: [1, 3], shape: [2, 1] }, weights = { data: [0, 0, 0, 0], shape: [2, 2] };
 * const dOut = { data: [1, 1], shape: [2, 1] };
 * const { dv, dWeights } = referenceDynamicConvolutionBackward(v, weights, dOut, { causal: true });
 * console.log(dv.data, dWeights.data); // [1, 1 / 2] and [-1 / 4, 1 / 4, -1 / 2, 1 / 2]
 * ```
 *
 * @param v Values, as in `referenceDynamicConvolution()`.
 * @param weights `[B, H, N, W]` in the rank and layout of `v`, before softmax.
 * @param dOut Gradient with respect to `out`, in the shape of `v`.
 * @param options `causal` and `layout`.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referenceDynamicConvolutionBackward(
  v: ReferenceTensor,
  weights: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceConvolutionOptions = {},
): ReferenceConvolutionGradients {
  return differentiate(openCall(v, weights, byRow, options), v, weights, byRow, dOut);
}
