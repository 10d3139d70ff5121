/**
 * Places: where the integers of a region are in its tables, behind all else. `shaders/integer/places.wgsl` draws it.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { termFields } from "../attention/fields.ts";
import type { KeyRange } from "../attention/key_ranges.ts";
import { tableBytes } from "../attention/tables.ts";
import { extended, type Values } from "../shader/parameters.ts";
import { extent, mostWorkgroups, type Region } from "../transfer/regions.ts";

/** Keys whose values share a scale: `TILE` of the shaders. */
export const tileKeys = 128;

/** What uniforms say of them; words count from the beginning of the tables. */
export const integerFields = {
  integers_at: "u32",
  /** Of a tile. */
  tile_words: "u32",
  /** Tiles of a head; from one segment to the next, besides those that its keys come behind. */
  head_tiles: "u32",
  segment_tiles: "u32",
  means_at: "u32",
  segments: "u32",
  queries_at: "u32",
  /** Rows of a head; from one segment to the next, besides those that its queries come behind. */
  head_rows: "u32",
  segment_rows: "u32",
} as const;

/** Words of a row as bytes: whole fours of them. */
function byteWords(dim: number): number {
  return 4 * Math.ceil(dim / 16);
}

/** Words of a tile. */
function tileWords({ dim, valueDim, precision }: AttentionPlan): number {
  const sums = 4 * Math.ceil(dim / 4), columns = 4 * Math.ceil(valueDim / 4);
  const values = precision === "int8" ? (2 + tileKeys / 4) * columns : 0;
  return 4 + sums + (2 + byteWords(dim)) * tileKeys + values;
}

/** Tiles that the keys of a range take, over all segments of a region. */
function tilesOf({ packed, kv, segments }: AttentionPlan, { batch }: Region, { keys }: KeyRange) {
  const count = extent(batch), each = Math.ceil(extent(keys) / tileKeys);
  // In pages each segment has keys of its own from 0 on.
  if (!packed || kv.kind === "pages" || count === 1) return { head: count * each, segment: each };
  // One more for each: it begins where the keys before it end, rounded down.
  const first = segments[batch[0]], last = segments[batch[1] - 1];
  const before = Math.floor((last.firstKey - first.firstKey) / tileKeys) + count - 1;
  return { head: before + Math.ceil(last.keys / tileKeys), segment: 1 };
}

/** Rows of a region's segments. */
function rowsOf(plan: AttentionPlan, region: Region) {
  const { packed, segments, group } = plan, [from, to] = region.batch;
  const each = mostOf(plan, region).rows;
  if (!packed) return { head: extent(region.batch) * each, segment: each };
  const before = (segments[to - 1].firstQuery - segments[from].firstQuery) * group;
  return { head: before + each, segment: 0 };
}

/** The most rows and keys that a segment of a region has. */
export function mostOf({ segments, group }: AttentionPlan, { batch, positions }: Region) {
  const some = segments.slice(...batch);
  const queries = Math.max(...some.map((one) => Math.min(one.queries, positions[1])));
  return {
    rows: Math.max(0, queries - positions[0]) * group,
    keys: Math.max(...some.map(({ keys }) => keys)),
  };
}

/** What uniforms say, and where it ends. */
function placesOf(
  plan: AttentionPlan,
  region: Region,
  keyRanges: readonly KeyRange[],
  keyRange: KeyRange,
) {
  const heads = extent(region.heads), segments = extent(region.batch);
  const tiles = tilesOf(plan, region, keyRange), rows = rowsOf(plan, region);
  const words = tileWords(plan), integersAt = tableBytes(plan, region, keyRanges) / 4;
  const meansAt = integersAt + heads * tiles.head * words;
  const queriesAt = meansAt + heads * segments * (4 * Math.ceil(plan.dim / 4) + 4);
  const values: Values<typeof integerFields> = {
    ...{ integers_at: integersAt, tile_words: words, means_at: meansAt, queries_at: queriesAt },
    ...{ head_tiles: tiles.head, segment_tiles: tiles.segment, segments },
    ...{ head_rows: rows.head, segment_rows: rows.segment },
  };
  return { values, end: queriesAt + heads * rows.head * (byteWords(plan.dim) + 4) };
}

/** Uniforms of a range of keys of a region with what they say of its integers, behind all else. */
export function withPlaces(
  block: Uint8Array<ArrayBuffer>,
  plan: AttentionPlan,
  region: Region,
  keyRanges: readonly KeyRange[],
  keyRange: KeyRange,
): Uint8Array<ArrayBuffer> {
  const { values } = placesOf(plan, region, keyRanges, keyRange);
  return extended(block, termFields, integerFields, values);
}

/** Bytes of a region's tables with the integers of any of its ranges of keys. */
export function placedBytes(
  plan: AttentionPlan,
  region: Region,
  keyRanges: readonly KeyRange[],
): number {
  return 4 * Math.max(...keyRanges.map((one) => placesOf(plan, region, keyRanges, one).end));
}

/**
 * Bytes of the integers of so many keys of a head, and as many again for queries; more than a binding of `most` holds
 * where a dispatch cannot have so many tiles.
 */
export function keyBytes(plan: AttentionPlan, keys: number, most: number): number {
  const tiles = Math.ceil(keys / tileKeys);
  return Math.max(2 * 4 * tiles * tileWords(plan), most * tiles / mostWorkgroups);
}
