/**
 * A call on WebGPU: which shaders it needs, and how it is cut so that each piece keeps the device's
 * limits.
 *
 * @module
 */

import type { Target } from "../backend.ts";
import { type AttentionPlan, keysOfBatch } from "../plan.ts";
import type { Loan } from "./buffers.ts";
import { pipelineOf } from "./pipelines.ts";
import { cutRange, cutRegion, extent, type Range, type Region } from "./regions.ts";
import type { Session } from "./session.ts";
import { chooseParts } from "./splits.ts";
import { type Box, type Sink, sinkOf, type Source, sourceOf } from "./transfer.ts";
import {
  chooseSlices,
  forwardCode,
  keysOf,
  mergeCode,
  mergeThreads,
  rowsOf,
  type Tile,
} from "./variants.ts";

/** Workgroups along an axis of a dispatch, at most, on any device. */
const mostWorkgroups = 65_535;

/** A window of a head's keys, and how it is cut into parts. */
export interface KeyWindow {
  readonly keys: Range;
  readonly partKeys: number;
  readonly parts: number;
  /** Parts of the windows before it. */
  readonly firstPart: number;
}

/** A call under way. */
export interface Call {
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

/** Finds where a plan's tensors are, cuts its keys and compiles what it needs. */
export async function prepareCall(
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

export function countParts(windows: readonly KeyWindow[]): number {
  return windows.reduce((sum, { parts }) => sum + parts, 0);
}

/** Multiply-adds of a region, its whole band of keys counted. */
export function workOf({ plan }: Call, { batch, heads, positions }: Region): number {
  const perRow = plan.keys * (plan.dim + plan.valueDim);
  return extent(batch) * extent(heads) * extent(positions) * plan.group * perRow;
}

export function rowsOfRegion({ plan }: Call, { batch, heads, positions }: Region): number {
  return extent(batch) * extent(heads) * extent(positions) * plan.group;
}

/** Boxes of the tensors that a region reads and writes. */
export function boxesOf({ plan }: Call, { batch, heads, positions }: Region, keys: Range) {
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
export function* regionsOf(
  call: Call,
  isSmall: (region: Region) => boolean,
): Generator<Region> {
  const { batch, keyHeads, queries } = call.plan;
  const whole: Region = { batch: [0, batch], heads: [0, keyHeads], positions: [0, queries] };
  const fits = (region: Region) => fitsDevice(call, region) && isSmall(region);
  for (const region of cutRegion(whole, fits)) {
    if (!fitsDevice(call, region)) {
      throw new RangeError(
        "Cannot attend: one query position of a key/value head needs more than the " +
          `${call.session.bounds.bindingBytes} bytes that this GPU can bind at once; heads that ` +
          'lie apart need less as arrays or in layout "bnhd"',
      );
    }
    yield region;
  }
}
