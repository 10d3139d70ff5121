/**
 * The oracles of `softmax()`, `logSoftmax()` and `logSumExp()`.
 *
 * @module
 */

import type { BooleanTensor } from "../tensor/tensor.ts";
import { refuseUnknown } from "./call.ts";
import { linesOf, type ReadLine, type ReferenceArray, type ReferenceTensor } from "./tensor.ts";

/** Options of `referenceSoftmax()`, `referenceLogSoftmax()`, `referenceLogSumExp()`. */
export interface ReferenceSoftmaxOptions {
  /** The axis whose elements are weighed against each other; -1, the last, by default. */
  readonly axis?: number | undefined;
  /** What elements are multiplied by before anything else; 1 by default. */
  readonly scale?: number | undefined;
  /** 1 where an element counts; broadcast to the shape of `x`, as the `mask` of `attention()`. */
  readonly mask?: BooleanTensor | undefined;
}

/** A result of the oracle, contiguous. */
export interface ReferenceOutput {
  /** In float64. */
  readonly out: ReferenceArray;
}

/** The gradient by `x`, contiguous. */
export interface ReferenceSoftmaxGradient {
  /** In the shape of `x`; 0 where it does not count. */
  readonly dx: ReferenceArray;
}

/** A line of scores, weighed. */
export interface Weighed {
  /** Their sum is 1, or 0 where nothing counts. */
  readonly weights: Float64Array;
  /** The largest score, and the logarithm of the sum of weights against it: together `lse`. */
  readonly max: number;
  readonly logSum: number;
}

/** Softmax of some scores, of which -Infinity does not count. */
export function weigh(scores: Float64Array): Weighed {
  // 1. The maximum, so that the largest exponential is 1; NaN is left to the sum.
  let max = -Infinity;
  for (const s of scores) if (s > max) max = s;

  // 2. Exponentials and their sum.
  const weights = scores.map((s) => s === -Infinity ? 0 : Math.exp(s - max));
  let sum = 0;
  for (const weight of weights) sum += weight;
  if (sum === 0) return { weights, max: -Infinity, logSum: 0 };

  // 3. The division.
  return { weights: weights.map((weight) => weight / sum), max, logSum: Math.log(sum) };
}

/** A tensor as lines along an axis, and what writes into another of its shape. */
interface Lines {
  readonly count: number;
  readonly length: number;
  readonly scale: number;
  readonly axis: number;
  /** Scaled elements; -Infinity where one does not count. */
  scores(line: number): Float64Array;
  /** A tensor of the same shape, made of one line after the other. */
  make(lineOf: (line: number) => Float64Array): ReferenceArray;
}

function openLines(x: ReferenceTensor, options: ReferenceSoftmaxOptions): Lines {
  refuseUnknown(options, ["axis", "scale", "mask", "out", "signal", "onProgress"]);
  const { shape } = x, { scale = 1 } = options, given = options.axis ?? -1;
  const axis = given < 0 ? given + shape.length : given, length = shape[axis];
  const mask = options.mask && linesOf(options.mask, shape, axis), read = linesOf(x, shape, axis);
  const count = shape.reduce((product, n, other) => other === axis ? product : product * n, 1);
  const score = (line: number, at: number) =>
    mask && !mask(line, at) ? -Infinity : scale * read(line, at);
  return {
    ...{ count, length, scale, axis },
    scores: (line) => Float64Array.from({ length }, (_, at) => score(line, at)),
    make: (lineOf) => {
      const data = new Float64Array(count * length);
      const place = linesOf({ data: data.map((_, index) => index), shape }, shape, axis);
      for (let line = 0; line < count; line++) {
        lineOf(line).forEach((element, at) => data[place(line, at)] = element);
      }
      return { data, shape };
    },
  };
}

/** The shape of what has one number for each line. */
function withoutAxis({ shape }: ReferenceTensor, axis: number): number[] {
  return shape.filter((_, other) => other !== axis);
}

/** Reads a gradient that has one number for each line. */
function perLine(gradient: ReferenceTensor): (line: number) => number {
  const shape = [...gradient.shape, 1], { strides } = gradient;
  const read = linesOf(
    { ...gradient, shape, strides: strides && [...strides, 0] },
    shape,
    shape.length - 1,
  );
  return (line) => read(line, 0);
}

/** A line of a gradient. */
function lineOf(read: ReadLine, line: number, length: number): Float64Array {
  return Float64Array.from({ length }, (_, at) => read(line, at));
}

/**
 * Softmax along an axis, `exp(s_j - m) / sum_t exp(s_t - m)` with `s = scale * x` and `m = max s`: the
 * safe softmax of Milakov and Gimelshein, arXiv 1805.02867, algorithm 2.
 *
 * ```ts
 * import { referenceSoftmax } from "@flashtile/attention/reference";
 *
 * const x = { data: [1000, 1000, 7], shape: [3] };
 * const { out } = referenceSoftmax(x, { mask: { data: Uint8Array.of(1, 1, 0), shape: [3] } });
 * console.log(out.data); // [1 / 2, 1 / 2, 0]
 * ```
 *
 * @param x A tensor of rank 1 or more.
 * @param options Axis, scale and mask; what is about memory and time is ignored.
 * @returns `out` in the shape of `x`, float64; 0 where nothing of a line counts. Inputs are not checked.
 */
export function referenceSoftmax(
  x: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceOutput {
  const { scores, make } = openLines(x, options);
  return { out: make((line) => weigh(scores(line)).weights) };
}

/**
 * The logarithm of softmax, `s_j - m - ln(sum_t exp(s_t - m))`: finite where softmax itself is too small
 * for a number.
 *
 * ```ts
 * import { referenceLogSoftmax } from "@flashtile/attention/reference";
 *
 * const { out } = referenceLogSoftmax({ data: [0, -1000], shape: [2] });
 * console.log(out.data); // [0, -1000]
 * ```
 *
 * @param x A tensor of rank 1 or more.
 * @param options Axis, scale and mask.
 * @returns `out` in the shape of `x`; -Infinity where an element does not count. Inputs are not checked.
 */
export function referenceLogSoftmax(
  x: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceOutput {
  const { scores, make } = openLines(x, options);
  const lineOfLogs = (line: number) => {
    const found = scores(line), { max, logSum } = weigh(found);
    return found.map((s) => Number.isNaN(logSum) ? NaN : s === -Infinity ? s : s - max - logSum);
  };
  return { out: make(lineOfLogs) };
}

/**
 * The logarithm of the sum of exponentials along an axis, `m + ln(sum_t exp(s_t - m))`.
 *
 * ```ts
 * import { referenceLogSumExp } from "@flashtile/attention/reference";
 *
 * const { out } = referenceLogSumExp({ data: [0, 0, 9, 9], shape: [2, 2] });
 * console.log(out.data); // [Math.log(2), 9 + Math.log(2)]
 * ```
 *
 * @param x A tensor of rank 1 or more.
 * @param options Axis, scale and mask.
 * @returns `out` in the shape of `x` without the axis; -Infinity where nothing of a line counts. Inputs
 *   are not checked.
 */
export function referenceLogSumExp(
  x: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceOutput {
  const { count, axis, scores } = openLines(x, options);
  const data = Float64Array.from({ length: count }, (_, line) => {
    const { max, logSum } = weigh(scores(line));
    return max + logSum;
  });
  return { out: { data, shape: withoutAxis(x, axis) } };
}

/**
 * The gradient of softmax: `dx_j = scale p_j (dOut_j - sum_t p_t dOut_t)`, from
 * `dp_t / ds_j = p_t ([t = j] - p_j)`.
 *
 * ```ts
 * import { referenceSoftmaxBackward } from "@flashtile/attention/reference";
 *
 * const x = { data: [0, 0], shape: [2] }, dOut = { data: [1, 0], shape: [2] };
 * console.log(referenceSoftmaxBackward(x, dOut).dx.data); // [1 / 4, -1 / 4]
 * ```
 *
 * @param x What softmax was of.
 * @param dOut Gradient with respect to `out`, in the shape of `x`.
 * @param options As those of `referenceSoftmax()`.
 * @returns `dx`, float64. Inputs are not checked.
 */
export function referenceSoftmaxBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceSoftmaxGradient {
  const { length, scale, axis, scores, make } = openLines(x, options);
  const read = linesOf(dOut, x.shape, axis);
  const differentiate = (line: number) => {
    const { weights } = weigh(scores(line));
    return throughSoftmax(weights, lineOf(read, line, length)).map((dS) => scale * dS);
  };
  return { dx: make(differentiate) };
}

/** The gradient by scores, from that by their weights; 0 where a score does not count. */
export function throughSoftmax(weights: Float64Array, dWeights: Float64Array): Float64Array {
  let mean = 0;
  weights.forEach((p, at) => mean += p === 0 ? 0 : p * dWeights[at]);
  return weights.map((p, at) => p === 0 ? 0 : p * (dWeights[at] - mean));
}

/**
 * The gradient of the logarithm of softmax: `dx_j = scale (dOut_j - p_j sum_t dOut_t)`, over the
 * elements that count.
 *
 * ```ts
 * import { referenceLogSoftmaxBackward } from "@flashtile/attention/reference";
 *
 * const x = { data: [0, 0], shape: [2] }, dOut = { data: [1, 0], shape: [2] };
 * console.log(referenceLogSoftmaxBackward(x, dOut).dx.data); // [1 / 2, -1 / 2]
 * ```
 *
 * @param x What it was of.
 * @param dOut Gradient with respect to `out`, in the shape of `x`.
 * @param options As those of `referenceLogSoftmax()`.
 * @returns `dx`, float64. Inputs are not checked.
 */
export function referenceLogSoftmaxBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceSoftmaxGradient {
  const { length, scale, axis, scores, make } = openLines(x, options);
  const read = linesOf(dOut, x.shape, axis);
  const differentiate = (line: number) => {
    const found = scores(line), { weights } = weigh(found);
    const given = lineOf(read, line, length).map((d, at) => found[at] === -Infinity ? 0 : d);
    const sum = given.reduce((total, d) => total + d, 0);
    return given.map((d, at) => found[at] === -Infinity ? 0 : scale * (d - weights[at] * sum));
  };
  return { dx: make(differentiate) };
}

/**
 * The gradient of the logarithm of the sum of exponentials: `dx_j = scale p_j dOut`, softmax itself.
 *
 * ```ts
 * import { referenceLogSumExpBackward } from "@flashtile/attention/reference";
 *
 * const x = { data: [0, 0], shape: [2] }, dOut = { data: [1], shape: [] };
 * console.log(referenceLogSumExpBackward(x, dOut).dx.data); // [1 / 2, 1 / 2]
 * ```
 *
 * @param x What it was of.
 * @param dOut Gradient with respect to `out`, in the shape of `x` without the axis.
 * @param options As those of `referenceLogSumExp()`.
 * @returns `dx`, float64. Inputs are not checked.
 */
export function referenceLogSumExpBackward(
  x: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceSoftmaxOptions = {},
): ReferenceSoftmaxGradient {
  const { scale, scores, make } = openLines(x, options), given = perLine(dOut);
  const differentiate = (line: number) => {
    // A line in which nothing counts gives nothing, whatever comes for its -Infinity.
    return weigh(scores(line)).weights.map((p) => p === 0 ? 0 : scale * p * given(line));
  };
  return { dx: make(differentiate) };
}
