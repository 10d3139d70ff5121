/**
 * What `attention()` gives.
 *
 * @module
 */

import type { TensorData } from "../../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";

/** Result of `attention()`. */
export interface AttentionResult<Data extends TensorData = Float32Array> {
  /**
   * `[B, Hq, Nq, Dv]` in the rank and layout of `q`, stored as `q` is; the tensor passed as `out`,
   * if one was. On the GPU where `q` is: the buffer is the caller's to destroy.
   */
  readonly out: Tensor<Data>;
  /**
   * Natural log-sum-exp of each row's scores, f32, `[B, Hq, Nq]`, on the GPU where `out` is; with
   * `lse: true` only.
   */
  readonly lse?: Tensor<LseData<Data>>;
}

/** What holds `lse`: a buffer where the result is one, else an array that is the caller's alone. */
export type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Float32Array<ArrayBuffer>;

/** What holds a result that is stored as `Data` is: an array over a buffer of its own, never shared. */
export type OwnData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer
  : Data extends Float32Array ? Float32Array<ArrayBuffer>
  : Data extends Uint16Array ? Uint16Array<ArrayBuffer>
  : Float16Array<ArrayBuffer>;

/** Result of `attention()` with `lse: true`. */
export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

/** Result of `attention()` with the tensor passed as `out`. */
export interface AttentionResultInto<Out extends AnyTensor> {
  /** That tensor. */
  readonly out: Out;
  /** As in {@linkcode AttentionResult}. */
  readonly lse?: Tensor<LseData<Out["data"]>>;
}

/** Options, and what the type of the result depends on of them. */
export type Asking<
  Options,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = Options & { readonly lse?: Lse | undefined; readonly out?: Out | undefined };

/**
 * Result of a call for queries in `Data`: with `lse` where `Lse` is `true`, and the tensor `Out` where
 * one was passed. Where the options only may have an `out`, that may be of any storage.
 */
export type ResultOf<
  Data extends TensorData,
  Lse extends boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
> = ([Out] extends [undefined] ? AttentionResult<OwnData<Data>>
  : [AnyTensor] extends [Out] ? AttentionResult<Data>
  : AttentionResultInto<Exclude<Out, undefined>>) extends infer Result
  ? [Lse] extends [true] ? Required<Result> : Result
  : never;

/** The same with what rounding took from `lse`, where that is kept. */
export interface KeptResult<Data extends TensorData> extends AttentionResultWithLse<Data> {
  readonly lseRest: Tensor<LseData<Data>>;
}
