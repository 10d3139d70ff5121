/**
 * Windows of keys: what of a head's keys a binding holds, and how it is cut into parts that keep the
 * GPU busy.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import { cutRange, extent, type Range, type Region } from "../transfer/regions.ts";
import { segmentsIn } from "./spans.ts";
import { chooseParts } from "./splits.ts";

/** A window of a segment's keys, counted from its first. */
export interface KeyWindow {
  readonly keys: Range;
  readonly partKeys: number;
  readonly parts: number;
  /** Parts of the windows before it. */
  readonly firstPart: number;
}

/** How the keys of one segment are seen. */
export interface Split {
  readonly partKeys: number;
  /** Over all windows. */
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

export function countParts(windows: readonly KeyWindow[]): number {
  return windows.reduce((sum, { parts }) => sum + parts, 0);
}

/** Cuts the keys of a head that so many query rows see. */
function cutKeys({ mostKeys, tileKeys }: Cut, keys: number, rows: number): KeyWindow[] {
  let firstPart = 0;
  return cutRange([0, keys], Math.max(1, mostKeys), tileKeys).map((range) => {
    const window = { keys: range, ...chooseParts(extent(range), rows), firstPart };
    firstPart += window.parts;
    return window;
  });
}

/** By all keys of a head, whatever of them counts; a packed sequence is by itself. */
function windowsOfSegment(cut: Cut, segment: Segment): KeyWindow[] {
  const { packed, keys, group } = cut.plan;
  return cutKeys(cut, packed ? segment.keys : keys, segment.queries * group);
}

/** Whether some keys are seen in parts, whose results are combined. */
export function needsCombining(cut: Cut): boolean {
  const { packed, segments } = cut.plan;
  const unlike = packed ? segments : segments.slice(0, 1);
  return unlike.some((segment) => countParts(windowsOfSegment(cut, segment)) > 1);
}

/** How a segment is seen through the windows of its region. */
export function splitOf(cut: Cut, windows: readonly KeyWindow[], segment: Segment): Split {
  if (windows.length > 1) {
    return { partKeys: windows[0].partKeys, parts: countParts(windows), isSplit: true };
  }
  const [{ partKeys, parts }] = windowsOfSegment(cut, segment);
  return { partKeys, parts: Math.max(1, Math.ceil(segment.keys / partKeys)), isSplit: parts > 1 };
}

/**
 * The windows of a region, one after the other in all its segments. Several packed segments are seen
 * through one: a region that does not fit so is cut first.
 */
export function windowsOf(cut: Cut, region: Region): readonly KeyWindow[] {
  const { packed, keys } = cut.plan;
  const segments = segmentsIn(cut.plan, region);
  const windows = windowsOfSegment(cut, segments[0]);
  const isShared = packed && segments.length > 1;
  if (!cut.terms || (windows.length > 1 && !isShared)) return windows;
  const most = (of: (segment: Segment) => number) =>
    segments.reduce((sum, segment) => Math.max(sum, of(segment)), 0);
  const one: KeyWindow = {
    keys: [0, packed ? most((segment) => segment.keys) : keys],
    ...{ partKeys: 0, parts: 1, firstPart: 0 },
  };
  return [{ ...one, parts: most((segment) => splitOf(cut, [one], segment).parts) }];
}
