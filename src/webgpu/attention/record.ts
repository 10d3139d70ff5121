/**
 * Recording a region: its dispatches and their bindings.
 *
 * @module
 */

import { bindGroup, type Binding, type UniformSlot } from "../device/buffers.ts";
import { encodeParameters } from "../shader/parameters.ts";
import { extent, type Region } from "../transfer/regions.ts";
import { type Call, classGrid } from "./call.ts";
import type { PlacedKeys, PlacedRegion } from "./place.ts";
import { longestOf } from "./spans.ts";
import { forwardParameters, mergeParameters } from "./uniforms.ts";
import { mergeThreads, rowsOf } from "./variants.ts";

export type WriteUniforms = (block: Uint8Array<ArrayBuffer>) => UniformSlot;

/** Records the dispatches of a region, in one pass. */
export function recordRegion(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  encoder: GPUCommandEncoder,
  write: WriteUniforms,
): void {
  const { plan, valueVectors } = call;
  const pass = encoder.beginComputePass({ label: "FlashTile attention" });
  for (let first = 0; first < Math.ceil(plan.valueDim / 4); first += valueVectors) {
    for (const keys of placed.keys) recordWindow(call, region, placed, keys, pass, write, first);
    if (call.merge !== null) recordMerge(call, region, placed, pass, write, first);
  }
  pass.end();
}

function recordWindow(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  keys: PlacedKeys,
  pass: GPUComputePassEncoder,
  write: WriteUniforms,
  firstVector: number,
): void {
  const { plan, tile } = call;
  const slot = write(encodeParameters(forwardParameters(call, region, placed, keys, firstVector)));
  const tables = placed.tables?.binding ?? null;
  if (call.classify !== null) recordClasses(call, region, keys, pass, slot, tables);
  const bindings = [
    ...[slot, placed.q, keys.k, keys.v],
    ...(placed.partial ? [placed.partial.acc, placed.partial.ml] : [placed.out, placed.lse]),
    // What is not there must be bound all the same.
    ...[keys.bias ?? tables, keys.mask ?? tables, tables],
  ];
  const rows = longestOf(plan, region) * plan.group;
  pass.setPipeline(call.forward);
  pass.setBindGroup(0, bindGroup(call.session.gpu.device, call.forward, bindings));
  pass.dispatchWorkgroups(
    Math.ceil(rows / rowsOf(tile)) * keys.window.parts,
    extent(region.heads),
    extent(region.batch),
  );
}

/** Looks at bias and mask, with the uniforms of the dispatch that follows. */
function recordClasses(
  call: Call,
  region: Region,
  { window, bias, mask }: PlacedKeys,
  pass: GPUComputePassEncoder,
  slot: UniformSlot,
  tables: Binding | null,
): void {
  const grid = classGrid(call, region, window);
  if (grid[0] === 0) return;
  const looked = [call.classed!.bias ? bias : null, call.classed!.mask ? mask : null];
  const bindings = [slot, ...new Array<null>(5).fill(null), ...looked, tables];
  pass.setPipeline(call.classify!);
  pass.setBindGroup(0, bindGroup(call.session.gpu.device, call.classify!, bindings));
  pass.dispatchWorkgroups(...grid);
}

function recordMerge(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  pass: GPUComputePassEncoder,
  write: WriteUniforms,
  firstVector: number,
): void {
  const { plan, valueVectors } = call, merge = call.merge!;
  const slot = write(encodeParameters(mergeParameters(call, region, placed, firstVector)));
  const { acc, ml } = placed.partial!;
  const tables = placed.tables?.binding ?? null;
  const bindings = [slot, acc, ml, null, placed.out, placed.lse, null, null, tables];
  const vectors = Math.min(valueVectors, Math.ceil(plan.valueDim / 4) - firstVector);
  const rows = longestOf(plan, region) * plan.group;
  pass.setPipeline(merge);
  pass.setBindGroup(0, bindGroup(call.session.gpu.device, merge, bindings));
  pass.dispatchWorkgroups(
    Math.ceil(rows * vectors / mergeThreads),
    extent(region.heads),
    extent(region.batch),
  );
}
