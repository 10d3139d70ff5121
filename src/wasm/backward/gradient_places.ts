/**
 * Places: where gradients have what they stage and sum, in linear memory. What belongs to a range of keys
 * stays from run to run.
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
import { Placer } from "../memory/placer.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import type { Resident } from "../memory/tensor.ts";
import * as gradient from "../record/gradient.gen.ts";
import * as job from "../record/job.gen.ts";
import { rowsPerPart } from "../record/job_record.ts";
import { countChunks, countPanels, type GradientCut, type GradientRun } from "./gradient_jobs.ts";

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
  /** Where ranges of keys and runs are placed: twice where a wave is staged while another runs. */
  readonly keyRanges: readonly number[];
  readonly runs: readonly number[];
}

/** Addresses of what belongs to a range of keys, over all of its runs. */
export interface KeyRangePlaces {
  /** Rows of keys and values, panels of their gradients. */
  readonly k: number;
  readonly v: number;
  readonly dk: number;
  readonly dv: number;
  /** Bytes from there to the sums of earlier rows' parts; 0 where all rows are one part. */
  readonly sums: number;
  readonly sharedBias: number;
}

/** Addresses of what a run has of a wave. */
export interface Places extends KeyRangePlaces {
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

/** The shape of a bias's gradient over a run: 1 along axes that are summed over. */
export function biasShapeOf(
  { target, plan }: Pick<Sized, "target" | "plan">,
  { from, to }: GradientRun,
) {
  const [, head, position, key] = target.dBias!.strides;
  return {
    heads: head === 0 ? 1 : plan.group,
    positions: position === 0 ? 1 : to - from,
    // Summed over rows and keys, it would depend on how rows are cut: a sum for each key first.
    isPerKey: key !== 0 || isShared(target.dBias!),
  };
}

/** Whether the gradient of a bias is summed over all runs of a range of keys: where all rows share it. */
export function isShared({ strides }: BroadcastView): boolean {
  return strides[2] === 0;
}

/** Numbers of its rows: one for each key, up to a multiple of eight; or one row of one for each chunk. */
export function biasWidth({ isPerKey }: { readonly isPerKey: boolean }, run: GradientRun): number {
  return isPerKey ? Math.ceil((run.endKey - run.firstKey) / 8) * 8 : countChunks(run);
}

/** Bytes of a bias's gradient over a run; where all rows are summed, with what roundings took. */
export function dBiasBytes(call: Pick<Sized, "target" | "plan">, run: GradientRun): number {
  if (call.target.dBias === null) return 0;
  const shape = biasShapeOf(call, run), { heads, positions } = shape;
  return heads * positions * biasWidth(shape, run) * (isShared(call.target.dBias) ? 8 : 4);
}

/** Gives a range of keys its places. */
function placeKeyRange(call: Sized, run: GradientRun, space: Placer): KeyRangePlaces {
  const { residents, plan: { kv: { k, v }, dim, valueDim, group, segments } } = call;
  const { dBias, dq } = call.target, isAll = dq !== null;
  const keys = run.endKey - run.firstKey, eights = Math.ceil(keys / 8);
  const dkBytes = eights * gradientBytes(dim), dvBytes = eights * gradientBytes(valueDim);
  const sums = segments[run.segment].queries * group > rowsPerPart ? dkBytes + dvBytes : 0;
  const dk = space.place(dkBytes + dvBytes + sums);
  return {
    k: space.place(residents.k ? 0 : keys * dim * bytesPerElement(k.dtype)),
    v: space.place(residents.v || !isAll ? 0 : keys * valueDim * bytesPerElement(v.dtype)),
    ...{ dk, dv: dk + dkBytes, sums },
    sharedBias: space.place(dBias !== null && isShared(dBias) ? dBiasBytes(call, run) : 0),
  };
}

/** Gives a run its places. */
function placeRun(
  call: Sized,
  run: GradientRun,
  space: Placer,
): Omit<Places, keyof KeyRangePlaces> {
  const { plan, cut, residents, dOut, target: { dBias, dq } } = call, { q, dim, group } = plan;
  const rows = (run.to - run.from) * group, chunks = countChunks(run);
  const panelBytes = dq === null ? 0 : countPanels(plan, cut, run) * gradientBytes(dim);
  return {
    q: space.place(residents.q ? 0 : groupBytes(q, plan, run)),
    dOut: space.place(residents.dOut ? 0 : groupBytes(dOut, plan, run)),
    lse: space.place(rows * 4),
    delta: space.place(rows * 4),
    factor: space.place(rows * 4),
    panels: space.place(chunks * cut.members * panelBytes),
    panelBytes,
    dq: space.place(dq === null ? 0 : rows * dim * 4),
    bias: space.place(residents.bias ? 0 : biasBytes(plan, run)),
    dBias: space.place(dBias === null || isShared(dBias) ? 0 : dBiasBytes(call, run)),
    mask: space.place(maskBytes(plan, run)),
    intervals: space.place(intervalBytes(plan, run)),
    more: space.place(chunks * (cut.members - 1) * job.bytes),
    gradients: space.place(chunks * cut.members * gradient.bytes),
  };
}

/** Runs with their places, and the records of their jobs. */
export interface PlacedWave {
  readonly wave: readonly GradientRun[];
  readonly places: readonly Places[];
  readonly records: number;
  /** Where its ranges of keys end, and its runs. */
  readonly ends: readonly [keyRanges: number, runs: number];
}

/** Gives a wave its places, from these on. */
export function placeWave(
  call: Sized,
  wave: readonly GradientRun[],
  keyRangesAt: number,
  runsAt: number,
): PlacedWave {
  const keyRanges = new Placer(keyRangesAt), runs = new Placer(runsAt);
  const jobs = wave.reduce((sum, run) => sum + countChunks(run), 0);
  const records = runs.place(jobs * job.bytes);
  const places = wave.map((run) => {
    const keyRange = placeKeyRange(call, run, keyRanges);
    const own = placeRun(call, run, runs);
    const { dBias } = call.target;
    return { ...keyRange, ...own, ...(dBias && isShared(dBias) && { dBias: keyRange.sharedBias }) };
  });
  return { wave, places, records, ends: [keyRanges.end, runs.end] };
}

/** Every wave of a call; those that follow one another have different places if there are two. */
export function* placeWaves(
  call: Sized,
  { keyRanges, runs }: Common,
  waves: Iterable<readonly GradientRun[]>,
): Generator<PlacedWave, void> {
  let wavesPlaced = 0, keyRangesPlaced = 0;
  for (const wave of waves) {
    if (wave[0].opens) keyRangesPlaced++;
    yield placeWave(
      call,
      wave,
      keyRanges[keyRangesPlaced % keyRanges.length],
      runs[wavesPlaced++ % runs.length],
    );
  }
}

/** Takes the memory of a call: tile memory of each thread, what all waves share, and the most that one has. */
export function takeMemory(
  arena: Arena,
  call: Sized,
  scratchBytes: number,
  waves: Iterable<readonly GradientRun[]>,
): { block: number; common: Common } {
  const { plan, cut } = call;
  let keyRangeBytes = 0, runBytes = 0, keyRanges = 0, count = 0;
  for (const wave of waves) {
    const { ends } = placeWave(call, wave, 0, 0);
    keyRangeBytes = Math.max(keyRangeBytes, ends[0]);
    runBytes = Math.max(runBytes, ends[1]);
    count++;
    if (wave[0].opens) keyRanges++;
  }
  const places = cut.threads > 1 && count > 1 ? 2 : 1;
  const scratchStride = roundUp(scratchBytes, 64);
  const layOut = (space: Placer): Common => ({
    scratchStride,
    scratch: space.place(cut.threads * scratchStride),
    passing: space.place(passingRows * Math.max(plan.dim, plan.valueDim) * 4),
    slopes: space.place((plan.slopes?.length ?? 0) * 4),
    sinks: 0,
    keyRanges: Array.from(
      { length: Math.min(places, keyRanges) },
      () => space.place(keyRangeBytes),
    ),
    runs: Array.from({ length: places }, () => space.place(runBytes)),
  });
  const measured = new Placer(0);
  layOut(measured);
  const block = arena.allocate(measured.end);
  return { block, common: layOut(new Placer(block)) };
}

/** Bytes that a run takes of a wave. */
export function bytesOf(call: Sized, run: GradientRun): number {
  const [keyRanges, runs] = placeWave(call, [run], 0, 0).ends;
  return keyRanges + runs;
}
