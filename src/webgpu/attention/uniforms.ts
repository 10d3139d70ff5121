/**
 * Uniforms: what the dispatches of a region are told.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { encode } from "../shader/parameters.ts";
import { extent, type Region } from "../transfer/regions.ts";
import type { Call } from "./call.ts";
import { placeOfClasses } from "./classes.ts";
import { classFields, combineFields, plainFields, termFields } from "./fields.ts";
import type { PlacedKeys, PlacedRegion } from "./place.ts";
import { keysIn, longestOf, queriesOf, queryHeadsOf, segmentsIn } from "./spans.ts";
import { clamp } from "./tables.ts";
import { rowsOf } from "./variants.ts";
import { countParts } from "./key_ranges.ts";

/** A block of uniforms. */
type Block = Uint8Array<ArrayBuffer>;

/** Of results, from a vector of the values on. */
function resultValues({ plan }: Call, { out, lse }: PlacedRegion, firstVector: number) {
  return {
    ...{ minus_infinity: -Infinity, not_a_number: NaN, to_base_two: unitsOf(plan).to_base_two },
    ...{ group: plan.group, value_dim: plan.valueDim, value_from: firstVector },
    out,
    ...{ l: lse, rest_at: lse?.restAt },
  };
}

/** Whether scores meet numbers that are given as powers of e. */
function hasNaturalTerms({ softcap, slopes, bias, sinks, functions }: AttentionPlan): boolean {
  const weighs = sinks?.some((sink) => sink !== -Infinity) ?? false;
  return softcap !== null || slopes !== null || bias !== null || weighs ||
    functions?.score !== undefined;
}

/** What makes scores of products, over the cap where there is one; not before a function, which is given them as they are. */
export function scaleOf({ scale, softcap, functions }: AttentionPlan): number {
  return softcap === null || functions?.score ? scale : scale / softcap;
}

/** Which powers scores are, and what makes them of products. */
function unitsOf(plan: AttentionPlan) {
  if (!hasNaturalTerms(plan)) return { scale: plan.scale * Math.LOG2E, to_base_two: 1 };
  return { scale: scaleOf(plan), to_base_two: Math.LOG2E };
}

/** Rows from one part's results to the next, and strides within one: `[batch][query head][position]`. */
function partialStrides({ plan }: Call, { batch, heads, positions }: Region) {
  const head = extent(positions), perBatch = extent(heads) * plan.group * head;
  return { part: extent(batch) * perBatch, strides: [perBatch, head, 1, 1] as const };
}

/** Of a dispatch that attends to a range of keys, for the values from a vector on. */
export function forwardBlock(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  keys: PlacedKeys,
  firstVector: number,
): Block {
  const { plan, tile } = call, { tables } = placed;
  const values = {
    ...resultValues(call, placed, firstVector),
    ...{ scale: unitsOf(plan).scale, dim: plan.dim, dim_vectors: Math.ceil(plan.dim / 4) },
    tiles: Math.ceil(longestOf(plan, region) * plan.group / rowsOf(tile)),
    q: placed.q,
    k: keys.k,
    v: keys.v,
  };
  if (tables === null) {
    return encode(plainFields, { ...values, ...plainValues(call, region, placed, keys) });
  }
  return encode(termFields, {
    ...values,
    ...{ ...tables.values, ...tables.paged },
    ...{ softcap: plan.softcap ?? 0, first_part: keys.keyRange.firstPart },
    ...scoreValues(call, region, keys, tables.classAt),
    bias_classed: Number(call.classed?.bias ?? false),
  });
}

/** For the plain shader: what all segments of the region have in common. */
function plainValues(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  { keyRange: { keys, partKeys, firstPart } }: PlacedKeys,
) {
  const { plan } = call, [segment] = segmentsIn(plan, region);
  const { part, strides } = partialStrides(call, region);
  const diagonal = segment.offset + region.positions[0] - keys[0];
  return {
    end_row: longestOf(plan, region) * plan.group,
    keys: Math.max(0, Math.min(extent(keys), segment.keys - keys[0])),
    part_keys: partKeys,
    // Added up before they are bounded: a far offset and a far band can make a near sum.
    band_first: clamp(diagonal - plan.band.left),
    band_last: clamp(diagonal + plan.band.right),
    ...(placed.partial && {
      ...{ l: { at: firstPart * part, strides }, l_part: part },
    }),
  };
}

/** Of bias, mask and their squares. */
function hiddenValues(
  { plan, classed }: Pick<Call, "plan" | "classed">,
  region: Region,
  { keyRange, bias, mask }: Pick<PlacedKeys, "keyRange" | "bias" | "mask">,
  classAt: number,
) {
  const isBit = plan.mask?.dtype === "bit";
  return {
    class: classed && placeOfClasses(plan, classed, region, keyRange, classAt),
    bias,
    ...(mask && { mask, mask_ones: isBit ? 1 : 255, mask_shift: isBit ? 5 : 2 }),
  };
}

/** Of a dispatch that looks at them. */
export function classBlock(
  call: Call,
  region: Region,
  { tables }: PlacedRegion,
  keys: PlacedKeys,
): Block {
  const { plan } = call;
  return encode(classFields, {
    ...hiddenValues(call, region, keys, tables!.classAt),
    class_queries: extent(queriesOf(plan, region)),
    class_keys: extent(keysIn(plan, region, keys.keyRange.keys)),
  });
}

/** What goes with tables to make scores. */
export function scoreValues(
  call: Pick<Call, "plan" | "classed">,
  region: Region,
  keys: Pick<PlacedKeys, "keyRange" | "bias" | "mask">,
  classAt = 0,
) {
  const { plan } = call, { keyRange } = keys;
  return {
    ...hiddenValues(call, region, keys, classAt),
    has_bias: Number(keys.bias !== null),
    query_heads: extent(queryHeadsOf(plan, region)),
    ...{ keys_begin: keyRange.keys[0], keys_end: keyRange.keys[1] },
    first_query: queriesOf(plan, region)[0],
    first_key: keysIn(plan, region, keyRange.keys)[0],
  };
}

/** Of the dispatch that combines the parts of the keys. */
export function combineBlock(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  firstVector: number,
): Block {
  const { plan, valueVectors } = call;
  const { part, strides } = partialStrides(call, region);
  return encode(combineFields, {
    ...resultValues(call, placed, firstVector),
    end_row: longestOf(plan, region) * plan.group,
    query_heads: extent(queryHeadsOf(plan, region)),
    parts: countParts(placed.keys.map(({ keyRange }) => keyRange)),
    value_vectors: Math.min(valueVectors, Math.ceil(plan.valueDim / 4) - firstVector),
    partial_vectors: valueVectors,
    ...{ part: { at: 0, strides }, l_part: part },
  });
}
