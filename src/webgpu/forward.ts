/**
 * Forward on WebGPU: cuts a plan into regions that keep the device's limits, and for each places
 * tensors, dispatches the kernels and brings the results to the caller.
 *
 * @module
 */

import type { Control, Target } from "../backend.ts";
import { type AttentionPlan, countRows, keysOfBatch } from "../plan.ts";
import { throwIfAborted } from "../signal.ts";
import { Loan, roles, UniformRing, type UniformSlot } from "./buffers.ts";
import { encodeParameters, type Parameters } from "./parameters.ts";
import { pipelineOf } from "./pipelines.ts";
import { cutRange, cutRegion, extent, type Range, type Region } from "./regions.ts";
import type { Session } from "./session.ts";
import { chooseParts } from "./splits.ts";
import { type Box, type Sink, sinkOf, type Source, sourceOf, type Window } from "./transfer.ts";
import {
  chooseSlices,
  chooseTile,
  forwardCode,
  keysOf,
  mergeCode,
  mergeThreads,
  rowsOf,
  type Tile,
} from "./variants.ts";

/** Workgroups along an axis of a dispatch, at most, on any device. */
const mostWorkgroups = 65_535;

/** Offsets beyond this mean the same as this: no tensor has so many keys. */
const farOffset = 2 ** 29;

/** Stands for an open side of the band: beyond any distance, and sums with it stay in 32 bits. */
const openBand = 2 ** 30;

/** A window of a head's keys, and how it is cut into parts. */
interface KeyWindow {
  readonly keys: Range;
  readonly partKeys: number;
  readonly parts: number;
  /** Parts of the windows before it. */
  readonly firstPart: number;
}

/** A call under way. */
interface Call {
  readonly session: Session;
  readonly plan: AttentionPlan;
  readonly loan: Loan;
  readonly tile: Tile;
  /** Vectors of values that a workgroup has at once. */
  readonly valueVectors: number;
  readonly q: Source;
  readonly k: Source;
  readonly v: Source;
  readonly out: Sink;
  readonly lse: Sink | null;
  readonly windows: readonly KeyWindow[];
  readonly forward: GPUComputePipeline;
  /** `null` where the keys are seen at once. */
  readonly merge: GPUComputePipeline | null;
}

/** What stops a call beside its signal. */
export type Check = () => void;

/** Runs a plan; in tiles that are not chosen, where it is searched which are fast. */
export async function forward(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  control: Control,
  check: Check,
  tile: Tile = chooseTile(plan),
): Promise<void> {
  const total = countRows(plan);
  if (total > 0) {
    const loan = new Loan(session.pool);
    try {
      const call = await prepare(session, plan, target, loan, tile);
      if (control.encoder === undefined) await runRegions(call, control, check);
      else await recordRegions(call, control.encoder);
    } finally {
      // What a caller's encoder reads must live until it is submitted: nobody else gets it.
      if (control.encoder === undefined) loan.end();
      else loan.leave();
    }
  }
  control.onProgress?.({ done: total, total });
}

async function prepare(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  loan: Loan,
  tile: Tile,
): Promise<Call> {
  const { gpu } = session;
  const slices = chooseSlices(tile, plan.valueDim);
  const source = (name: "q" | "k" | "v") => sourceOf(plan[name], session, loan, name);
  const [q, k, v] = [source("q"), source("k"), source("v")];
  const out = sinkOf(target.out, session, loan, "out");
  const lse = target.lse && sinkOf(target.lse, session, loan, "lse");
  const windows = keyWindows(session, plan, tile, k, v);
  const merges = countParts(windows) > 1;
  const variant = {
    ...{ tile, slices, q: q.access, k: k.access, v: v.access },
    out: merges ? null : out.access,
    lse: lse !== null && !merges,
    subgroups: usesSubgroups(session, tile),
  };
  const [forward, merge] = await Promise.all([
    pipelineOf(gpu, forwardCode(variant), "forward"),
    merges
      ? pipelineOf(gpu, mergeCode({ out: out.access, lse: lse !== null }), "merge")
      : Promise.resolve(null),
  ]);
  const valueVectors = slices * tile.SLICE;
  return { session, plan, loan, tile, valueVectors, q, k, v, out, lse, windows, forward, merge };
}

/** Subgroups exchange maxima where the threads of a row are sure to be in one. */
function usesSubgroups({ gpu: { device } }: Session, { TX }: Tile): boolean {
  const { subgroupMinSize } = (device as { adapterInfo?: GPUAdapterInfo }).adapterInfo ?? {};
  return device.features.has("subgroups") && (subgroupMinSize ?? 0) >= TX;
}

/** The keys of a head in windows that a binding holds, each in parts that keep the GPU busy. */
function keyWindows(
  { bounds }: Session,
  plan: AttentionPlan,
  tile: Tile,
  k: Source,
  v: Source,
): KeyWindow[] {
  const { keys, queries, group } = plan;
  const limit = bounds.bindingBytes;
  const bytes = (rows: Range) => {
    const box: Box = { batch: [0, 1], heads: [0, 1], rows };
    return Math.max(k.bytes(box), v.bytes(box));
  };
  const needed = bytes([0, keys]);
  const most = needed <= limit ? keys : Math.floor(keys * (limit - 256) / needed);
  let firstPart = 0;
  return cutRange([0, keys], Math.max(1, most), keysOf(tile)).map((range) => {
    const parts = chooseParts(extent(range), queries * group);
    const window = { keys: range, ...parts, firstPart };
    firstPart += parts.parts;
    return window;
  });
}

function countParts(windows: readonly KeyWindow[]): number {
  return windows.reduce((sum, { parts }) => sum + parts, 0);
}

/** Multiply-adds of a region, its whole band of keys counted. */
function workOf({ plan }: Call, { batch, heads, positions }: Region): number {
  const perRow = plan.keys * (plan.dim + plan.valueDim);
  return extent(batch) * extent(heads) * extent(positions) * plan.group * perRow;
}

function rowsOfRegion({ plan }: Call, { batch, heads, positions }: Region): number {
  return extent(batch) * extent(heads) * extent(positions) * plan.group;
}

/** Boxes of the tensors that a region reads and writes. */
function boxesOf({ plan }: Call, { batch, heads, positions }: Region, keys: Range) {
  const queryHeads: Range = [heads[0] * plan.group, heads[1] * plan.group];
  const rows: Box = { batch, heads: queryHeads, rows: positions };
  const columns: Box = { batch, heads, rows: keys };
  return { rows, columns };
}

/** Whether a region keeps every limit of the device. */
function fitsDevice(call: Call, region: Region): boolean {
  const { session, plan, tile, windows, q, k, v, out, valueVectors } = call;
  const limit = session.bounds.bindingBytes;
  const { batch, heads, positions } = region;
  const isAlike = (b: number) =>
    plan.offsets[b] === plan.offsets[batch[0]] &&
    keysOfBatch(plan, b) === keysOfBatch(plan, batch[0]);
  const batches = Array.from({ length: extent(batch) }, (_, index) => batch[0] + index);
  const parts = countParts(windows), rows = rowsOfRegion(call, region);
  const perHead = extent(positions) * plan.group;
  const grid = [
    Math.ceil(perHead / rowsOf(tile)) * Math.max(...windows.map((window) => window.parts)),
    parts === 1 ? 0 : Math.ceil(perHead * valueVectors / mergeThreads),
    extent(heads),
    extent(batch),
  ];
  const boxes = windows.map(({ keys }) => boxesOf(call, region, keys));
  const bytes = [
    q.bytes(boxes[0].rows),
    out.bytes(boxes[0].rows),
    ...boxes.flatMap(({ columns }) => [k.bytes(columns), v.bytes(columns)]),
    parts === 1 ? 0 : rows * parts * valueVectors * 16,
  ];
  return batches.every(isAlike) && grid.every((n) => n <= mostWorkgroups) &&
    bytes.every((n) => n <= limit);
}

/** Cuts the whole of a call; `isSmall` may cut further than the device demands. */
function regionsOf(call: Call, isSmall: (region: Region) => boolean): Generator<Region> {
  const { batch, keyHeads, queries } = call.plan;
  const whole: Region = { batch: [0, batch], heads: [0, keyHeads], positions: [0, queries] };
  return cutRegion(whole, (region) => fitsDevice(call, region) && isSmall(region));
}

/** Runs region after region, none of them for long. */
async function runRegions(call: Call, control: Control, check: Check): Promise<void> {
  const { session } = call;
  const total = countRows(call.plan);
  let done = 0;
  for (const region of regionsOf(call, (one) => workOf(call, one) <= session.work)) {
    throwIfAborted(control.signal);
    check();
    await runRegion(call, region, done + rowsOfRegion(call, region) < total);
    throwIfAborted(control.signal);
    check();
    done += rowsOfRegion(call, region);
    if (done < total) control.onProgress?.({ done, total });
  }
}

/** Submits a region and waits for what the caller is to have. */
async function runRegion(call: Call, region: Region, more: boolean): Promise<void> {
  const { session, out, lse } = call;
  const { device, guard } = session.gpu;
  const placed = await placeRegion(call, region);
  const scope = submitRegion(call, region, placed);
  const start = performance.now();
  const { rows } = boxesOf(call, region, [0, 0]);
  const waits: Promise<void>[] = [];
  if (placed.out.readBack) waits.push(out.collect(rows, placed.out.readBack));
  if (placed.lse?.readBack) waits.push(lse!.collect(rows, placed.lse.readBack));
  if (more && waits.length === 0) waits.push(device.queue.onSubmittedWorkDone().then(() => {}));
  const [error] = await guard(Promise.all([scope, ...waits]));
  if (error) throw new Error(`Cannot attend: the GPU refused the call: ${error.message}`);
  if (waits.length > 0) session.learn(workOf(call, region), performance.now() - start);
}

/** Records and submits a region in one go; resolves to what the device says against it. */
function submitRegion(
  call: Call,
  region: Region,
  placed: PlacedRegion,
): Promise<GPUError | null> {
  const { session, loan } = call;
  const { device } = session.gpu;
  device.pushErrorScope("validation");
  const encoder = device.createCommandEncoder({ label: "FlashTile attention" });
  // A slot of the ring must not come round again before it is submitted.
  const write: WriteUniforms = countDispatches(call) <= UniformRing.slots
    ? (block) => session.uniforms.write(block)
    : (block) => ownUniforms(device, block);
  recordRegion(call, region, placed, encoder, write);
  for (const window of [placed.out, placed.lse]) {
    if (!window?.readBack) continue;
    encoder.copyBufferToBuffer(window.buffer, 0, window.readBack, 0, window.size);
    loan.give(window.buffer);
  }
  device.queue.submit([encoder.finish()]);
  for (const source of [call.q, call.k, call.v]) source.settle();
  if (placed.partial) {
    loan.give(placed.partial.acc);
    loan.give(placed.partial.ml);
  }
  return device.popErrorScope();
}

function countDispatches({ plan, windows, valueVectors, merge }: Call): number {
  const blocks = Math.ceil(plan.valueDim / 4 / valueVectors);
  return blocks * (windows.length + (merge === null ? 0 : 1));
}

/** Records all regions into the caller's encoder. */
async function recordRegions(call: Call, encoder: GPUCommandEncoder): Promise<void> {
  const { device, guard } = call.session.gpu;
  const regions = [...regionsOf(call, () => true)];
  const placed = [];
  for (const region of regions) placed.push(await placeRegion(call, region));
  device.pushErrorScope("validation");
  for (const [index, region] of regions.entries()) {
    recordRegion(call, region, placed[index], encoder, (block) => ownUniforms(device, block));
  }
  const error = await guard(device.popErrorScope());
  if (error !== null) throw new Error(`Cannot attend: the GPU refused the call: ${error.message}`);
}

/** Uniforms that nobody writes again: nobody knows when the caller submits. */
function ownUniforms(device: GPUDevice, block: Uint8Array): UniformSlot {
  const buffer = device.createBuffer({
    label: "FlashTile uniforms of a caller's encoder",
    size: block.byteLength,
    usage: roles.uniform,
    mappedAtCreation: true,
  });
  new Uint8Array(buffer.getMappedRange()).set(block);
  buffer.unmap();
  return { buffer, offset: 0, size: block.byteLength };
}

/** Where a region's tensors are. */
interface PlacedRegion {
  readonly q: Window;
  readonly keys: readonly { readonly k: Window; readonly v: Window }[];
  readonly out: Window;
  readonly lse: Window | null;
  readonly partial: { readonly acc: GPUBuffer; readonly ml: GPUBuffer } | null;
}

async function placeRegion(call: Call, region: Region): Promise<PlacedRegion> {
  const { q, k, v, out, lse, loan, windows, valueVectors } = call;
  const { rows } = boxesOf(call, region, [0, 0]);
  const parts = countParts(windows), count = rowsOfRegion(call, region) * parts;
  const partial = parts === 1 ? null : {
    acc: await loan.take(count * valueVectors * 16, roles.storage, "partial results"),
    ml: await loan.take(count * 8, roles.storage, "partial maxima and sums"),
  };
  const keys = [];
  for (const window of windows) {
    const { columns } = boxesOf(call, region, window.keys);
    keys.push({ k: await k.place(columns), v: await v.place(columns) });
  }
  const placedOut = await out.place(rows), placedLse = lse && await lse.place(rows);
  return { q: await q.place(rows), keys, out: placedOut, lse: placedLse, partial };
}

type WriteUniforms = (block: Uint8Array<ArrayBuffer>) => UniformSlot;

/** Records the dispatches of a region, in one pass. */
function recordRegion(
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
        ? [whole(placed.partial.acc), whole(placed.partial.ml)]
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
    const bindings = [slot, whole(acc), whole(ml), null, placed.out, placed.lse];
    const vectors = Math.min(valueVectors, allVectors - first);
    pass.setPipeline(merge);
    pass.setBindGroup(0, bind(call, merge, bindings));
    pass.dispatchWorkgroups(Math.ceil(rows * vectors / mergeThreads), heads, batch);
  }
  pass.end();
}

type Binding = Pick<Window, "buffer" | "offset" | "size">;

function whole(buffer: GPUBuffer): Binding {
  return { buffer, offset: 0, size: buffer.size };
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

function clamp(position: number, most: number): number {
  return Math.max(-most, Math.min(position, most));
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
    band_left: clamp(plan.band.left, openBand),
    band_right: clamp(plan.band.right, openBand),
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
  return {
    tiles: Math.ceil(rows / rowsOf(tile)),
    keys: Math.max(0, Math.min(extent(keys), keysOfBatch(plan, region.batch[0]) - keys[0])),
    part_keys: partKeys,
    diagonal: clamp(plan.offsets[region.batch[0]] + region.positions[0] - keys[0], farOffset),
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
