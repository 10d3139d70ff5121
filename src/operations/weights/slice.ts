/**
 * Slices of a call: some of its rows, one of its heads.
 *
 * @module
 */

import { BlockMask, fromRuns } from "../../masks/block_mask.ts";
import type { KeyRuns } from "../../masks/key_runs.ts";
import type { AnyView, Broadcast, Extents } from "../../tensor/tensor.ts";
import type { TensorPlan } from "../attention/plan.ts";
import type { Segment } from "../attention/segments.ts";

/** Which rows, from one on to before another, and which query head; `null` for all heads. */
export interface Slice {
  readonly from: number;
  readonly to: number;
  readonly head: number | null;
}

/** A tensor's rows and head, or those of what there is for scores. */
export function sliceView<V extends Broadcast>(view: V, { from, to, head }: Slice): V {
  const { shape: [batch, heads, , columns], strides, offset } = view;
  const shape: Extents = [batch, head === null ? heads : 1, to - from, columns];
  return { ...view, shape, offset: offset + from * strides[2] + (head ?? 0) * strides[1] };
}

/** The keys that a query head reads. */
function sliceKeys(view: AnyView, head: number | null): AnyView {
  return head === null ? view : sliceView(view, { from: 0, to: view.shape[2], head });
}

/** A part of a segment: with no queries where it has none of the rows. */
function sliceSegment(segment: Segment, { from, to }: Slice): Segment {
  const { firstQuery, queries, offset } = segment;
  const inside = (row: number) => Math.max(from, Math.min(row, to)), first = inside(firstQuery);
  return {
    ...segment,
    firstQuery: first - from,
    queries: inside(firstQuery + queries) - first,
    offset: offset + first - firstQuery,
    rowsBefore: first - firstQuery,
  };
}

/** The mask of some rows and heads, in blocks that begin with the first of them. */
function sliceMask(mask: BlockMask | KeyRuns, { from, to, head }: Slice): BlockMask | KeyRuns {
  const isWhole = from === 0 && to === mask.queries && (head === null || mask.heads === 1);
  if (isWhole || !(mask instanceof BlockMask)) return mask;
  const { keys, batch, heads, block } = mask;
  const grid = { queries: to - from, keys, batch, block, heads: head === null ? heads : 1 };
  return fromRuns(grid, (b, h, query, add) => {
    for (const [first, end] of mask.rowRuns(b, head ?? h, from + query)) add(first, end);
  });
}

/** The plan of a slice. Sinks are none of it: `lse` has them in it. */
export function slicePlan(plan: TensorPlan, slice: Slice): TensorPlan {
  const { from, to, head } = slice, { slopes, queryHeads, group, functions, kv } = plan;
  const keyHead = head === null ? null : Math.floor(head / group);
  return {
    ...plan,
    ...{ queries: to - from, sinks: null, q: sliceView(plan.q, slice) },
    ...(head !== null && { queryHeads: 1, keyHeads: 1, group: 1 }),
    kv: { kind: "tensors", k: sliceKeys(kv.k, keyHead), v: sliceKeys(kv.v, keyHead) },
    segments: plan.segments.map((segment) => sliceSegment(segment, slice)),
    slopes: slopes && head !== null ? slopes.filter((_, at) => at % queryHeads === head) : slopes,
    bias: plan.bias && sliceView(plan.bias, slice),
    mask: plan.mask && sliceView(plan.mask, slice),
    blockMask: plan.blockMask && sliceMask(plan.blockMask, slice),
    functions: functions && { ...functions, headsBefore: head ?? 0 },
  };
}
