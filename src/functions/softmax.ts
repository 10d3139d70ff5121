/**
 * Softmax by itself, and its logarithms.
 *
 * @module
 */

import { readBooleans } from "../check/booleans.ts";
import { readTensor } from "../check/tensors.ts";
import type { Machinery } from "../contract/backend.ts";
import type { OwnData } from "../operations/attention/result.ts";
import {
  cannotOf,
  gradientNames,
  type PassOptions,
  type SoftmaxGradientOptions,
  softmaxNames,
  type SoftmaxOptions,
  type SoftmaxResult,
  twinOf,
} from "../operations/softmax/options.ts";
import type { SoftmaxTensors } from "../operations/softmax/plan.ts";
import type { HostData, TensorData } from "../tensor/dtype.ts";
import { useAll } from "../tensor/lending.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import { type OnEngine, readGiven, sharedMachinery } from "./default_engine.ts";

/** Result of a function on rows: the tensor passed as `out` where one was, else one stored as `Data` is. */
export interface RowsResult<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
> {
  /** The result. On the GPU where the input is: the buffer is then the caller's to destroy. */
  readonly out: [Out] extends [undefined] ? Tensor<OwnData<Data>>
    : [AnyTensor] extends [Out] ? Tensor<Data>
    : Exclude<Out, undefined>;
}

/** A function's result with what its gradient is computed from. */
export interface RowsWithGradient<Out extends HostData, X extends HostData = Out> {
  /** The result. */
  readonly out: Tensor<Out>;
  /**
   * The gradient by `x`, in its shape and dtype, of a loss whose gradient by `out` is `dOut`: in the shape of `out`,
   * of any storage. `out` must not change before.
   */
  backward(dOut: AnyTensor, pass?: PassOptions): Promise<{ readonly dx: Tensor<X> }>;
}

/** What is asked of which tensors, on which engine. */
interface Given {
  readonly tensors: SoftmaxTensors;
  readonly options: SoftmaxOptions;
  readonly machinery: Machinery | Promise<Machinery>;
}

/**
 * Reads a call, which must be before anything is awaited, and has it computed by what is loaded at the first one.
 * What it uses is in use meanwhile.
 */
async function compute<Result>(
  name: string,
  names: readonly (keyof SoftmaxOptions)[],
  x: AnyTensor,
  asked: (SoftmaxOptions & OnEngine) | undefined,
  run: (given: Given) => Promise<unknown>,
): Promise<Result> {
  const cannot = cannotOf(name), { machinery, options } = readGiven(asked, names, cannot);
  const { mask, out } = options;
  const read = (name: string, tensor: unknown) => readTensor(name, tensor, cannot, true);
  const tensors = {
    x: read("x", x),
    mask: mask === undefined ? null : readBooleans("mask", mask, cannot),
    out: out === undefined ? null : read("out", out),
  };
  const leave = useAll(Object.values(tensors));
  try {
    return await run({ tensors, options, machinery: machinery ?? sharedMachinery() }) as Result;
  } finally {
    leave();
  }
}

/** What is loaded at the first call: asking for it again takes some microseconds. */
let loaded: typeof import("../operations/softmax/operation.ts") | undefined;

/** One of the three. */
function computed<Result>(
  what: SoftmaxResult,
  x: AnyTensor,
  options: (SoftmaxOptions & OnEngine) | undefined,
): Promise<Result> {
  return compute(what, softmaxNames, x, options, async ({ tensors, options, machinery }) => {
    loaded ??= await import("../operations/softmax/operation.ts");
    return await loaded.runSoftmax(machinery, what, tensors, options);
  });
}

/** The same with its gradients. */
function withGradient<Result>(
  what: SoftmaxResult,
  x: AnyTensor,
  options: (SoftmaxGradientOptions & OnEngine) | undefined,
): Promise<Result> {
  return compute(twinOf(what), gradientNames, x, options, async (given) => {
    const { runSoftmaxWithGradient } = await import("../operations/softmax/backward.ts");
    return await runSoftmaxWithGradient(given.machinery, what, given.tensors, given.options);
  });
}

/**
 * Softmax along an axis, `exp(scale x) / sum exp(scale x)`, of a tensor of any rank. Safe: whatever the
 * magnitudes, nothing overflows, since the greatest element of a row is subtracted first.
 *
 * ```ts
 * import { softmax, tensor } from "@flashtile/attention";
 *
 * const x = tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
 * const { out } = await softmax(x, { scale: 0.5 });
 * console.log(out.shape); // [2, 3]: each row sums to 1
 * ```
 *
 * Rows that see nothing, all of whose elements are masked or -Infinity, are 0; a NaN makes its row NaN. One exponential an element; long rows
 * block by block (Milakov and Gimelshein, arXiv 1805.02867, has the online form, with two).
 *
 * @param x Any shape of rank 1 and more, any storage and strides.
 * @param options Along which axis, and what counts: see {@linkcode SoftmaxOptions}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function softmax<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(x: Tensor<Data>, options?: SoftmaxOptions<Out> & OnEngine): Promise<RowsResult<Data, Out>> {
  return await computed("softmax", x, options);
}

/**
 * The logarithm of a softmax along an axis, `scale x - log sum exp(scale x)`, without the softmax's rounding: far
 * below the greatest element it is exact where the softmax is 0.
 *
 * ```ts
 * import { logSoftmax, tensor } from "@flashtile/attention";
 *
 * const { out } = await logSoftmax(tensor(Float32Array.of(0, -1000), [2]));
 * console.log(out.data); // 0, -1000
 * ```
 *
 * Masked elements are -Infinity, in rows that see nothing all are; a NaN makes its row NaN.
 *
 * @param x As for {@linkcode softmax}.
 * @param options As for {@linkcode softmax}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function logSoftmax<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(x: Tensor<Data>, options?: SoftmaxOptions<Out> & OnEngine): Promise<RowsResult<Data, Out>> {
  return await computed("logSoftmax", x, options);
}

/**
 * The logarithm of the sum of exponentials along an axis, `log sum exp(scale x)`: what a softmax is divided by, and what
 * `attention()` gives as `lse`.
 *
 * ```ts
 * import { logSumExp, tensor } from "@flashtile/attention";
 *
 * const { out } = await logSumExp(tensor(new Float32Array(4 * 1000), [4, 1000]));
 * console.log(out.shape, out.data[0]); // [4] 6.9077...
 * ```
 *
 * A row that sees nothing gives -Infinity.
 *
 * @param x As for {@linkcode softmax}.
 * @param options As for {@linkcode softmax}.
 * @returns `out`, f32, in the shape of `x` without the axis.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function logSumExp<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: SoftmaxOptions<Out> & OnEngine,
): Promise<RowsResult<Data extends GPUBuffer ? GPUBuffer : Float32Array, Out>> {
  return await computed("logSumExp", x, options);
}

/**
 * Softmax with its gradient: `dx = scale y (dOut - sum(dOut y))`, `y` being the softmax.
 *
 * ```ts
 * import { softmaxWithGradient, tensor } from "@flashtile/attention";
 *
 * const x = tensor(Float32Array.of(1, 2, 3), [3]);
 * const { out, backward } = await softmaxWithGradient(x);
 * const { dx } = await backward(tensor(Float32Array.of(1, 0, 0), [3])); // of out[0]
 * console.log(out.data, dx.data);
 * ```
 *
 * On the CPU. What is masked, and rows that see nothing, have gradients of 0.
 *
 * @param x As for {@linkcode softmax}, in arrays.
 * @param options As for {@linkcode softmax}, without `out`.
 * @returns `out` in the shape and dtype of `x`, and `backward(dOut)`, which gives `dx` likewise.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function softmaxWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<OwnData<Data>>> {
  return await withGradient("softmax", x, options);
}

/**
 * The logarithm of a softmax with its gradient: `dx = scale (dOut - exp(y) sum(dOut))`, `y` being the logarithm.
 *
 * ```ts
 * import { logSoftmaxWithGradient, tensor } from "@flashtile/attention";
 *
 * const logits = tensor(Float32Array.of(1, 2, 3), [1, 3]);
 * const { out, backward } = await logSoftmaxWithGradient(logits);
 * const loss = -out.data[2]; // cross entropy, the third class being right
 * const { dx } = await backward(tensor(Float32Array.of(0, 0, -1), [1, 3]));
 * console.log(loss, dx.data);
 * ```
 *
 * On the CPU. What is masked has a gradient of 0, and what `dOut` says of it does not count.
 *
 * @param x As for {@linkcode softmax}, in arrays.
 * @param options As for {@linkcode softmax}, without `out`.
 * @returns `out` in the shape and dtype of `x`, and `backward(dOut)`, which gives `dx` likewise.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function logSoftmaxWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<OwnData<Data>>> {
  return await withGradient("logSoftmax", x, options);
}

/**
 * The logarithm of the sum of exponentials with its gradient: `dx = scale dOut softmax(scale x)`.
 *
 * ```ts
 * import { logSumExpWithGradient, tensor } from "@flashtile/attention";
 *
 * const { out, backward } = await logSumExpWithGradient(tensor(Float32Array.of(1, 2, 3, 4), [2, 2]));
 * const { dx } = await backward(tensor(Float32Array.of(1, 1), [2]));
 * console.log(out.shape, dx.shape); // [2] [2, 2]
 * ```
 *
 * On the CPU. What is masked, and rows that see nothing, have gradients of 0.
 *
 * @param x As for {@linkcode softmax}, in arrays.
 * @param options As for {@linkcode softmax}, without `out`.
 * @returns `out`, f32, in the shape of `x` without the axis, and `backward(dOut)`, which gives `dx` as `x` is.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function logSumExpWithGradient<Data extends HostData>(
  x: Tensor<Data>,
  options?: SoftmaxGradientOptions & OnEngine,
): Promise<RowsWithGradient<Float32Array<ArrayBuffer>, OwnData<Data>>> {
  return await withGradient("logSumExp", x, options);
}
