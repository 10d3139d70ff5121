/**
 * Several documents in one sequence.
 *
 * @module
 */

import { readOf } from "../../tensor/arrays.ts";
import type { NumberList } from "../../tensor/tensor.ts";
import { type BlockMask, fromRuns } from "../block_mask.ts";
import { type BlockMaskSize, checkNumbers, checkSize, readObject, runsOf } from "./size.ts";

/** The document of each position, or of each query and of each key. */
export type DocumentIds =
  | NumberList
  | { readonly queries: NumberList; readonly keys: NumberList };

/**
 * A query sees the keys of its own document; for a decoder, `.and(blockMask.causal(size))`.
 *
 * @param ids Document of each position, any numbers in any order; or `{ queries, keys }`.
 * @param size Blocks, batches and heads; the extents are the lengths of `ids`.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function document(
  ids: DocumentIds,
  size: Pick<BlockMaskSize, "block" | "batch" | "heads"> = {},
): BlockMask {
  const pair: { readonly queries?: unknown; readonly keys?: unknown } = Object(ids);
  const isPair = readOf(pair, "queries") !== undefined;
  const queries = isPair ? checkNumbers("ids.queries", pair.queries) : checkNumbers("ids", ids);
  const keys = isPair ? checkNumbers("ids.keys", pair.keys) : queries;
  const read = readObject("size", size, ["batch", "heads", "block"]);
  const positions = new Map<number, number[]>();
  keys.forEach((id, key) => {
    const list = positions.get(id);
    if (list) list.push(key);
    else positions.set(id, [key]);
  });
  const runs = new Map([...positions].map(([id, list]) => [id, runsOf(list)]));
  const checked = checkSize({ ...read, queries: queries.length, keys: keys.length });
  return fromRuns(checked, (_b, _h, query, add) => {
    for (const [from, to] of runs.get(queries[query]) ?? []) add(from, to);
  });
}
