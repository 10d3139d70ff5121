/**
 * Places: where gradients have what they stage and sum, in linear memory. What belongs to a window of keys
 * stays from stretch to stretch.
 *
 * @module
 */

import type { TensorPlan } from "../../operations/attention/plan.ts";
import type { HostGradientTarget } from "../../operations/backward/target.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import type { BroadcastView, View } from "../../tensor/tensor.ts";
import { intervalBytes } from "../attention/key_intervals.ts";
import { groupBytes } from "../attention/records.ts";
import { biasBytes, maskBytes } from "../attention/terms.ts";
import { Placer } from "../attention/workspace.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import type { Resident } from "../memory/tensor.ts";
import * as gradient from "../record/gradient.gen.ts";
import * as job from "../record/job.gen.ts";
import { rowsPerPart } from "../record/job_record.ts";
import { countChunks, countPanels, type GradientCut, type Stretch } from "./gradient_jobs.ts";

/** Rows that pass through linear memory at once on their way in or out. */
export const passingRows = 256;

/** Tensors of a call that live in linear memory. */
export type Residents = { readonly [Name in "q" | "k" | "v" | "dOut" | "out" | "bias"]?: Resident };

/** What the sizes of places depend on. */
export interface Sized {
  /** The call whose gradients are asked for, without sinks, which `lse` has in it. */
  readonly plan: TensorPlan<View>;
  readonly cut: GradientCut;
  readonly residents: Residents;
  readonly target: HostGradientTarget;
  readonly dOut: View;
}

/** Addresses of what all waves share. */
export interface Common {
  readonly scratch: number;
  readonly scratchStride: number;
  /** Rows on their way in or out. */
  readonly passing: number;
  readonly slopes: number;
  readonly sinks: number;
  /** Where windows and stretches are placed: twice where a wave is staged while another runs. */
  readonly windows: readonly number[];
  readonly stretches: readonly number[];
}

/** Addresses of what belongs to a window, over all of its stretches. */
export interface WindowPlaces {
  /** Rows of keys and values, panels of their gradients. */
  readonly k: number;
  readonly v: number;
  readonly dk: number;
  readonly dv: number;
  /** Bytes from there to the sums of earlier rows' parts; 0 where all rows are one part. */
  readonly sums: number;
  readonly sharedBias: number;
}

/** Addresses of what a stretch has of a wave. */
export interface Places extends WindowPlaces {
  readonly dBias: number;
  readonly q: number;
  readonly dOut: number;
  readonly lse: number;
  readonly delta: number;
  readonly factor: number;
  /** Panels of dQ of each chunk and member, bytes of those of one, and the rows that they become. */
  readonly panels: number;
  readonly panelBytes: number;
  readonly dq: number;
  readonly bias: number;
  readonly mask: number;
  readonly intervals: number;
  /** Job and gradient records: of each chunk's first job, and of those that follow it. */
  readonly more: number;
  readonly gradients: number;
}

/** Bytes of gradients of eight rows or keys. */
export function gradientBytes(width: number): number {
  return Math.ceil(width / 4) * 128;
}

/** The shape of a bias's gradient over a stretch: 1 along axes that are summed over. */
export function biasShapeOf(
  { target, plan }: Pick<Sized, "target" | "plan">,
  { from, to }: Stretch,
) {
  const [, head, position, key] = target.dBias!.strides;
  return {
    heads: head === 0 ? 1 : plan.group,
    positions: position === 0 ? 1 : to - from,
    // Summed over rows and keys, it would depend on how rows are cut: a sum for each key first.
    isPerKey: key !== 0 || isShared(target.dBias!),
  };
}

/** Whether gradients by a bias are summed over all stretches of a window: where all rows share it. */
export function isShared({ strides }: BroadcastView): boolean {
  return strides[2] === 0;
}

/** Numbers of its rows: one for each key, up to a multiple of eight; or one row of one for each chunk. */
export function biasWidth({ isPerKey }: { readonly isPerKey: boolean }, stretch: Stretch): number {
  return isPerKey ? Math.ceil((stretch.endKey - stretch.firstKey) / 8) * 8 : countChunks(stretch);
}

/** Bytes of a bias's gradient over a stretch; where all rows are summed, with what roundings took. */
export function dBiasBytes(call: Pick<Sized, "target" | "plan">, stretch: Stretch): number {
  if (call.target.dBias === null) return 0;
  const shape = biasShapeOf(call, stretch), { heads, positions } = shape;
  return heads * positions * biasWidth(shape, stretch) * (isShared(call.target.dBias) ? 8 : 4);
}

/** Gives a window its places. */
function placeWindow(call: Sized, stretch: Stretch, space: Placer): WindowPlaces {
  const { residents, plan: { kv: { k, v }, dim, valueDim, group, segments }, target: { dBias } } =
    call;
  const keys = stretch.endKey - stretch.firstKey, eights = Math.ceil(keys / 8);
  const dkBytes = eights * gradientBytes(dim), dvBytes = eights * gradientBytes(valueDim);
  const sums = segments[stretch.segment].queries * group > rowsPerPart ? dkBytes + dvBytes : 0;
  const dk = space.place(dkBytes + dvBytes + sums);
  return {
    k: space.place(residents.k ? 0 : keys * dim * bytesPerElement(k.dtype)),
    v: space.place(residents.v ? 0 : keys * valueDim * bytesPerElement(v.dtype)),
    ...{ dk, dv: dk + dkBytes, sums },
    sharedBias: space.place(dBias !== null && isShared(dBias) ? dBiasBytes(call, stretch) : 0),
  };
}

/** Gives a stretch its places. */
function placeStretch(
  call: Sized,
  stretch: Stretch,
  space: Placer,
): Omit<Places, keyof WindowPlaces> {
  const { plan, cut, residents, dOut, target: { dBias } } = call, { q, dim, group } = plan;
  const rows = (stretch.to - stretch.from) * group, chunks = countChunks(stretch);
  const panelBytes = countPanels(plan, cut, stretch) * gradientBytes(dim);
  return {
    q: space.place(residents.q ? 0 : groupBytes(q, plan, stretch)),
    dOut: space.place(residents.dOut ? 0 : groupBytes(dOut, plan, stretch)),
    lse: space.place(rows * 4),
    delta: space.place(rows * 4),
    factor: space.place(rows * 4),
    panels: space.place(chunks * cut.members * panelBytes),
    panelBytes,
    dq: space.place(rows * dim * 4),
    bias: space.place(residents.bias ? 0 : biasBytes(plan, stretch)),
    dBias: space.place(dBias === null || isShared(dBias) ? 0 : dBiasBytes(call, stretch)),
    mask: space.place(maskBytes(plan, stretch)),
    intervals: space.place(intervalBytes(plan, stretch)),
    more: space.place(chunks * (cut.members - 1) * job.bytes),
    gradients: space.place(chunks * cut.members * gradient.bytes),
  };
}

/** Stretches with their places, and the records of their jobs. */
export interface PlacedWave {
  readonly wave: readonly Stretch[];
  readonly places: readonly Places[];
  readonly records: number;
  /** Where its windows end, and its stretches. */
  readonly ends: readonly [windows: number, stretches: number];
}

/** Gives a wave its places, from these on. */
export function placeWave(
  call: Sized,
  wave: readonly Stretch[],
  windowsAt: number,
  stretchesAt: number,
): PlacedWave {
  const windows = new Placer(windowsAt), stretches = new Placer(stretchesAt);
  const jobs = wave.reduce((sum, stretch) => sum + countChunks(stretch), 0);
  const records = stretches.place(jobs * job.bytes);
  const places = wave.map((stretch) => {
    const window = placeWindow(call, stretch, windows);
    const own = placeStretch(call, stretch, stretches);
    const { dBias } = call.target;
    return { ...window, ...own, ...(dBias && isShared(dBias) && { dBias: window.sharedBias }) };
  });
  return { wave, places, records, ends: [windows.end, stretches.end] };
}

/** Every wave of a call; those that follow one another have different places if there are two. */
export function* placeWaves(
  call: Sized,
  { windows, stretches }: Common,
  waves: Iterable<readonly Stretch[]>,
): Generator<PlacedWave, void> {
  let wavesPlaced = 0, windowsPlaced = 0;
  for (const wave of waves) {
    if (wave[0].opens) windowsPlaced++;
    yield placeWave(
      call,
      wave,
      windows[windowsPlaced % windows.length],
      stretches[wavesPlaced++ % stretches.length],
    );
  }
}

/** Takes the memory of a call: tile memory of each thread, what all waves share, and the most that one has. */
export function takeMemory(
  arena: Arena,
  call: Sized,
  scratchBytes: number,
  waves: Iterable<readonly Stretch[]>,
): { block: number; common: Common } {
  const { plan, cut } = call;
  let windowBytes = 0, stretchBytes = 0, windows = 0, count = 0;
  for (const wave of waves) {
    const { ends } = placeWave(call, wave, 0, 0);
    windowBytes = Math.max(windowBytes, ends[0]);
    stretchBytes = Math.max(stretchBytes, ends[1]);
    count++;
    if (wave[0].opens) windows++;
  }
  const places = cut.threads > 1 && count > 1 ? 2 : 1;
  const scratchStride = roundUp(scratchBytes, 64);
  const layOut = (space: Placer): Common => ({
    scratchStride,
    scratch: space.place(cut.threads * scratchStride),
    passing: space.place(passingRows * Math.max(plan.dim, plan.valueDim) * 4),
    slopes: space.place((plan.slopes?.length ?? 0) * 4),
    sinks: 0,
    windows: Array.from({ length: Math.min(places, windows) }, () => space.place(windowBytes)),
    stretches: Array.from({ length: places }, () => space.place(stretchBytes)),
  });
  const measured = new Placer(0);
  layOut(measured);
  const block = arena.allocate(measured.end);
  return { block, common: layOut(new Placer(block)) };
}

/** Bytes that a stretch takes of a wave. */
export function bytesOf(call: Sized, stretch: Stretch): number {
  const [windows, stretches] = placeWave(call, [stretch], 0, 0).ends;
  return windows + stretches;
}
