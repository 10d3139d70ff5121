/**
 * Uniforms: what the dispatches of a region are told.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { type Parameters, tensorParameters } from "../shader/parameters.ts";
import { extent, type Region } from "../transfer/regions.ts";
import type { Call } from "./call.ts";
import { classParameters } from "./classes.ts";
import type { PlacedKeys, PlacedRegion } from "./place.ts";
import { keysIn, longestOf, queriesOf, queryHeadsOf, segmentsIn } from "./spans.ts";
import { clamp } from "./tables.ts";
import { rowsOf } from "./variants.ts";
import { countParts } from "./windows.ts";

function commonParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  firstVector: number,
): Parameters {
  const { plan } = call, { lse } = placed;
  return {
    ...unitParameters(call),
    minus_infinity: -Infinity,
    not_a_number: NaN,
    group: plan.group,
    first_row: 0,
    end_row: longestOf(plan, region) * plan.group,
    dim: plan.dim,
    dim_vectors: Math.ceil(plan.dim / 4),
    value_dim: plan.valueDim,
    value_from: firstVector,
    query_heads: extent(queryHeadsOf(plan, region)),
    ...tensorParameters("q", placed.q),
    ...tensorParameters("o", placed.out),
    ...(lse && { l_at: lse.at, l_batch: lse.strides[0], l_head: lse.strides[1] }),
    rest_at: lse?.restAt,
    ...placed.tables?.parameters,
  };
}

/** Whether scores meet numbers that are given as powers of e. */
function hasNaturalTerms({ softcap, slopes, bias, sinks }: AttentionPlan): boolean {
  const weighs = sinks?.some((sink) => sink !== -Infinity) ?? false;
  return softcap !== null || slopes !== null || bias !== null || weighs;
}

/** Which powers scores are, and what makes them of products. */
function unitParameters({ plan }: Call): Parameters {
  if (!hasNaturalTerms(plan)) {
    return { scale: plan.scale * Math.LOG2E, to_base_two: 1 };
  }
  const softcap = plan.softcap ?? 0;
  return {
    scale: softcap > 0 ? plan.scale / softcap : plan.scale,
    to_base_two: Math.LOG2E,
    softcap,
  };
}

/** Strides of partial results, in rows: `[part][batch][query head][position]`. */
function partialStrides({ plan }: Call, { batch, heads, positions }: Region) {
  const head = extent(positions), perBatch = extent(heads) * plan.group * head;
  return { head, batch: perBatch, part: extent(batch) * perBatch };
}

/** Of a dispatch that attends to a window of keys, for the values from a vector on. */
export function forwardParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  keys: PlacedKeys,
  firstVector: number,
): Parameters {
  const { plan, tile } = call;
  return {
    ...commonParameters(call, region, placed, firstVector),
    tiles: Math.ceil(longestOf(plan, region) * plan.group / rowsOf(tile)),
    ...tensorParameters("k", keys.k),
    ...tensorParameters("v", keys.v),
    ...(call.terms
      ? lookedUpParameters(call, region, keys)
      : plainParameters(call, region, placed, keys)),
  };
}

/** For the plain shader: what all segments of the region have in common. */
function plainParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  { window: { keys, partKeys, firstPart } }: PlacedKeys,
): Parameters {
  const { plan } = call, [segment] = segmentsIn(plan, region);
  const strides = partialStrides(call, region);
  const diagonal = segment.offset + region.positions[0] - keys[0];
  return {
    keys: Math.max(0, Math.min(extent(keys), segment.keys - keys[0])),
    part_keys: partKeys,
    // Added up before they are bounded: a far offset and a far band can make a near sum.
    band_first: clamp(diagonal - plan.band.left),
    band_last: clamp(diagonal + plan.band.right),
    ...(placed.partial && {
      l_at: firstPart * strides.part,
      l_batch: strides.batch,
      l_head: strides.head,
      l_part: strides.part,
    }),
  };
}

/** For shaders with terms: what goes with their tables. */
export function lookedUpParameters(
  call: Pick<Call, "plan" | "classed">,
  region: Region,
  keys: Pick<PlacedKeys, "window" | "bias" | "mask">,
): Parameters {
  const { plan } = call, { window, bias, mask } = keys;
  const isBit = plan.mask?.dtype === "bit";
  return {
    window_begin: window.keys[0],
    window_end: window.keys[1],
    first_part: window.firstPart,
    first_query: queriesOf(plan, region)[0],
    first_key: keysIn(plan, region, window.keys)[0],
    ...(call.classed && classParameters(plan, call.classed, region, window)),
    ...(bias && { has_bias: 1, ...tensorParameters("bias", bias) }),
    ...(mask && {
      mask_ones: isBit ? 1 : 255,
      mask_shift: isBit ? 5 : 2,
      ...tensorParameters("mask", mask),
    }),
  };
}

/** Of the dispatch that combines the parts of the keys. */
export function combineParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  firstVector: number,
): Parameters {
  const { plan, valueVectors } = call;
  const strides = partialStrides(call, region);
  return {
    ...commonParameters(call, region, placed, firstVector),
    parts: countParts(placed.keys.map(({ window }) => window)),
    value_vectors: Math.min(valueVectors, Math.ceil(plan.valueDim / 4) - firstVector),
    partial_vectors: valueVectors,
    part_at: 0,
    part_batch: strides.batch,
    part_head: strides.head,
    l_part: strides.part,
  };
}
