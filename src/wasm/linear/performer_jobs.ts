/**
 * Jobs of performer attention: what all have in common, and those that sum over keys.
 *
 * @module
 */

import {
  countProjections,
  type HeadSizes,
  type HostPerformerPlan,
  performerAttention,
  sizesOf,
} from "../../operations/performer/tokens.ts";
import type { PerformerPlan } from "../../operations/performer/plan.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Placer } from "../memory/placer.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { linearKernels } from "./program.ts";
import {
  type GroupPlace,
  type GroupRun,
  type Job,
  placeGroupRows,
  runWave,
  type Wave,
  writeGroupPlace,
} from "./waves.ts";

/** Multiply-adds that are worth more threads than the calling one: some 0.2 ms. */
const threadedWork = 4e6;

/** A machine for a plan: of little work the calling thread alone. */
export function machineFor(machine: Machine, plan: PerformerPlan): Machine {
  return performerAttention.work(plan) < threadedWork ? { ...machine, threads: 1 } : machine;
}

/** Rows of a part: sums over more are made part by part, whatever the number of threads. */
export const rowsOfPart = 1024;

/** Rows that kernels look at together: runs end between them. */
export const rowsTogether = 64;

/** Rows of all heads of a wave, about. */
export const rowsOfWave = 2048;

/** Bytes of sums that are held at once, of one head or more. */
export const mostSumBytes = 8 * 1024 * 1024;

/** A key/value head of a batch. */
export interface Head {
  readonly batch: number;
  readonly head: number;
  /** Address of its state: sums, what rounding took from them, and sums of the part under way. */
  readonly state: number;
}

/** What the waves of a call have in common. */
export interface Call {
  readonly machine: Machine;
  readonly plan: HostPerformerPlan;
  readonly sizes: HeadSizes;
  /** Address of the packed projections. */
  readonly projections: number;
  readonly scratch: number;
  readonly part: number;
}

/** Sizes of what a plan needs of each head, in bytes. */
export function bytesOf(plan: HostPerformerPlan): HeadSizes {
  const { projection, sums } = sizesOf(plan);
  return { projection: projection * 4, sums: sums * 4 };
}

/** Bytes of a state: sums, rests and the part under way. */
export function stateBytes({ sums }: HeadSizes): number {
  return 3 * sums;
}

/** Tile memory that each thread needs. */
export function scratchOf(
  machine: Machine,
  plan: HostPerformerPlan,
  kind: number,
  isInChunks = plan.causal,
): number {
  const at = machine.kernels.callRecord();
  const record = new JobRecord(new Int32Array(machine.arena.memory.buffer), at / 4);
  record.set(field.performerKind, kind);
  record.set(field.performerDim, plan.dim);
  record.set(field.performerValueDim, plan.valueDim);
  record.set(field.performerFeatures, plan.features);
  record.set(field.performerIsInChunks, Number(isInChunks));
  return linearKernels(machine).scratchBytes(at) >>> 0;
}

/** Key/value heads by their numbers. */
export function headsFrom(
  { keyHeads }: HostPerformerPlan,
  from: number,
  to: number,
  stateAt: (index: number) => number,
): Head[] {
  return Array.from({ length: to - from }, (_, index) => ({
    batch: Math.floor((from + index) / keyHeads),
    head: (from + index) % keyHeads,
    state: stateAt(index),
  }));
}

/** What all jobs have in common. */
export function writeCommon(record: JobRecord, { machine, plan, part }: Call, kind: number): void {
  record.set(field.performerKind, kind);
  record.set(field.performerGroup, plan.group);
  record.set(field.performerDim, plan.dim);
  record.set(field.performerValueDim, plan.valueDim);
  record.set(field.performerFeatures, plan.features);
  record.setFloat(field.performerRoot, Math.sqrt(plan.scale));
  record.set(field.performerIsRelu, Number(plan.kernel === "relu"));
  record.set(field.performerIsCausal, Number(plan.causal));
  record.set(field.performerSplats, machine.splats);
  record.set(field.performerPart, part);
}

/** Address of a head's projection. */
export function projectionOf({ plan, projections, sizes }: Call, head: number): number {
  return projections + (countProjections(plan) === 1 ? 0 : head * sizes.projection);
}

/** Packs the projections. */
export function packProjections(call: Call): Generator<Step> {
  const { machine, plan } = call;
  return runWave(machine, 0, (space) => {
    const heads = Array.from({ length: countProjections(plan) }, (_, head) => head);
    const reads = heads.map((head) =>
      placeGroupRows(
        plan.projection,
        { batch: 0, head, heads: 1, from: 0, to: plan.features },
        machine.arena,
        space,
      )
    );
    const jobs = heads.map((head): Job => (record, base) => {
      writeCommon(record, call, rowsKinds.performerProjection);
      writeGroupPlace(record, field.performerK, reads[head], base);
      record.set(field.performerProjection, projectionOf(call, head));
    });
    return { batches: [jobs], reads, writes: [], rows: 0 };
  });
}

/** Rows of a key/value head, and of its query heads. */
export interface Run {
  readonly head: Head;
  readonly from: number;
  readonly to: number;
}

/** Places of a run's rows, by the fields that say where they are. */
export type Places = ReadonlyMap<number, GroupPlace>;

export function keysOf({ head: { batch, head }, from, to }: Run): GroupRun {
  return { batch, head, heads: 1, from, to };
}

export function queriesOf(
  { head: { batch, head }, from, to }: Run,
  { group }: HostPerformerPlan,
): GroupRun {
  return { batch, head: head * group, heads: group, from, to };
}

/** A field of the record of gradients among those of jobs. */
export function ofPass(field: number): number {
  return firstOfPass + field;
}

const firstOfPass = 1000;

/** Says where a run's rows are, and which they are. */
export function writeRun(
  record: JobRecord,
  call: Call,
  run: Run,
  places: Places,
  base: number,
  pass?: JobRecord,
): void {
  for (const [name, place] of places) {
    const [target, at] = name < firstOfPass ? [record, name] : [pass!, name - firstOfPass];
    writeGroupPlace(target, at, place, base);
    if (headFields.has(name)) target.set(at + 4, place.head);
  }
  record.set(field.performerRows, run.to - run.from);
  record.set(field.performerProjection, projectionOf(call, run.head.head));
}

/** Rows of all heads of a group: behind the others a field says how far it is from one head to the next. */
const headFields = new Set<number>([
  field.performerQ,
  field.performerOut,
  ofPass(field.passDOut),
  ofPass(field.passDq),
]);

/** Query rows of a wave. */
export function rowsOf(wave: readonly Run[], { group }: HostPerformerPlan): number {
  return wave.reduce((sum, { from, to }) => sum + (to - from) * group, 0);
}

/** Finds places for rows of views, by their fields: of a group's query heads, or of a key/value head. */
export function placeRun(
  { machine: { arena }, plan }: Call,
  run: Run,
  views: readonly (readonly [field: number, view: View])[],
  space: Placer,
): Places {
  return new Map(views.map(([at, view]) => {
    const rows = headFields.has(at) ? queriesOf(run, plan) : keysOf(run);
    return [at, placeGroupRows(view, rows, arena, space)];
  }));
}

/** Fields of what jobs write. */
const writtenFields = new Set<number>([
  field.performerOut,
  ofPass(field.passDq),
  ofPass(field.passDk),
  ofPass(field.passDv),
]);

/** What is staged of places, and what is collected. */
export function passing(all: readonly Places[]): Pick<Wave, "reads" | "writes"> {
  const entries = all.flatMap((places) => [...places]);
  const those = (isWritten: boolean) =>
    entries.filter(([at]) => writtenFields.has(at) === isWritten).map(([, place]) => place);
  return { reads: those(false), writes: those(true) };
}

/** Views of keys and values. */
export function keyViews({ k, v }: HostPerformerPlan): [number, View][] {
  return [[field.performerK, k], [field.performerV, v]];
}

/** Rows of each of some heads that follow one another in a wave. */
export function rowsInTurn(heads: readonly Head[]): number {
  const most = Math.floor(rowsOfWave / heads.length / rowsTogether) * rowsTogether;
  return Math.max(rowsTogether, most);
}

/** Parts of heads, in their order. */
export function* partsOf(heads: readonly Head[], rows: number, most: number): Generator<Run> {
  for (const head of heads) {
    for (let from = 0; from < rows; from += most) {
      yield { head, from, to: Math.min(rows, from + most) };
    }
  }
}

/** So many at a time. */
export function* inWaves<T>(all: Iterable<T>, most: number): Generator<T[]> {
  let wave: T[] = [];
  for (const one of all) {
    wave.push(one);
    if (wave.length < most) continue;
    yield wave;
    wave = [];
  }
  if (wave.length > 0) yield wave;
}

/** Jobs that sum over keys of parts, each at its slot. */
export function learnJobs(
  call: Call,
  wave: readonly Run[],
  places: readonly Places[],
  slotAt: (index: number, base: number) => number,
): Job[] {
  return wave.map((run, index): Job => (record, base) => {
    writeCommon(record, call, rowsKinds.performerLearn);
    writeRun(record, call, run, places[index], base);
    record.set(field.performerLocal, slotAt(index, base));
  });
}

/** Jobs that add the parts of each head of a wave to what was before them. */
export function addJobs(
  call: Call,
  wave: readonly Run[],
  step: number,
  slotAt: (index: number, base: number) => number,
  stateOf: (head: Head) => number = ({ state }) => state,
): Job[] {
  const starts = wave.flatMap(({ head }, index) => head === wave[index - 1]?.head ? [] : [index]);
  return starts.map((first, at): Job => (record, base) => {
    const run = wave[first];
    writeCommon(record, call, rowsKinds.performerAdd);
    record.set(field.performerProjection, projectionOf(call, run.head.head));
    record.set(field.performerBefore, stateOf(run.head));
    record.set(field.performerPosition, run.from);
    record.set(field.performerLocal, slotAt(first, base));
    record.set(field.performerParts, (starts[at + 1] ?? wave.length) - first);
    record.set(field.performerPartStep, step);
  });
}

/** Parts of a wave: as many as threads need, and not fewer than make a wave. */
export function partsPerWave({ machine: { threads }, sizes, part }: Call): number {
  const bySums = Math.max(1, Math.floor(mostSumBytes / (2 * sizes.sums)));
  return Math.max(threads, Math.min(bySums, Math.max(2 * threads, rowsOfWave / part)));
}

/** Sums over all keys of heads, part by part. */
export function* learnKeys(call: Call, heads: readonly Head[]): Generator<Step> {
  const { machine, plan, sizes: { sums }, part } = call, views = keyViews(plan);
  if (plan.keys === 0) yield* clearStates(call, heads);
  for (const wave of inWaves(partsOf(heads, plan.keys, part), partsPerWave(call))) {
    yield* runWave(machine, call.scratch, (space) => {
      const places = wave.map((run) => placeRun(call, run, views, space));
      const slots = space.place(wave.length * sums);
      const slotAt = (index: number, base: number) => base + slots + index * sums;
      const batches = [learnJobs(call, wave, places, slotAt), addJobs(call, wave, sums, slotAt)];
      return { batches, ...passing(places), rows: 0 };
    });
  }
}

/** Where there are no keys sums are those of nothing. */
export function clearStates(call: Call, heads: readonly Head[]): Generator<Step> {
  return runWave(call.machine, call.scratch, () => {
    const wave = heads.map((head): Run => ({ head, from: 0, to: 0 }));
    const jobs = addJobs(call, wave, 0, () => 0).map((write): Job => (record, base) => {
      write(record, base);
      record.set(field.performerParts, 0);
    });
    return { batches: [jobs], reads: [], writes: [], rows: 0 };
  });
}
