/**
 * Rows of tables, and means of rows.
 *
 * @module
 */

import type { OnEngine } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import { readEmbedding, readMeanRows } from "../operations/nn/embedding.ts";
import {
  embeddingNames,
  type EmbeddingOptions,
  rowsNames,
  type RowsOptions,
} from "../operations/nn/options.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, NumberList, Tensor } from "../tensor/tensor.ts";
import { compute, computeSync } from "./given.ts";

/**
 * Rows of a table by their ids, times `scale`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { embedding } from "@flashtile/attention/nn";
 *
 * const table = tensor(Float32Array.of(0, 1, 10, 11, 20, 21), [3, 2]); // three ids
 * const { out } = await embedding([2, 0, 2], table);
 * console.log(out.data); // 20, 21, 0, 1, 20, 21
 * ```
 *
 * @param ids Whole numbers, an `Int32Array` or an array, each a row of `table`.
 * @param table `[rows, width]`, any storage and strides.
 * @param options See {@linkcode EmbeddingOptions}.
 * @returns `out`, `[ids, width]` in the dtype of `table`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} On a webgpu engine, or when no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function embedding<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  ids: NumberList,
  table: Tensor<Data>,
  options?: EmbeddingOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "embedding",
    embeddingNames,
    options as EmbeddingOptions & OnEngine,
    (given: EmbeddingOptions) => readEmbedding(ids, table, given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode embedding}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param ids Whole numbers, an `Int32Array` or an array, each a row of `table`.
 * @param table `[rows, width]`, any storage and strides.
 * @param options As those of {@linkcode embedding}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode embedding} rejects; an `Error` where its kernels are not loaded yet.
 */
export function embeddingSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  ids: NumberList,
  table: Tensor<Data>,
  options: EmbeddingOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "embedding",
    embeddingNames,
    options as EmbeddingOptions & OnEngine,
    (given: EmbeddingOptions) => readEmbedding(ids, table, given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * The mean of each packed sequence's rows: sequence `i` has the rows from `cuSeqlens[i]` to before `cuSeqlens[i + 1]`. One of
 * no rows has a mean of 0.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { meanRows } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
 * const { out } = await meanRows(x, [0, 2, 3]); // two sequences, of two rows and of one
 * console.log(out.data); // 2, 3, 5, 6
 * ```
 *
 * @param x `[rows, width]`, any storage and strides.
 * @param cuSeqlens From 0 to the number of rows, as `attention()` takes them.
 * @param options See {@linkcode RowsOptions}.
 * @returns `out`, `[sequences, width]` in the dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} On a webgpu engine, or when no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function meanRows<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  cuSeqlens: NumberList,
  options?: RowsOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "meanRows",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readMeanRows(x, cuSeqlens, given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode meanRows}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x `[rows, width]`, any storage and strides.
 * @param cuSeqlens From 0 to the number of rows, as `attention()` takes them.
 * @param options As those of {@linkcode meanRows}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode meanRows} rejects; an `Error` where its kernels are not loaded yet.
 */
export function meanRowsSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  cuSeqlens: NumberList,
  options: RowsOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "meanRows",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readMeanRows(x, cuSeqlens, given),
  );
  return result as RowsResult<Data, Out>;
}
