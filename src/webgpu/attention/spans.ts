/**
 * Spans: which rows of the tensors a region has. Its batches are those of the tensors, or sequences
 * that are packed in one batch, rows after rows.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import { extent, type Range, type Region } from "../transfer/regions.ts";

/** What is looked at of a plan. */
type Divided = Pick<AttentionPlan, "segments" | "packed" | "group">;

/** The segments of a region. */
export function segmentsIn({ segments }: Divided, { batch }: Region): readonly Segment[] {
  return segments.slice(...batch);
}

/** Positions of a segment that are in a region. */
export function positionsIn({ positions: [from, to] }: Region, { queries }: Segment): number {
  return Math.max(0, Math.min(queries, to) - from);
}

/** The positions of a region's longest segment. */
export function longestOf(plan: Divided, region: Region): number {
  return segmentsIn(plan, region).reduce(
    (most, one) => Math.max(most, positionsIn(region, one)),
    0,
  );
}

/** Rows over all query heads of a region. */
export function countRowsIn(plan: Divided, region: Region): number {
  const positions = segmentsIn(plan, region).reduce(
    (sum, segment) => sum + positionsIn(region, segment),
    0,
  );
  return positions * extent(region.heads) * plan.group;
}

/** Batches of the tensors. */
export function batchesOf({ packed }: Divided, { batch }: Region): Range {
  return packed ? [0, 1] : batch;
}

/** Query heads of a region. */
export function queryHeadsOf({ group }: Pick<Divided, "group">, { heads }: Region): Range {
  return [heads[0] * group, heads[1] * group];
}

/** Rows of `q`: positions are cut within one segment alone, so those of more lie side by side. */
export function queriesOf(plan: Divided, region: Region): Range {
  const segments = segmentsIn(plan, region), [from, to] = region.positions;
  const first = segments[0].firstQuery + from;
  // Of batches, that of the one with most rows; of packed sequences, that of the last.
  const ends = segments.map(({ firstQuery, queries }) => firstQuery + Math.min(queries, to));
  return [first, ends.reduce((last, end) => Math.max(last, end), first)];
}

/** Rows of `k` that a range has: keys of each segment, counted from its first. */
export function keysIn(plan: Divided, region: Region, [from, to]: Range): Range {
  const segments = segmentsIn(plan, region);
  const first = segments[0].firstKey + from;
  const ends = segments.map(({ firstKey, keys }) => firstKey + Math.min(keys, to));
  return [first, ends.reduce((last, end) => Math.max(last, end), first)];
}
