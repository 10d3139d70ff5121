/**
 * Rows of tables, and means of rows.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import { readEmbedding, readMeanRows } from "../operations/nn/embedding.ts";
import { isPacked, readWeight } from "../operations/nn/linear.ts";
import {
  cannotOf,
  embeddingNames,
  type EmbeddingOptions,
  rowsNames,
  type RowsOptions,
} from "../operations/nn/options.ts";
import type { PackedLinear } from "../operations/nn/packed.ts";
import { runRows, runRowsSync } from "../operations/nn/run.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, NumberList, Tensor } from "../tensor/tensor.ts";
import { compute, computeSync, givenEngine, type WithEngine } from "./given.ts";

/** What holds rows of a table: of a packed weight f32. */
export type TableData<Table> = Table extends Tensor<infer Data extends TensorData> ? Data
  : Float32Array;

/** Reads a call; it runs where a packed weight is. */
function readTable(
  ids: NumberList,
  table: AnyTensor | PackedLinear,
  asked: WithEngine<EmbeddingOptions>,
) {
  const doing = cannotOf("embedding");
  const { machinery, options } = readGiven<EmbeddingOptions>(asked, embeddingNames, doing);
  if (!isPacked(table)) return { machinery, call: readEmbedding(ids, table, options) };
  const { packed, machinery: own } = readWeight(table, machinery, "table", doing);
  return { machinery: own, call: readEmbedding(ids, packed, options) };
}

/**
 * Rows of a table by their ids, times `scale`. The table may be a packed weight, whose rows are those of its outputs: where a
 * model's head is tied to its embedding, one of them is enough.
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
 * @param table `[rows, width]`, any storage and strides; or what `packLinear()` gave.
 * @param options See {@linkcode EmbeddingOptions}.
 * @returns `out`, `[ids, width]` in the dtype of `table`, f32 of a packed weight.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function embedding<
  Table extends AnyTensor | PackedLinear,
  Out extends AnyTensor | undefined = undefined,
>(
  ids: NumberList,
  table: Table,
  options?: EmbeddingOptions<Out> & OnEngine,
): Promise<RowsResult<TableData<Table>, Out>> {
  const { machinery, call } = readTable(ids, table, options);
  const result: unknown = await runRows(machinery ?? sharedMachinery(), call);
  return result as RowsResult<TableData<Table>, Out>;
}

/**
 * As {@linkcode embedding}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param ids Whole numbers, an `Int32Array` or an array, each a row of `table`.
 * @param table `[rows, width]`, any storage and strides; or what `packLinear()` gave.
 * @param options As those of {@linkcode embedding}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode embedding} rejects; an `Error` where its kernels are not loaded yet.
 */
export function embeddingSync<
  Table extends AnyTensor | PackedLinear,
  Out extends AnyTensor | undefined = undefined,
>(
  ids: NumberList,
  table: Table,
  options: EmbeddingOptions<Out> & OnEngine,
): RowsResult<TableData<Table>, Out> {
  const { machinery, call } = readTable(ids, table, options);
  const result: unknown = runRowsSync(givenEngine(machinery, "embedding"), call);
  return result as RowsResult<TableData<Table>, Out>;
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
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
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
