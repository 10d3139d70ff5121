/**
 * What a call of `embedding()` or `meanRows()` means: read once, checked.
 *
 * @module
 */

import { openList } from "../../check/tensors.ts";
import { isWhole, kindOf, readNumbers } from "../../check/words.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { AnyTensor, NumberList } from "../../tensor/tensor.ts";
import { readWritten, type RowsCall } from "./call.ts";
import type { EmbeddingOptions, RowsOptions } from "./options.ts";
import { isWeight, type PackedWeight } from "./packed.ts";
import { piecesOf, type PlacedTensor, readPlaced } from "./rows.ts";
import {
  embedding,
  type EmbeddingPlan,
  type MeanPlan,
  meanRows,
  type RowsPiece,
} from "./tokens.ts";

/** Reads a matrix. */
function readMatrix(name: string, given: unknown, doing: string): PlacedTensor {
  const matrix = readPlaced(name, given, doing);
  if (matrix.shape.length === 2) return matrix;
  throw new RangeError(`${doing}: \`${name}\` must have two axes, got shape [${matrix.shape}]`);
}

/** The only piece: rows of `x` are others than those of `out`. */
function wholePiece(x: PlacedTensor, out: PlacedTensor): RowsPiece[] {
  const [[ofX]] = piecesOf(x.shape.slice(0, 1), [x]),
    [[ofOut]] = piecesOf(out.shape.slice(0, 1), [out]);
  return [{ x: ofX!, out: ofOut!, y: null, sum: null }];
}

function readIds(given: unknown, rows: number, doing: string): Int32Array {
  const list = openList("ids", given, doing);
  if (list === undefined) {
    throw new TypeError(
      `${doing}: \`ids\` must be an Int32Array or an array of numbers, got ${kindOf(given)}`,
    );
  }
  const { numbers, wrong } = readNumbers(list, (id) => isWhole(id) && id >= 0 && id < rows);
  if (wrong === undefined) return Int32Array.from(numbers);
  throw new RangeError(
    `${doing}: \`ids\` must be whole numbers from 0 to ${rows - 1}, the rows of \`table\`, ` +
      `got ${kindOf(wrong.value)}`,
  );
}

/** A packed weight in the place of a table. */
function tableOf({ data, outputs, inputs }: PackedWeight): PlacedTensor {
  return { data, dtype: "f32", shape: [outputs, inputs], strides: [0, 0], offset: 0 };
}

/** Reads a call of `embedding()`. */
export function readEmbedding(
  givenIds: NumberList,
  givenTable: AnyTensor | PackedWeight,
  { scale = 1, out: given, signal }: EmbeddingOptions,
  doing = embedding.cannot,
): RowsCall<EmbeddingPlan> {
  const packed = isWeight(givenTable) ? givenTable : null;
  const table = packed ? tableOf(packed) : readMatrix("table", givenTable, doing);
  const [rows, width] = table.shape, ids = readIds(givenIds, rows, doing);
  if (typeof scale !== "number" || !Number.isFinite(Math.fround(scale))) {
    throw new RangeError(`${doing}: \`scale\` must be finite in f32, got ${kindOf(scale)}`);
  }
  const shape = [ids.length, width];
  // Of a packed weight numbers, wherever it is itself.
  const like = packed ? { ...table, data: new HeldArray(new Float32Array(0)) } : table;
  const out = readWritten("out", given, { shape, like, over: [] }, doing);
  const plan = { ids, scale, packed, used: { table, out: out.own }, rows: ids.length };
  const rest = { leading: [ids.length], y: null, reads: [], sum: null, signal };
  return { operation: embedding, plan, x: table, out, ...rest, pieces: wholePiece };
}

function readBounds(given: unknown, rows: number, doing: string): readonly number[] {
  const list = openList("cuSeqlens", given, doing);
  if (list === undefined) {
    throw new TypeError(
      `${doing}: \`cuSeqlens\` must be an array of numbers, got ${kindOf(given)}`,
    );
  }
  const { numbers, wrong } = readNumbers(
    list,
    (bound, at, before) => isWhole(bound) && bound >= (at === 0 ? 0 : before[at - 1]),
  );
  const isRight = wrong === undefined && numbers.length > 0 && numbers[0] === 0 &&
    numbers.at(-1) === rows;
  if (isRight) return numbers;
  throw new RangeError(
    `${doing}: \`cuSeqlens\` must rise from 0 to ${rows}, the rows of \`x\`, got ${
      wrong === undefined
        ? `[${numbers.slice(0, 8)}${numbers.length > 8 ? ", ..." : ""}]`
        : kindOf(wrong.value)
    }`,
  );
}

/** Reads a call of `meanRows()`. */
export function readMeanRows(
  givenX: AnyTensor,
  givenBounds: NumberList,
  { out: given, signal }: RowsOptions,
  doing = meanRows.cannot,
): RowsCall<MeanPlan> {
  const x = readMatrix("x", givenX, doing), [rows, width] = x.shape;
  const bounds = readBounds(givenBounds, rows, doing), count = bounds.length - 1;
  const out = readWritten("out", given, { shape: [count, width], like: x, over: [] }, doing);
  const plan = { bounds, used: { x, out: out.own }, rows: count };
  const rest = { leading: [count], y: null, reads: [], sum: null, signal };
  return { operation: meanRows, plan, x, out, ...rest, pieces: wholePiece };
}
