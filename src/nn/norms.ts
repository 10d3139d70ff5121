/**
 * Norms of rows.
 *
 * @module
 */

import type { OnEngine } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import { readNorm } from "../operations/nn/norm.ts";
import {
  layerNormNames,
  type LayerNormOptions,
  rmsNormNames,
  type RmsNormOptions,
} from "../operations/nn/options.ts";
import type { OwnData } from "../operations/attention/result.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import { compute, computeSync } from "./given.ts";

/** Result of a norm. */
export type NormResult<
  Data extends TensorData,
  Options extends LayerNormOptions | undefined = undefined,
> =
  & RowsResult<Data, GivenTo<Options, "out">>
  & (GivenTo<Options, "residual"> extends undefined ? unknown : {
    /** `x + residual`: the tensor passed as `sum` where one was, else one stored as `x` is. */
    readonly sum: GivenTo<Options, "sum"> extends undefined ? Tensor<OwnData<Data>>
      : GivenTo<Options, "sum">;
  });

/** The tensor that options have under a name; `undefined` where they may lack it. */
export type GivenTo<Options, Name extends string> = Options extends
  { readonly [Key in Name]: infer Given }
  ? Extract<Given, AnyTensor> extends never ? undefined : Extract<Given, AnyTensor>
  : undefined;

/**
 * Layer norm of each row, `(x - mean) / sqrt(var + eps) weight + bias`, the variance being that of all of the row
 * (Ba et al., arXiv 1607.06450, equations 3 and 4). The mean is taken off before squares are summed, so that rows on a high
 * level lose nothing.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { layerNorm } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(1001, 1002, 1003, 1004), [1, 4]);
 * const weight = tensor(new Float32Array(4).fill(1), [4]);
 * const residual = tensor(new Float32Array(4), [1, 4]);
 * const { out, sum } = await layerNorm(x, weight, null, { residual }); // of x + residual
 * console.log(out.data, sum.shape); // -1.34, -0.45, 0.45, 1.34; [1, 4]
 * ```
 *
 * @param x `[..., width]`, any storage and strides.
 * @param weight `[width]`; ones where it is left out or `null`.
 * @param bias `[width]`; zeros where it is left out or `null`.
 * @param options See {@linkcode LayerNormOptions}.
 * @returns `out` in the shape and dtype of `x`, and with a `residual` also `sum`, what was normalised.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function layerNorm<
  Data extends TensorData,
  const Options extends (LayerNormOptions & OnEngine) | undefined = undefined,
>(
  x: Tensor<Data>,
  weight?: AnyTensor | null,
  bias?: AnyTensor | null,
  options?: Options,
): Promise<NormResult<Data, Options>> {
  const given = { x, weight, bias };
  return await compute(
    "layerNorm",
    layerNormNames,
    options,
    (options: LayerNormOptions) => readNorm("layerNorm", given, options),
  ) as NormResult<Data, Options>;
}

/**
 * As {@linkcode layerNorm}, and there when it returns. Needs an engine among its options, on which a function of this
 * module was awaited before.
 *
 * @param x `[..., width]`.
 * @param weight `[width]`, or `null`.
 * @param bias `[width]`, or `null`.
 * @param options As those of {@linkcode layerNorm}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode layerNorm} rejects; an `Error` where its kernels are not loaded yet.
 */
export function layerNormSync<
  Data extends TensorData,
  const Options extends LayerNormOptions & OnEngine,
>(
  x: Tensor<Data>,
  weight: AnyTensor | null,
  bias: AnyTensor | null,
  options: Options,
): NormResult<Data, Options> {
  const given = { x, weight, bias };
  return computeSync(
    "layerNorm",
    layerNormNames,
    options,
    (options: LayerNormOptions) => readNorm("layerNorm", given, options),
  ) as NormResult<Data, Options>;
}

/**
 * Norm of each row by its root mean square, `x / sqrt(mean(x^2) + eps) (weight + offset)` (Zhang and Sennrich,
 * arXiv 1910.07467, equation 4).
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { rmsNorm } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(3, 4), [1, 2]);
 * const { out } = await rmsNorm(x, tensor(Float32Array.of(0, 0), [2]), { offset: 1 }); // as Gemma stores weights
 * console.log(out.data); // 0.85, 1.13
 * ```
 *
 * @param x `[..., width]`, any storage and strides.
 * @param weight `[width]`; ones where it is left out or `null`.
 * @param options See {@linkcode RmsNormOptions}.
 * @returns `out` in the shape and dtype of `x`, and with a `residual` also `sum`, what was normalised.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function rmsNorm<
  Data extends TensorData,
  const Options extends (RmsNormOptions & OnEngine) | undefined = undefined,
>(
  x: Tensor<Data>,
  weight?: AnyTensor | null,
  options?: Options,
): Promise<NormResult<Data, Options>> {
  const given = { x, weight, bias: null };
  return await compute(
    "rmsNorm",
    rmsNormNames,
    options,
    (options: RmsNormOptions) => readNorm("rmsNorm", given, options),
  ) as NormResult<Data, Options>;
}

/**
 * As {@linkcode rmsNorm}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x `[..., width]`.
 * @param weight `[width]`, or `null`.
 * @param options As those of {@linkcode rmsNorm}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode rmsNorm} rejects; an `Error` where its kernels are not loaded yet.
 */
export function rmsNormSync<
  Data extends TensorData,
  const Options extends RmsNormOptions & OnEngine,
>(x: Tensor<Data>, weight: AnyTensor | null, options: Options): NormResult<Data, Options> {
  const given = { x, weight, bias: null };
  return computeSync(
    "rmsNorm",
    rmsNormNames,
    options,
    (options: RmsNormOptions) => readNorm("rmsNorm", given, options),
  ) as NormResult<Data, Options>;
}
