/**
 * A call on WebGPU: which shaders it needs, and how it is cut so that each piece keeps the device's
 * limits.
 *
 * @module
 */

import { type AttentionPlan, hasTerms } from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import type { Target } from "../../operations/attention/target.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Loan } from "../device/submission.ts";
import type { WebGpuPages } from "../pages/pages.ts";
import type { Box } from "../transfer/box.ts";
import {
  cutRegion,
  extent,
  mostWorkgroups,
  positionUnit,
  type Range,
  type Region,
} from "../transfer/regions.ts";
import { type Sink, sinkOf } from "../transfer/sink.ts";
import { accessOf, scoreSourceOf, type Source, sourceOf } from "../transfer/source.ts";
import { type Classed, classedOf, classThreads, squaresOf } from "./classes.ts";
import { LsePair } from "./lse_pair.ts";
import {
  batchesOf,
  countRowsIn,
  keysIn,
  longestOf,
  positionsIn,
  queriesOf,
  queryHeadsOf,
  segmentsIn,
} from "./spans.ts";
import { splitRows } from "./splits.ts";
import { countPartials, tableBytes } from "./tables.ts";
import {
  chooseSlices,
  classifyCode,
  combineCode,
  combineThreads,
  forwardCode,
  keysOf,
  rowsOf,
  type Tile,
} from "./variants.ts";
import { countParts, type Cut, type KeyRange, keyRangesOf, needsCombining } from "./key_ranges.ts";

/** A call under way. */
export interface Call extends Cut {
  readonly session: Session;
  readonly plan: AttentionPlan;
  readonly loan: Loan;
  readonly tile: Tile;
  /** Vectors of values that a workgroup has at once. */
  readonly valueVectors: number;
  readonly q: Source;
  readonly k: Source;
  readonly v: Source;
  readonly bias: Source | null;
  readonly mask: Source | null;
  readonly out: Sink;
  readonly lse: Sink | null;
  readonly forward: GPUComputePipeline;
  /** `null` where the keys are seen at once. */
  readonly combine: GPUComputePipeline | null;
  /** What is looked at of bias and mask before, and by which pipeline; or `null`. */
  readonly classed: Classed | null;
  readonly classify: GPUComputePipeline | null;
  /** Bytes of a region's tables, with all that is made there. */
  readonly room: typeof tableBytes;
}

/** What is as large as its box. */
type Bytes = Pick<Source, "bytes">;

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
  const q = sourceOf(plan.q, loan, "q"), { k, v, ...access } = readKeys(plan, loan);
  const bias = plan.bias && scoreSourceOf(plan.bias, loan, "bias");
  const mask = plan.mask && scoreSourceOf(plan.mask, loan, "mask");
  const out = sinkOf(target.out, loan, "out"), written = accessOf(target.out);
  const { lseRest } = target,
    lse = target.lse &&
      (lseRest ? new LsePair(target.lse, lseRest, loan) : sinkOf(target.lse, loan, "lse"));
  const { extension } = tile, terms = !!extension || needsTerms(plan);
  const mostKeys = countBoundKeys(session, plan, [k, v, extension ?? k], [bias, mask]);
  const cut: Cut = { plan, terms, mostKeys, tileKeys: keysOf(tile) };
  const isSplit = needsCombining(cut);
  const variant = {
    ...{ tile, slices, terms, paged: plan.kv.kind === "pages", q: accessOf(plan.q) },
    ...{ k: access.ofKeys, v: access.ofValues },
    out: isSplit ? null : written,
    lse: lse !== null && !isSplit,
    subgroups: usesSubgroups(session, tile),
  };
  const classed = classedOf(plan);
  const [forward, combine, classify] = await Promise.all([
    pipelineOf(gpu, forwardCode(variant), "forward"),
    isSplit
      ? pipelineOf(gpu, combineCode({ out: written, lse: lse !== null, terms }), "combine")
      : null,
    classed && pipelineOf(gpu, classifyCode(classed), "classify"),
  ]);
  const valueVectors = slices * tile.VALUES;
  return {
    ...{ ...cut, session, plan, loan, tile, valueVectors },
    ...{ q, k, v, bias, mask, out, lse, forward, combine, classed, classify },
    room: extension?.room ?? tableBytes,
  };
}

/** Where keys and values are, and how shaders read them. */
function readKeys({ kv }: AttentionPlan, loan: Loan) {
  if (kv.kind === "pages") {
    const { keys, values } = kv.store as WebGpuPages;
    const [ofKeys, ofValues] = [keys.access, values.access];
    return { k: keys.source(loan), v: values.source(loan), ofKeys, ofValues };
  }
  const { k, v } = kv, [ofKeys, ofValues] = [accessOf(k), accessOf(v)];
  return { k: sourceOf(k, loan, "k"), v: sourceOf(v, loan, "v"), ofKeys, ofValues };
}

/** Whether two segments can be served by one set of uniforms. */
function areAlike(a: Segment, b: Segment): boolean {
  return a.offset === b.offset && a.keys === b.keys;
}

/**
 * Whether each workgroup looks its segment up: where the plain shader cannot do it, and where batches
 * that are not alike have so few rows that one submit each would take longer than its work.
 */
function needsTerms(plan: AttentionPlan): boolean {
  const { packed, segments, queries, group } = plan;
  const isSmall = queries * group <= splitRows;
  return hasTerms(plan) || packed || plan.kv.kind === "pages" ||
    (isSmall && !segments.every((one) => areAlike(one, segments[0])));
}

/** Subgroups exchange maxima where the threads of a row are sure to be in one. */
function usesSubgroups({ gpu: { device } }: Session, { TX }: Tile): boolean {
  const { subgroupMinSize } = (device as { adapterInfo?: GPUAdapterInfo }).adapterInfo ?? {};
  return device.features.has("subgroups") && (subgroupMinSize ?? 0) >= TX;
}

/** Keys of a head that a binding holds, of every tensor that has a column or a row for each. */
function countBoundKeys(
  { bounds: { bindingBytes } }: Session,
  { keys }: AttentionPlan,
  heads: readonly Bytes[],
  scores: readonly (Source | null)[],
): number {
  const one: Range = [0, 1];
  const box = { batch: one, heads: one, rows: one, columns: [0, keys] } as const;
  const needed = Math.max(
    ...heads.map((source) => source.bytes({ batch: one, heads: one, rows: box.columns })),
    ...scores.map((source) => source?.bytes(box) ?? 0),
  );
  return needed <= bindingBytes ? keys : Math.floor(keys * (bindingBytes - 256) / needed);
}

/** Multiply-adds of a region, its whole band of keys counted. */
export function workOf({ plan }: Call, region: Region): number {
  const pairs = segmentsIn(plan, region).reduce(
    (sum, segment) => sum + positionsIn(region, segment) * segment.keys,
    0,
  );
  return pairs * extent(region.heads) * plan.group * (plan.dim + plan.valueDim);
}

export function rowsOfRegion({ plan }: Call, region: Region): number {
  return countRowsIn(plan, region);
}

/** Boxes of the tensors that a region reads and writes. */
export function boxesOf({ plan }: Pick<Call, "plan">, region: Region, keyRange: Range) {
  const batch = batchesOf(plan, region), heads = queryHeadsOf(plan, region);
  const positions = queriesOf(plan, region), keys = keysIn(plan, region, keyRange);
  const rows: Box = { batch, heads, rows: positions };
  const columns: Box = { batch, heads: region.heads, rows: keys };
  const scores: Box = { batch, heads, rows: positions, columns: keys };
  return { rows, columns, scores };
}

/** Rows of a region's partial results. */
export function partialRows(call: Call, region: Region, keyRanges: readonly KeyRange[]): number {
  if (call.combine === null) return 0;
  if (call.terms) return countPartials(call, region, keyRanges);
  return rowsOfRegion(call, region) * countParts(keyRanges);
}

/** Workgroups along the axes of a region's dispatches, at most. */
function gridOf(call: Call, region: Region, keyRanges: readonly KeyRange[]): number[] {
  const perHead = longestOf(call.plan, region) * call.plan.group;
  const parts = Math.max(...keyRanges.map((keyRange) => keyRange.parts));
  return [
    Math.ceil(perHead / rowsOf(call.tile)) * parts,
    call.combine === null ? 0 : Math.ceil(perHead * call.valueVectors / combineThreads),
    extent(region.heads),
    extent(region.batch),
    ...keyRanges.flatMap((keyRange) => classGrid(call, region, keyRange)),
  ];
}

/** Workgroups of the dispatch that looks at bias and mask; none where there is nothing to look at. */
export function classGrid(
  { plan, classed }: Call,
  region: Region,
  keyRange: KeyRange,
): [x: number, y: number, z: number] {
  if (classed === null) return [0, 0, 0];
  const { batch, heads, rows, columns } = squaresOf(plan, classed, region, keyRange);
  return [Math.ceil(rows * columns / classThreads), heads, batch];
}

/** Bytes of the bindings of a region's dispatches. */
function bindingsOf(call: Call, region: Region, keyRanges: readonly KeyRange[]): number[] {
  const { q, k, v, out, bias, mask, valueVectors } = call;
  const boxes = keyRanges.map(({ keys }) => boxesOf(call, region, keys));
  const [{ rows }] = boxes;
  return [
    q.bytes(rows),
    out.bytes(rows),
    ...boxes.flatMap(({ columns, scores }) => [
      k.bytes(columns),
      v.bytes(columns),
      bias?.bytes(scores) ?? 0,
      mask?.bytes(scores) ?? 0,
    ]),
    partialRows(call, region, keyRanges) * valueVectors * 16,
    call.room(call.plan, region, keyRanges),
  ];
}

/** Whether a region keeps every limit of the device. */
function fitsDevice(call: Call, region: Region): boolean {
  const { session, plan, terms, mostKeys } = call;
  const segments = segmentsIn(plan, region), isOne = segments.length === 1;
  if (!terms && !segments.every((one) => areAlike(one, segments[0]))) return false;
  // Packed sequences share a range, so that one that needs more is alone.
  if (plan.packed && !isOne && segments.some(({ keys }) => keys > mostKeys)) return false;
  const keyRanges = keyRangesOf(call, region);
  return gridOf(call, region, keyRanges).every((n) => n <= mostWorkgroups) &&
    bindingsOf(call, region, keyRanges).every((n) => n <= session.bounds.bindingBytes);
}

/**
 * Cuts the whole of a call; `isSmall` may cut further than the device demands, but no tile: what was learned of the
 * device's speed should change no bit.
 */
export function* regionsOf(
  call: Call,
  isSmall: (region: Region) => boolean,
): Generator<Region> {
  const { segments, keyHeads, group } = call.plan, unit = positionUnit(group);
  const longest = segments.reduce((most, { queries }) => Math.max(most, queries), 0);
  const whole: Region = {
    batch: [0, segments.length],
    heads: [0, keyHeads],
    positions: [0, longest],
  };
  const isOneTile = ({ batch, heads, positions }: Region) =>
    extent(batch) === 1 && extent(heads) === 1 && extent(positions) <= unit;
  const fits = (region: Region) =>
    fitsDevice(call, region) && (isOneTile(region) || isSmall(region));
  for (const region of cutRegion(whole, fits, unit)) {
    if (rowsOfRegion(call, region) === 0) continue; // Sequences without a query.
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
