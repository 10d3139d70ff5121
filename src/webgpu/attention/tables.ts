/**
 * Tables: what the shaders with terms look up besides the caller's tensors. Segments, ALiBi's slopes,
 * sinks and the block mask of a region lie one after the other in one buffer of words.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import { type Values, writeFields } from "../shader/parameters.ts";
import { segmentFields, segmentWords } from "../shader/segment.ts";
import { extent, type Region } from "../transfer/regions.ts";
import { blockWords, writeBlocks } from "./block_table.ts";
import { classWords } from "./classes.ts";
import type { blockFields, pageFields, tableFields } from "./fields.ts";
import { positionsIn, queriesOf, queryHeadsOf, segmentsIn } from "./spans.ts";
import { type Cut, type KeyRange, splitOf } from "./key_ranges.ts";

/** Beyond any distance of a key from a query; sums of it with a position stay in 32 bits. */
const far = 2 ** 30;

export function clamp(distance: number): number {
  return Math.max(-far, Math.min(distance, far));
}

/** Stands for minus infinity: `LOWEST` of the shaders. */
const lowest = -3.4028234663852886e38;

/** Rows of a region's partial results, all parts counted. */
export function countPartials(cut: Cut, region: Region, keyRanges: readonly KeyRange[]): number {
  const heads = extent(queryHeadsOf(cut.plan, region));
  return segmentsIn(cut.plan, region).reduce(
    (sum, segment) =>
      sum + splitOf(cut, keyRanges, segment).parts * heads * positionsIn(region, segment),
    0,
  );
}

/** Words of a region's tables that are written here. */
export function countWords(plan: AttentionPlan, region: Region): number {
  const { slopes, sinks, blockMask } = plan;
  const segments = extent(region.batch), heads = extent(queryHeadsOf(plan, region));
  let words = segments * segmentWords;
  if (slopes !== null) words += segments * heads;
  if (sinks !== null) words += 2 * heads;
  if (blockMask !== null) words += blockWords(plan, blockMask, region);
  return words + segments * mostPages(plan, region);
}

/** Pages of the longest segment of a region. */
function mostPages({ kv }: AttentionPlan, { batch }: Region): number {
  const lists = kv.kind === "pages" ? kv.pages.slice(...batch) : [];
  return lists.reduce((most, { length }) => Math.max(most, length), 0);
}

/** Bytes of a region's tables. */
export function tableBytes(
  plan: AttentionPlan,
  region: Region,
  keyRanges: readonly KeyRange[],
): number {
  return 4 * (countWords(plan, region) + classWords(plan, region, keyRanges));
}

/** Tables as words, and what uniforms say of them; classes come behind the words. */
export interface Tables {
  readonly words: Uint32Array<ArrayBuffer>;
  readonly values: Values<typeof tableFields>;
  /** Of pages. */
  readonly paged: Values<typeof pageFields>;
}

/** Extents of nothing: shaders divide by them. */
const noBlocks: Values<typeof blockFields> = { block_queries: 1, block_keys: 1 };

/** Writes the tables of a region. */
export function tablesOf(
  cut: Cut & { readonly plan: AttentionPlan },
  region: Region,
  keyRanges: readonly KeyRange[],
): Tables {
  const { plan } = cut, { blockMask } = plan;
  const words = new Uint32Array(countWords(plan, region));
  const floats = new Float32Array(words.buffer);
  writeSegments(cut, region, keyRanges, new DataView(words.buffer));
  const slopes = slopesOf(plan, region), sinks = sinksOf(plan, region);
  const slopesAt = extent(region.batch) * segmentWords, sinksAt = slopesAt + slopes.length;
  floats.set(slopes, slopesAt);
  floats.set(sinks, sinksAt);
  const blocks = blockMask === null
    ? noBlocks
    : writeBlocks(plan, blockMask, region, words, sinksAt + sinks.length);
  return {
    words,
    paged: writePages(plan, region, words),
    values: {
      ...blocks,
      slopes_at: slopes.length === 0 ? 0 : slopesAt,
      sinks_at: sinks.length === 0 ? 0 : sinksAt,
    },
  };
}

function writeSegments(
  cut: Cut & { readonly plan: AttentionPlan },
  region: Region,
  keyRanges: readonly KeyRange[],
  view: DataView,
): void {
  const { plan } = cut, segments = segmentsIn(plan, region);
  const heads = extent(queryHeadsOf(plan, region));
  const [firstQuery] = queriesOf(plan, region);
  let partials = 0;
  for (const [index, segment] of segments.entries()) {
    const split = splitOf(cut, keyRanges, segment);
    const fields = segmentValues(plan, region, segment);
    writeFields(view, index * segmentWords * 4, segmentFields, {
      ...fields,
      ...keptOf(plan, region.batch[0] + index),
      batch: plan.packed ? 0 : index,
      row: segment.firstQuery + region.positions[0] - firstQuery,
      key: segment.firstKey - segments[0].firstKey,
      part_keys: split.partKeys,
      parts: split.parts,
      is_split: Number(split.isSplit),
      partials,
    });
    partials += split.parts * heads * fields.queries;
  }
}

/** What a segment of a cache that drops tokens keeps from its first on, and has dropped behind it. */
function keptOf({ kv }: AttentionPlan, segment: number) {
  const kept = kv.kind === "pages" ? kv.kept : undefined;
  return { kept: kept?.keepFirst ?? 0, gap: kept?.dropped[segment] ?? 0 };
}

/** Writes the pages of each segment at the end. */
function writePages(
  plan: AttentionPlan,
  region: Region,
  words: Uint32Array,
): Values<typeof pageFields> {
  if (plan.kv.kind === "tensors") return {};
  const { store: { layout: { pageSize } }, pages } = plan.kv;
  const list = mostPages(plan, region), at = words.length - extent(region.batch) * list;
  for (const [index, ofSegment] of pages.slice(...region.batch).entries()) {
    words.set(ofSegment, at + index * list);
  }
  return {
    ...{ pages_at: at, page_list: list, page_shift: Math.log2(pageSize) },
    mean_at: region.heads[0] * Math.ceil(plan.dim / 4) * 4,
  };
}

/** What a segment is by itself. */
function segmentValues({ band }: AttentionPlan, region: Region, segment: Segment) {
  // Added up before they are bounded: a far offset and a far band can make a near sum.
  const diagonal = segment.offset + region.positions[0];
  return {
    queries: positionsIn(region, segment),
    keys: segment.keys,
    band_first: clamp(diagonal - band.left),
    band_last: clamp(diagonal + band.right),
    diagonal: clamp(diagonal),
    beyond: diagonal - clamp(diagonal),
  };
}

/** `[segment][query head]` of a region; empty where there are none. */
function slopesOf({ slopes, queryHeads, group }: AttentionPlan, region: Region): Float32Array {
  if (slopes === null) return new Float32Array(0);
  const [from, to] = queryHeadsOf({ group }, region), heads = to - from;
  return Float32Array.from({ length: extent(region.batch) * heads }, (_, at) => {
    const segment = region.batch[0] + Math.floor(at / heads);
    return slopes[segment * queryHeads + from + at % heads];
  });
}

/** What a row that has seen nothing yet begins with, for each query head; empty without sinks. */
function sinksOf({ sinks, group }: AttentionPlan, region: Region): Float32Array {
  if (sinks === null) return new Float32Array(0);
  const ofRegion = sinks.subarray(...queryHeadsOf({ group }, region));
  return Float32Array.from([...ofRegion].flatMap(startOf));
}

/** No sink, no weight; one that is no number spoils the row. */
function startOf(sink: number): [maximum: number, sum: number] {
  if (Number.isFinite(sink)) return [sink, 1];
  return [lowest, sink === -Infinity ? 0 : NaN];
}
