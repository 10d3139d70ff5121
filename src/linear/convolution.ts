/**
 * Lightweight and dynamic convolution.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import type { OwnData } from "../operations/attention/result.ts";
import { runConvolutionWithGradient } from "../operations/convolution/backward.ts";
import { runConvolution } from "../operations/convolution/operation.ts";
import {
  cannotOf,
  convolutionGradientNames,
  type ConvolutionGradientOptions,
  type ConvolutionKind,
  convolutionNames,
  type ConvolutionOptions,
  type ConvolutionPassOptions,
  twinOf,
} from "../operations/convolution/options.ts";
import { readConvolution } from "../operations/convolution/plan.ts";
import type { HostData, TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

/** Gradients, each of the shape, layout and storage of what it is the gradient by, contiguous. */
export interface ConvolutionGradients<V extends HostData, W extends HostData> {
  /** By `v`. */
  readonly dv: Tensor<V>;
  /** By `weights`, before their softmax. */
  readonly dWeights: Tensor<W>;
}

/** Result of `lightweightConvolutionWithGradient()` and `dynamicConvolutionWithGradient()`. */
export interface ConvolutionWithGradient<V extends HostData, W extends HostData> {
  /** In the shape and dtype of `v`. */
  readonly out: Tensor<V>;
  /**
   * The gradients, from that with respect to `out`. Inputs must not have changed since; can be called more than
   * once.
   */
  backward(dOut: AnyTensor, options?: ConvolutionPassOptions): Promise<ConvolutionGradients<V, W>>;
}

/** Reads what is asked, which must be before anything is awaited, and runs it. */
async function compute(
  kind: ConvolutionKind,
  v: unknown,
  weights: unknown,
  asked: (ConvolutionOptions & OnEngine) | undefined,
): Promise<unknown> {
  const { machinery, options } = readGiven(asked, convolutionNames, cannotOf(kind));
  const call = readConvolution(kind, { v, weights }, options);
  return await runConvolution(machinery ?? sharedMachinery(), call);
}

async function computeWithGradient(
  kind: ConvolutionKind,
  v: unknown,
  weights: unknown,
  asked: (ConvolutionGradientOptions & OnEngine) | undefined,
): Promise<unknown> {
  const doing = cannotOf(twinOf(kind));
  const { machinery, options } = readGiven(asked, convolutionGradientNames, doing);
  const call = readConvolution(kind, { v, weights }, options, doing);
  return await runConvolutionWithGradient(machinery ?? sharedMachinery(), call);
}

/**
 * Lightweight convolution, `out_i = sum_t softmax(weights)_t v_{i + t - before}`, where `before` is `W - 1` if causal
 * (the last tap is on the row itself), else `(W - 1) / 2`: in the place of attention, a weighted mean of the rows around
 * each row whose weights depend on where they are and on nothing else. Wu et al., arXiv 1901.10430, section 3, equation 5.
 * Time and memory grow with N and not with its square.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { lightweightConvolution } from "@flashtile/attention/linear";
 *
 * const v = tensor(new Float32Array(8 * 100 * 64), [8, 100, 64]); // 8 heads, 100 rows, D = 64
 * const weights = tensor(new Float32Array(8 * 31), [8, 31]); // 31 taps, alike
 * const { out } = await lightweightConvolution(v, weights, { causal: true });
 * console.log(out.shape); // [8, 100, 64]
 * ```
 *
 * Rows beyond the ends are 0, and their taps keep their weight. Taps whose weight is -Infinity do not count.
 *
 * @param v Values, `[B, H, N, D]`, `[H, N, D]` or `[N, D]` of any storage; `layout: "bnhd"` swaps H and N.
 * @param weights `[H, W]` before their softmax, from the oldest row on; W from 1 to 127, odd unless causal.
 * @param options See {@linkcode ConvolutionOptions}.
 * @returns `out` in the shape and dtype of `v`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function lightweightConvolution<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  v: Tensor<Data>,
  weights: AnyTensor,
  options?: ConvolutionOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute("lightweightConvolution", v, weights, options);
  return result as RowsResult<Data, Out>;
}

/**
 * Dynamic convolution: a {@linkcode lightweightConvolution} in which each row has weights of its own, for example a
 * linear map of the row. Wu et al., arXiv 1901.10430, section 4, equation 6.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { dynamicConvolution } from "@flashtile/attention/linear";
 *
 * const v = tensor(new Float32Array(8 * 100 * 64), [8, 100, 64]); // 8 heads, 100 rows, D = 64
 * const weights = tensor(new Float32Array(8 * 100 * 7), [8, 100, 7]); // 7 taps for each row
 * const { out } = await dynamicConvolution(v, weights); // three rows before, three behind
 * console.log(out.shape); // [8, 100, 64]
 * ```
 *
 * @param v Values, as for {@linkcode lightweightConvolution}.
 * @param weights `[B, H, N, W]` in the rank and layout of `v`, before their softmax.
 * @param options See {@linkcode ConvolutionOptions}.
 * @returns `out` in the shape and dtype of `v`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function dynamicConvolution<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  v: Tensor<Data>,
  weights: AnyTensor,
  options?: ConvolutionOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  return await compute("dynamicConvolution", v, weights, options) as RowsResult<Data, Out>;
}

/**
 * A {@linkcode lightweightConvolution}, and a function for its gradients. With `p = softmax(weights)`, `dv_n` is the
 * sum of `p_t dOut_i` over the taps that are on row n, `dp_t` that of `dOut_i . v_n` over all rows, and
 * `dWeights = p (dp - sum p dp)`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { lightweightConvolutionWithGradient } from "@flashtile/attention/linear";
 *
 * const v = tensor(Float32Array.of(1, 3), [2, 1]), weights = tensor(new Float32Array(2), [1, 2]);
 * const options = { causal: true };
 * const { out, backward } = await lightweightConvolutionWithGradient(v, weights, options);
 * const { dv, dWeights } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dv.shape, dWeights.shape); // [2, 1] [1, 2]
 * ```
 *
 * On the CPU.
 *
 * @param v As for {@linkcode lightweightConvolution}, in arrays.
 * @param weights As for {@linkcode lightweightConvolution}, likewise.
 * @param options As for {@linkcode lightweightConvolution}, without `out`.
 * @returns `out`, and `backward(dOut)`, which gives `dv` and `dWeights` in shape and dtype of what they are by.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function lightweightConvolutionWithGradient<V extends HostData, W extends HostData>(
  v: Tensor<V>,
  weights: Tensor<W>,
  options?: ConvolutionGradientOptions & OnEngine,
): Promise<ConvolutionWithGradient<OwnData<V>, OwnData<W>>> {
  const result = await computeWithGradient("lightweightConvolution", v, weights, options);
  return result as ConvolutionWithGradient<OwnData<V>, OwnData<W>>;
}

/**
 * A {@linkcode dynamicConvolution}, and a function for its gradients: those of a lightweight convolution, each row's
 * weights by themselves.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { dynamicConvolutionWithGradient } from "@flashtile/attention/linear";
 *
 * const v = tensor(new Float32Array(100 * 8), [100, 8]);
 * const weights = tensor(new Float32Array(100 * 7), [100, 7]);
 * const { out, backward } = await dynamicConvolutionWithGradient(v, weights);
 * const { dv, dWeights } = await backward(out);
 * console.log(dv.shape, dWeights.shape); // [100, 8] [100, 7]
 * ```
 *
 * On the CPU.
 *
 * @param v As for {@linkcode dynamicConvolution}, in arrays.
 * @param weights As for {@linkcode dynamicConvolution}, likewise.
 * @param options As for {@linkcode dynamicConvolution}, without `out`.
 * @returns `out`, and `backward(dOut)`, which gives `dv` and `dWeights` in shape and dtype of what they are by.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function dynamicConvolutionWithGradient<V extends HostData, W extends HostData>(
  v: Tensor<V>,
  weights: Tensor<W>,
  options?: ConvolutionGradientOptions & OnEngine,
): Promise<ConvolutionWithGradient<OwnData<V>, OwnData<W>>> {
  const result = await computeWithGradient("dynamicConvolution", v, weights, options);
  return result as ConvolutionWithGradient<OwnData<V>, OwnData<W>>;
}
