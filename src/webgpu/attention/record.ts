/**
 * The dispatches of a region, and their bindings.
 *
 * @module
 */

import type { Submission } from "../device/submission.ts";
import { extent, type Region } from "../transfer/regions.ts";
import { type Call, classGrid } from "./call.ts";
import type { PlacedKeys, PlacedRegion } from "./place.ts";
import { longestOf } from "./spans.ts";
import { classBlock, combineBlock, forwardBlock } from "./uniforms.ts";
import { combineThreads, rowsOf } from "./variants.ts";

/** All dispatches of a region. */
export function dispatchRegion(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  submission: Submission,
): void {
  const { plan, valueVectors } = call;
  for (let first = 0; first < Math.ceil(plan.valueDim / 4); first += valueVectors) {
    for (const keys of placed.keys) dispatchKeys(call, region, placed, keys, submission, first);
    if (call.combine !== null) dispatchCombine(call, region, placed, submission, first);
  }
}

function dispatchKeys(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  keys: PlacedKeys,
  submission: Submission,
  firstVector: number,
): void {
  const { plan, tile, classed, classify } = call, { keyRange: { parts }, bias, mask } = keys;
  const tables = placed.tables?.binding ?? null;
  const squares = classGrid(call, region, keys.keyRange);
  if (squares[0] > 0) {
    const looked = [classed!.bias ? bias : null, classed!.mask ? mask : null, tables];
    const bindings = [...new Array<null>(5).fill(null), ...looked];
    submission.dispatch(classify!, classBlock(call, region, placed, keys), bindings, squares);
  }
  const bindings = [
    ...[placed.q, keys.k, keys.v],
    ...(placed.partial ? [placed.partial.acc, placed.partial.ml] : [placed.out, placed.lse]),
    // What is not there must be bound all the same.
    ...[bias ?? tables, mask ?? tables, tables],
  ];
  const tiles = Math.ceil(longestOf(plan, region) * plan.group / rowsOf(tile));
  const grid = [tiles * parts, extent(region.heads), extent(region.batch)] as const;
  const block = forwardBlock(call, region, placed, keys, firstVector);
  const uniforms = tile.extension?.make(region, placed, keys, block, submission) ?? block;
  submission.dispatch(call.forward, uniforms, bindings, grid);
}

function dispatchCombine(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  submission: Submission,
  firstVector: number,
): void {
  const { plan, valueVectors } = call, { acc, ml } = placed.partial!;
  const uniforms = combineBlock(call, region, placed, firstVector);
  const tables = placed.tables?.binding ?? null;
  const bindings = [acc, ml, null, placed.out, placed.lse, null, null, tables];
  const vectors = Math.min(valueVectors, Math.ceil(plan.valueDim / 4) - firstVector);
  const threads = longestOf(plan, region) * plan.group * vectors;
  const grid = [Math.ceil(threads / combineThreads), extent(region.heads), extent(region.batch)];
  submission.dispatch(call.combine!, uniforms, bindings, grid as [number, number, number]);
}
