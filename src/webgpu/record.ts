/**
 * Recording a region: its dispatches, their bindings and their uniforms.
 *
 * @module
 */

import { keysOfBatch } from "../plan.ts";
import type { UniformSlot } from "./buffers.ts";
import { type Call, countParts } from "./call.ts";
import { encodeParameters, type Parameters } from "./parameters.ts";
import { extent, type Region } from "./regions.ts";
import type { Window } from "./transfer.ts";
import { mergeThreads, rowsOf } from "./variants.ts";

/** Beyond any distance of a key from a query; sums of it with a position stay in 32 bits. */
const far = 2 ** 30;

/** A part of a buffer. */
export type Binding = Pick<Window, "buffer" | "offset" | "size">;

/** Where a region's tensors are. */
export interface PlacedRegion {
  readonly q: Window;
  readonly keys: readonly { readonly k: Window; readonly v: Window }[];
  readonly out: Window;
  readonly lse: Window | null;
  readonly partial: { readonly acc: Binding; readonly ml: Binding } | null;
}

export type WriteUniforms = (block: Uint8Array<ArrayBuffer>) => UniformSlot;

/** Records the dispatches of a region, in one pass. */
export function recordRegion(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  encoder: GPUCommandEncoder,
  write: WriteUniforms,
): void {
  const { plan, windows, valueVectors, tile, merge } = call;
  const pass = encoder.beginComputePass({ label: "FlashTile attention" });
  const [batch, heads] = [extent(region.batch), extent(region.heads)];
  const rows = extent(region.positions) * plan.group;
  const allVectors = Math.ceil(plan.valueDim / 4);
  for (let first = 0; first < allVectors; first += valueVectors) {
    for (const [index, window] of windows.entries()) {
      const slot = write(encodeParameters({
        ...commonParameters(call, region, placed, first),
        ...keyParameters(call, region, placed, index),
      }));
      const { k, v } = placed.keys[index];
      const results = placed.partial
        ? [placed.partial.acc, placed.partial.ml]
        : [placed.out, placed.lse];
      pass.setPipeline(call.forward);
      pass.setBindGroup(0, bind(call, call.forward, [slot, placed.q, k, v, ...results]));
      pass.dispatchWorkgroups(Math.ceil(rows / rowsOf(tile)) * window.parts, heads, batch);
    }
    if (merge === null) continue;
    const slot = write(encodeParameters({
      ...commonParameters(call, region, placed, first),
      ...mergeParameters(call, region, placed, first),
    }));
    const { acc, ml } = placed.partial!;
    const bindings = [slot, acc, ml, null, placed.out, placed.lse];
    const vectors = Math.min(valueVectors, allVectors - first);
    pass.setPipeline(merge);
    pass.setBindGroup(0, bind(call, merge, bindings));
    pass.dispatchWorkgroups(Math.ceil(rows * vectors / mergeThreads), heads, batch);
  }
  pass.end();
}

/** Binds by position; what is `null` is not there. */
function bind(
  { session: { gpu: { device } } }: Call,
  pipeline: GPUComputePipeline,
  bindings: readonly (Binding | null)[],
): GPUBindGroup {
  const entries = bindings.flatMap((one, binding) =>
    one === null
      ? []
      : [{ binding, resource: { buffer: one.buffer, offset: one.offset, size: one.size } }]
  );
  return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
}

function tensorParameters(name: "q" | "k" | "v" | "o", { at, strides }: Window): Parameters {
  return {
    [`${name}_at`]: at,
    [`${name}_batch`]: strides.batch,
    [`${name}_head`]: strides.head,
    [`${name}_row`]: strides.row,
    [`${name}_column`]: strides.column,
  };
}

function clamp(distance: number): number {
  return Math.max(-far, Math.min(distance, far));
}

function commonParameters(
  { plan }: Call,
  region: Region,
  placed: PlacedRegion,
  firstVector: number,
): Parameters {
  const { lse } = placed;
  return {
    scale: plan.scale * Math.LOG2E,
    minus_infinity: -Infinity,
    not_a_number: NaN,
    group: plan.group,
    first_row: 0,
    end_row: extent(region.positions) * plan.group,
    dim: plan.dim,
    dim_vectors: Math.ceil(plan.dim / 4),
    value_dim: plan.valueDim,
    value_from: firstVector,
    ...tensorParameters("q", placed.q),
    ...tensorParameters("o", placed.out),
    ...(lse && { l_at: lse.at, l_batch: lse.strides.batch, l_head: lse.strides.head }),
  };
}

/** Strides of partial results, in rows: `[part][batch][query head][position]`. */
function partialStrides({ plan }: Call, { batch, heads, positions }: Region) {
  const head = extent(positions), perBatch = extent(heads) * plan.group * head;
  return { head, batch: perBatch, part: extent(batch) * perBatch };
}

function keyParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  index: number,
): Parameters {
  const { plan, tile, windows } = call;
  const { keys, partKeys, firstPart } = windows[index];
  const rows = extent(region.positions) * plan.group;
  const strides = partialStrides(call, region);
  const diagonal = plan.offsets[region.batch[0]] + region.positions[0] - keys[0];
  return {
    tiles: Math.ceil(rows / rowsOf(tile)),
    keys: Math.max(0, Math.min(extent(keys), keysOfBatch(plan, region.batch[0]) - keys[0])),
    part_keys: partKeys,
    // Added up before they are bounded: a far offset and a far band can make a near sum.
    band_first: clamp(diagonal - plan.band.left),
    band_last: clamp(diagonal + plan.band.right),
    ...tensorParameters("k", placed.keys[index].k),
    ...tensorParameters("v", placed.keys[index].v),
    ...(placed.partial && {
      l_at: firstPart * strides.part,
      l_batch: strides.batch,
      l_head: strides.head,
      l_part: strides.part,
    }),
  };
}

function mergeParameters(
  call: Call,
  region: Region,
  placed: PlacedRegion,
  firstVector: number,
): Parameters {
  const { plan, windows, valueVectors } = call;
  const strides = partialStrides(call, region);
  const { lse } = placed;
  return {
    parts: countParts(windows),
    value_vectors: Math.min(valueVectors, Math.ceil(plan.valueDim / 4) - firstVector),
    partial_vectors: valueVectors,
    part_at: 0,
    part_batch: strides.batch,
    part_head: strides.head,
    l_part: strides.part,
    ...(lse && { l_at: lse.at, l_batch: lse.strides.batch, l_head: lse.strides.head }),
  };
}
