/**
 * Key ranges: what of a head's keys a binding holds, and how it is cut into parts that keep the
 * GPU busy.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import { cutRange, extent, type Range, type Region } from "../transfer/regions.ts";
import { segmentsIn } from "./spans.ts";
import { chooseParts } from "./splits.ts";

/** A range of a segment's keys, counted from its first. */
export interface KeyRange {
  readonly keys: Range;
  readonly partKeys: number;
  readonly parts: number;
  /** Parts of the ranges of keys before it. */
  readonly firstPart: number;
}

/** How the keys of one segment are seen. */
export interface Split {
  readonly partKeys: number;
  /** Over all ranges of keys. */
  readonly parts: number;
  /** Whether its head is cut into parts, also where none but the first has a key. */
  readonly isSplit: boolean;
}

/** What a call's keys are cut by. */
export interface Cut {
  readonly plan: Pick<AttentionPlan, "segments" | "packed" | "group" | "keys" | "queries">;
  /** Whether segments are looked up, each with parts of its own. */
  readonly terms: boolean;
  /** Keys of a head that a binding holds. */
  readonly mostKeys: number;
  /** Keys of a tile. */
  readonly tileKeys: number;
}

export function countParts(keyRanges: readonly KeyRange[]): number {
  return keyRanges.reduce((sum, { parts }) => sum + parts, 0);
}

/** Cuts the keys of a head that so many query rows see. */
function cutKeys({ mostKeys, tileKeys }: Cut, keys: number, rows: number): KeyRange[] {
  let firstPart = 0;
  return cutRange([0, keys], Math.max(1, mostKeys), tileKeys).map((range) => {
    const keyRange = { keys: range, ...chooseParts(extent(range), rows), firstPart };
    firstPart += keyRange.parts;
    return keyRange;
  });
}

/** By all keys of a head, whatever of them counts; a packed sequence is by itself. */
function keyRangesOfSegment(cut: Cut, segment: Segment): KeyRange[] {
  const { packed, keys, group } = cut.plan;
  return cutKeys(cut, packed ? segment.keys : keys, segment.queries * group);
}

/** Whether some keys are seen in parts, whose results are combined. */
export function needsCombining(cut: Cut): boolean {
  const { packed, segments } = cut.plan;
  const unlike = packed ? segments : segments.slice(0, 1);
  return unlike.some((segment) => countParts(keyRangesOfSegment(cut, segment)) > 1);
}

/** How a segment is seen through the ranges of keys of its region. */
export function splitOf(cut: Cut, keyRanges: readonly KeyRange[], segment: Segment): Split {
  if (keyRanges.length > 1) {
    return { partKeys: keyRanges[0].partKeys, parts: countParts(keyRanges), isSplit: true };
  }
  const [{ partKeys, parts }] = keyRangesOfSegment(cut, segment);
  return { partKeys, parts: Math.max(1, Math.ceil(segment.keys / partKeys)), isSplit: parts > 1 };
}

/**
 * The ranges of keys of a region, one after the other in all its segments. Several packed segments are seen
 * through one: a region that does not fit so is cut first.
 */
export function keyRangesOf(cut: Cut, region: Region): readonly KeyRange[] {
  const { packed, keys } = cut.plan;
  const segments = segmentsIn(cut.plan, region);
  const keyRanges = keyRangesOfSegment(cut, segments[0]);
  const isShared = packed && segments.length > 1;
  if (!cut.terms || (keyRanges.length > 1 && !isShared)) return keyRanges;
  const most = (of: (segment: Segment) => number) =>
    segments.reduce((sum, segment) => Math.max(sum, of(segment)), 0);
  const one: KeyRange = {
    keys: [0, packed ? most((segment) => segment.keys) : keys],
    ...{ partKeys: 0, parts: 1, firstPart: 0 },
  };
  return [{ ...one, parts: most((segment) => splitOf(cut, [one], segment).parts) }];
}
