/**
 * Linear layers.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import { checkFormed } from "../operations/nn/call.ts";
import { readLinear, readPack, readWeight } from "../operations/nn/linear.ts";
import {
  type BlockWeight,
  linearNames,
  type LinearOptions,
  type PackLinearOptions,
  packNames,
} from "../operations/nn/options.ts";
import { runPack } from "../operations/nn/pack.ts";
import type { PackedLinear } from "../operations/nn/packed.ts";
import { runRows, runRowsSync } from "../operations/nn/run.ts";
import { linear as token, packLinear as packing } from "../operations/nn/tokens.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

/**
 * Packs the weight of a linear layer into an engine's memory, as {@linkcode linear} multiplies it: once, where weights
 * are loaded. What it was packed from is not needed any more.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { packLinear } from "@flashtile/attention/nn";
 *
 * const weight = tensor(new Float32Array(1536 * 384), [1536, 384]); // as PyTorch has it, [outputs, inputs]
 * const packed = await packLinear(weight, { dtype: "int16" });
 * console.log(packed.inputs, packed.outputs, packed.bytes); // 384 1536 1185792
 * packed.free();
 * ```
 *
 * `"int16"` is as right as f32 where `precision` is `"int16"`, and takes what f16 takes; `"int8"` takes a third of f32, a scale
 * and a sum for each 32 included. Outputs are kept in thirty-twos: what is missing there is 0.
 *
 * @param weight `[outputs, inputs]` of floats in any storage and strides (`layout: "in-out"` has them the other way round),
 * or blocks as they lie in a GGUF file: see {@linkcode BlockWeight}.
 * @param options How it is kept, and on which engine: see {@linkcode PackLinearOptions}.
 * @returns The packed weight, for calls on this engine.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When `dtype` is `"int16"` on a webgpu engine, or no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function packLinear(
  weight: AnyTensor | BlockWeight,
  options?: PackLinearOptions & OnEngine,
): Promise<PackedLinear> {
  const { machinery, options: given } = readGiven(options, packNames, packing.cannot);
  return await runPack(machinery ?? sharedMachinery(), readPack(weight, given), given);
}

/**
 * A linear layer, `activation(x W^T + bias) + residual`, on the engine that the weight was packed for.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { linear, packLinear } from "@flashtile/attention/nn";
 *
 * const weight = await packLinear(tensor(new Float32Array(1536 * 384), [1536, 384]));
 * const x = tensor(new Float32Array(2 * 100 * 384), [2, 100, 384]);
 * const bias = tensor(new Float32Array(1536), [1536]);
 * const { out } = await linear(x, weight, { bias, activation: "gelu" });
 * console.log(out.shape); // [2, 100, 1536]
 * ```
 *
 * Products are summed in f32 in the order of the inputs (by `precision` in integers), so that a row has the same bits alone,
 * in any batch and on any number of threads. On a GPU products are formed in f32 alone, and few rows are summed in another
 * order than many. With `precision: "int16"` or `"int8"` a row that is not finite is NaN.
 *
 * @param x `[..., inputs]`, any storage and strides.
 * @param weight What {@linkcode packLinear} gave.
 * @param options Bias, activation, residual, precision and more: see {@linkcode LinearOptions}.
 * @returns `out`, `[..., outputs]` in the dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, an option is unknown, or the weight is another engine's or freed.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When `precision` is not `"f32"` and the weight is on a GPU.
 * @throws `signal.reason` when the signal aborts.
 */
export async function linear<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  weight: PackedLinear,
  options?: LinearOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const { machinery, call } = read(x, weight, options);
  return await runRows(machinery, call) as unknown as RowsResult<Data, Out>;
}

/**
 * As {@linkcode linear}, and there when it returns: for layers one after the other, of which each takes a few milliseconds.
 * Other work of the program waits meanwhile.
 *
 * @param x `[..., inputs]`.
 * @param weight What {@linkcode packLinear} gave.
 * @param options As those of {@linkcode linear}.
 * @returns The same.
 * @throws As {@linkcode linear} rejects.
 */
export function linearSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  weight: PackedLinear,
  options?: LinearOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const { machinery, call } = read(x, weight, options);
  return runRowsSync(machinery, call) as unknown as RowsResult<Data, Out>;
}

/** Reads a call; it runs where the weight is. */
function read(x: AnyTensor, weight: PackedLinear, asked: (LinearOptions & OnEngine) | undefined) {
  const { machinery: wanted, options } = readGiven(asked, linearNames, token.cannot);
  const { packed, machinery } = readWeight(weight, wanted);
  const call = readLinear(x, packed, options);
  checkFormed(machinery.own, call.plan.precision);
  return { machinery, call };
}
