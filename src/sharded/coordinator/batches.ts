/**
 * Rows of a call are cut into messages that the server lets through, answers included, each row with the group
 * that its page is dealt to.
 *
 * @module
 */

import type { Elements } from "../../tensor/dtype.ts";
import type { Cell, StepBody } from "../messages/bodies.ts";
import { type Block, blockBytes } from "../messages/bytes.ts";
import { headerBytes } from "../messages/message.ts";
import type { ShardedSizes } from "../sizes.ts";
import type { PageMap } from "./page_map.ts";
import type { ReadCall } from "./read.ts";
import type { ReadRows } from "./rows.ts";

/** A cell, and which of its sequence's rows of the call it has. */
export interface PlacedCell extends Cell {
  /** The first of them. */
  readonly row: number;
}

/** What a cell takes beside its rows. */
const cellBytes = (groups: number) => 24 + 4 * groups;

/** What a message takes beside cells and rows, blocks' own numbers included. */
const fixedBytes = headerBytes + 16 + 32 + 3 * 12;

/** Bytes of a row in a message, and in its answer. */
function rowBytes({ tokens, queries }: ReadCall, { valueDim }: ShardedSizes): [number, number] {
  const bytesOf = (rows: ReadRows) => blockBytes(rows.dtype, rows.heads * rows.columns) - 8;
  const there = (tokens ? bytesOf(tokens.k) + bytesOf(tokens.v) : 0) +
    (queries ? bytesOf(queries.q) : 0);
  return [there, queries ? 4 * queries.queryHeads * (valueDim + 1) : 0];
}

/** How much a message may have. */
export interface Limits {
  readonly maxPayload: number;
  readonly groups: number;
}

/** Most bytes that one row needs of a message. */
export function leastPayload(call: ReadCall, sizes: ShardedSizes, groups: number): number {
  return fixedBytes + cellBytes(groups) + Math.max(...rowBytes(call, sizes));
}

/**
 * Rows of a call, message by message.
 *
 * @param before Tokens that each sequence has in the layer before the call.
 */
export function* batchesOf(
  call: ReadCall,
  before: readonly number[],
  sizes: ShardedSizes,
  map: PageMap,
  { maxPayload, groups }: Limits,
): Generator<PlacedCell[]> {
  const each = rowBytes(call, sizes), appends = call.tokens !== null;
  let cells: PlacedCell[] = [], room = maxPayload - fixedBytes, back = maxPayload - fixedBytes;
  for (const [sequence, count] of call.counts.entries()) {
    const total = before[sequence] + (appends ? count : 0);
    for (let row = 0; row < count;) {
      const fits = Math.min(
        Math.floor((room - cellBytes(groups)) / each[0]),
        each[1] === 0 ? Infinity : Math.floor(back / each[1]),
      );
      if (fits < 1) {
        yield cells;
        [cells, room, back] = [[], maxPayload - fixedBytes, maxPayload - fixedBytes];
        continue;
      }
      const position = total - count + row, slot = position % sizes.pageSize;
      const rows = Math.min(fits, count - row, appends ? sizes.pageSize - slot : Infinity);
      const length = appends ? position + rows : total;
      const owner = appends ? map.ownerOf(sequence, Math.floor(position / sizes.pageSize)) : 0;
      cells.push({
        ...{ sequence, position, rows, length, owner, row },
        held: map.held(sequence, length),
      });
      room -= cellBytes(groups) + rows * each[0];
      back -= rows * each[1];
      row += rows;
    }
  }
  if (cells.length > 0) yield cells;
}

/** Rows of cells, one behind the other. */
function gather(
  { data, dtype, heads, rows, columns }: ReadRows,
  cells: readonly PlacedCell[],
): Block {
  const width = heads * columns, total = cells.reduce((sum, { rows }) => sum + rows, 0);
  const from = ({ sequence, row }: PlacedCell) => (sequence * rows + row) * width;
  if (cells.length === 1) {
    const at = from(cells[0]);
    return { dtype, data: data.subarray(at, at + total * width) };
  }
  const some = new (data.constructor as new (length: number) => Elements)(total * width);
  let at = 0;
  for (const cell of cells) {
    const first = from(cell), end = first + cell.rows * width;
    some.set(data.subarray(first, end) as Float32Array, at);
    at += cell.rows * width;
  }
  return { dtype, data: some };
}

/** What a message says of some cells. */
export function bodyOf({ tokens, queries }: ReadCall, cells: readonly PlacedCell[]): StepBody {
  return {
    cells,
    tokens: tokens && { k: gather(tokens.k, cells), v: gather(tokens.v, cells) },
    queries: queries && { ...queries, q: gather(queries.q, cells) },
  };
}
