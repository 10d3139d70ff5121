/**
 * What a step of decoding means, block by block: new rows come to the block that is not over, up to its end, and attend
 * to what there is then; a block that is over becomes a summary.
 *
 * @module
 */

import { KeyRuns } from "../../masks/key_runs.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import type { TensorPlan } from "../attention/plan.ts";
import type { Target } from "../attention/target.ts";
import type { LocalGlobalStep } from "./tokens.ts";

/** New rows of one block: the first and the one behind the last of a step, and where they are in the block. */
export interface Chunk {
  readonly from: number;
  readonly to: number;
  readonly block: number;
  readonly first: number;
  readonly end: number;
}

/** Rows of a view, from one to before another. */
export function rowsFrom<V extends AnyView>(view: V, from: number, to: number): V {
  const { offset, strides, shape: [batch, heads, , columns] } = view;
  return { ...view, offset: offset + from * strides[2], shape: [batch, heads, to - from, columns] };
}

/** The rows of a step, block by block. */
export function* chunksOf(
  { block, past, forward: { queries } }: LocalGlobalStep,
): Generator<Chunk> {
  for (let from = 0, to = 0; from < queries; from = to) {
    const index = Math.floor((past + from) / block), first = past + from - index * block;
    to = Math.min(queries, from + block - first);
    yield { from, to, block: index, first, end: first + to - from };
  }
}

/** Attention of some rows to the summaries before and to their block up to themselves. */
export function planOf<V extends AnyView>(
  { forward, kept: { k, v, room } }: LocalGlobalStep<V>,
  { from, to, block, first, end }: Chunk,
): TensorPlan<V> {
  const queries = to - from, keys = room + end, size = { queries, keys, block: queries };
  const own = [room, keys] as const, runs = block === 0 ? [own] : [[0, block] as const, own];
  const segment = { firstQuery: 0, queries, firstKey: 0, keys, offset: room + first };
  return {
    ...forward,
    ...{ queries, keys, q: rowsFrom(forward.q, from, to) },
    kv: { kind: "tensors", k: rowsFrom(k, 0, keys), v: rowsFrom(v, 0, keys) },
    segments: Array.from({ length: forward.batch }, (_, batch) => ({ batch, ...segment })),
    band: { left: Infinity, right: 0 },
    blockMask: new KeyRuns(size, (block + end) / keys, () => runs),
  };
}

/** Where their results go. */
export function targetOf<V extends AnyView>(
  { out, lse }: Target<V>,
  { from, to }: Chunk,
): Target<V> {
  return { out: rowsFrom(out, from, to), lse: lse && rowsFrom(lse, from, to) };
}
