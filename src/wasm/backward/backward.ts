/**
 * Gradients on Wasm: for each wave stages rows, leaves the jobs to a team, and hands out what they
 * summed. Nothing but one range of one head's keys and values, and some query rows, is ever held.
 *
 * @module
 */

import { countRows, type TensorPlan } from "../../operations/attention/plan.ts";
import type { HostBackwardPlan } from "../../operations/backward/plan.ts";
import type { HostGradientTarget } from "../../operations/backward/target.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { bytesPerElement, type DType, type Elements } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import { type BroadcastView, contiguousStrides, type View } from "../../tensor/tensor.ts";
import type { Machine } from "../team/machine.ts";
import type { FunctionJobs } from "../attention/forward.ts";
import { stageIntervals } from "../attention/key_intervals.ts";
import {
  biasOf,
  factorsOf,
  type GroupRows,
  headAt,
  type PlacedTerms,
  placeGroup,
  writeBand,
  writeCommon,
  writeGroup,
  writeTerms,
} from "../attention/records.ts";
import { stageMask } from "../attention/terms.ts";
import { measureJob } from "../attention/workspace.ts";
import type { Arena } from "../memory/arena.ts";
import { elementsOver, locate, locateBias, type Resident } from "../memory/tensor.ts";
import * as gradient from "../record/gradient.gen.ts";
import * as job from "../record/job.gen.ts";
import { JobRecord, storageOf, type Words } from "../record/job_record.ts";
import type { Batch } from "../team/team.ts";
import { runInTurn, type Step } from "../team/steps.ts";
import {
  chunksOf,
  countChunks,
  cutGradients,
  type GradientCut,
  type GradientRun,
  gradientRunsOf,
} from "./gradient_jobs.ts";
import {
  biasShapeOf,
  biasWidth,
  bytesOf,
  type Common,
  dBiasBytes,
  gradientBytes,
  isShared,
  passingRows,
  type PlacedWave,
  type Places,
  placeWaves,
  type Sized,
  takeMemory,
} from "./gradient_places.ts";

/** What the waves of a call have in common. */
interface Call extends Sized {
  readonly machine: Machine;
  readonly arena: Arena;
  readonly out: View;
  readonly lse: View;
  readonly dLse: View | null;
  readonly lseRest: View | null;
  /** Scores are logarithms to base 2^unit. */
  readonly unit: number;
  /** What dK lacks. */
  readonly factor: number;
  readonly sinks: Float32Array | null;
  /** dQ in f32: the target, or what becomes it at the end; `null` where it is not asked for. */
  readonly dq: View | null;
  /** What roundings took from dQ so far, where it is summed over ranges of keys. */
  readonly dqRest: Float32Array;
  /** Gradients with respect to sinks so far, and by a bias that rows or keys share: sums of many. */
  readonly dSinks: Float64Array;
  readonly dBias: Float64Array | null;
  /** What all waves share. */
  readonly common: Common;
  /** What all jobs have in common. */
  readonly record: Words;
  readonly functions: FunctionJobs | undefined;
}

/** A run whose rows are in linear memory. */
interface Staged {
  readonly run: GradientRun;
  readonly places: Places;
  readonly q: GroupRows;
  readonly dOut: GroupRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
  readonly terms: PlacedTerms;
  /** Address of the first of its job records. */
  readonly records: number;
}

/** Where rows of one head are; of keys and values, counted from their segment's first. */
interface HeadRows {
  readonly at: number;
  readonly row: number;
  readonly element: number;
}

/**
 * Runs a plan's gradients in steps; whoever iterates runs the jobs of each before asking for the next.
 *
 * Whatever ends the iteration, the call's memory is free again.
 *
 * @param functions Where the plan has some.
 */
export function* backward(
  machine: Machine,
  given: HostBackwardPlan,
  target: HostGradientTarget,
  functions?: FunctionJobs,
): Generator<Step> {
  const { forward, dOut, out, lseRest } = given, { arena } = machine;
  if (countRows(forward) === 0) return;
  const plan: TensorPlan<View> = { ...forward, sinks: null };
  const residents = {
    q: locate(plan.q, arena),
    k: locate(plan.kv.k, arena),
    v: locate(plan.kv.v, arena),
    dOut: locate(dOut, arena),
    out: locate(out, arena),
    bias: plan.bias === null ? undefined : locateBias(plan.bias, arena),
  };
  const { lse, dLse } = given, cut = cutGradients(plan, machine.threads, target.dq === null);
  const sized = { plan, cut, residents, target, dOut };
  const waves = () => gradientRunsOf(plan, cut, (run) => bytesOf(sized, run));
  const record = commonJob(machine, plan, cut);
  const scratch = functions?.scratch(record) ??
    measureJob(machine.kernels, arena, record).scratch;
  const { block, common } = takeMemory(arena, sized, scratch, waves());
  try {
    const { slopes } = plan, { sinks } = forward;
    if (slopes) elementsOver(arena, common.slopes, slopes.length, "f32").set(slopes);
    const { unit, capUnit } = factorsOf(plan);
    const call: Call = {
      ...{
        machine,
        arena,
        plan,
        dOut,
        out,
        lse,
        dLse,
        lseRest,
        sinks,
        target,
        cut,
        residents,
        common,
        functions,
      },
      dq: target.dq && sumsOf(target.dq, plan, cut),
      dqRest: new Float32Array(target.dq && isInRanges(plan, cut) ? target.dq.data.length : 0),
      dSinks: new Float64Array(plan.queryHeads),
      dBias: target.dBias && sumsOfBias(target.dBias),
      record,
      unit,
      // Queries have the scale in them, over the cap or times log2(e), and not a power of two that is taken out.
      factor: plan.softcap === null ? Math.LN2 * unit : plan.softcap * capUnit,
    };
    yield* runInTurn(placeWaves(call, common, waves()), {
      ahead: common.runs.length > 1,
      stage: (wave) => stageWave(call, wave),
      rows: (wave) => rowsOf(wave, plan),
      collect: (wave) => collectWave(call, wave),
    });
    finishSums(call);
  } finally {
    arena.free(block);
  }
}

/** What all jobs have in common, also how the rows of dQ lie that they leave. */
function commonJob({ splats }: Machine, plan: TensorPlan<View>, cut: GradientCut): Words {
  const words = new Int32Array(job.words), record = new JobRecord(words);
  writeCommon(record, splats, plan, cut);
  record.set(job.outStorage, storageOf.f32);
  record.set(job.outPosition, plan.dim * 4);
  record.set(job.outElement, 4);
  record.set(job.gradient, 1); // Each job has one of its own.
  return words;
}

/** Whether the keys of a segment are more than a range has. */
function isInRanges({ segments }: TensorPlan<View>, { keys }: GradientCut): boolean {
  return segments.some((segment) => segment.keys > keys);
}

/** Where a bias's gradient is summed, where rows or keys share elements: in f64. */
function sumsOfBias({ data, strides }: BroadcastView): Float64Array | null {
  const [, , row, key] = strides;
  return row !== 0 && key !== 0 ? null : new Float64Array((data as HeldArray).length);
}

/** Where dQ is summed over ranges of keys: in f32. */
function sumsOf(dq: View, plan: TensorPlan<View>, cut: GradientCut): View {
  if (dq.dtype === "f32") return dq;
  // In rows of 16 bits, sums of several ranges of keys would be rounded for each.
  const { shape } = dq, size = isInRanges(plan, cut) ? shape.reduce((a, b) => a * b, 1) : 0;
  return {
    ...{ data: new HeldArray<Elements>(new Float32Array(size)), dtype: "f32", offset: 0, shape },
    strides: contiguousStrides(shape) as unknown as View["strides"],
  };
}

/** What was summed in f32 becomes the results. */
function finishSums(call: Call): void {
  const { target, dSinks, sinks, dq, cut, plan } = call;
  if (sinks !== null) (target.dSinks as Float32Array).set(dSinks);
  if (call.dBias !== null) (target.dBias!.data as HeldArray).now().set(call.dBias);
  if (dq === target.dq || dq === null) return;
  for (const { batch, firstQuery, queries, keys } of plan.segments) {
    if (keys <= cut.keys) continue;
    for (let head = 0; head < plan.queryHeads; head++) {
      for (let from = 0; from < queries; from += passingRows / 2) {
        const to = Math.min(queries, from + passingRows / 2);
        storeRows(call, dq, target.dq!, batch, head, firstQuery + from, firstQuery + to);
      }
    }
  }
}

/** Rows of f32 become rows of another storage. */
function storeRows(
  { machine, arena, common }: Call,
  source: View,
  target: View,
  ...[batch, head, from, to]: readonly [number, number, number, number]
): void {
  const count = (to - from) * source.shape[3], at = common.passing;
  copyRowsIn(source, batch, head, from, to, elementsOver(arena, at, count, "f32"));
  machine.kernels.storeRow(storageOf[target.dtype], at, at + count * 4, count);
  const rows = elementsOver(arena, at + count * 4, count, target.dtype);
  copyRowsOut(rows, target, batch, head, from, to);
}

/** Brings what a wave reads into linear memory, and writes its jobs. */
function stageWave(call: Call, { wave, places, records }: PlacedWave): Batch {
  let count = 0;
  for (const [index, run] of wave.entries()) {
    stageRun(call, run, places[index], records + count * job.bytes);
    count += countChunks(run);
  }
  const { common: { scratch, scratchStride }, cut: { threads } } = call;
  return { program: call.functions?.program, threads, records, count, scratch, scratchStride };
}

/** Query rows that are finished with a wave: those of a last range of keys. */
function rowsOf({ wave }: PlacedWave, { segments, group }: TensorPlan<View>): number {
  const last = wave.filter(({ segment, endKey }) => endKey === segments[segment].keys);
  return last.reduce((sum, { from, to }) => sum + (to - from) * group, 0);
}

/** Hands out what the jobs of a wave have summed. */
function collectWave(call: Call, { wave, places, records }: PlacedWave): void {
  for (const [index, run] of wave.entries()) {
    collectRun(call, run, places[index], records);
    records += countChunks(run) * job.bytes;
  }
}

/** Brings what a run reads into linear memory, and writes its jobs. */
function stageRun(call: Call, run: GradientRun, places: Places, records: number): void {
  const { arena, plan, dOut, residents } = call;
  const staged: Staged = {
    ...{ run, places, records },
    q: placeGroup(arena, plan, run, plan.q, residents.q, places.q),
    dOut: placeGroup(arena, plan, run, dOut, residents.dOut, places.dOut),
    k: placeKeys(call, run, plan.kv.k, residents.k, places.k),
    v: call.target.dq === null
      ? { at: 0, row: 0, element: 0 } // Nobody reads them.
      : placeKeys(call, run, plan.kv.v, residents.v, places.v),
    terms: {
      bias: plan.bias && biasOf(arena, plan, residents.bias, run, places.bias),
      mask: plan.mask && stageMask(arena, plan, run, places.mask),
      intervals: plan.blockMask && stageIntervals(arena, plan, run, places.intervals),
    },
  };
  stageSums(call, staged);
  clearSums(call, staged);
  const chunks = chunksOf(run);
  for (let chunk = 0; chunk + 1 < chunks.length; chunk++) {
    writeChunk(call, staged, chunk, chunks[chunk], chunks[chunk + 1]);
  }
}

/** Brings a range of a head's keys or values into linear memory where its first run needs them. */
function placeKeys(
  { arena, plan }: Call,
  { segment, keyHead, firstKey, endKey, opens }: GradientRun,
  view: View,
  resident: Resident | undefined,
  at: number,
): HeadRows {
  const { batch, firstKey: base } = plan.segments[segment];
  if (resident) {
    const [, , row, element] = resident.strides;
    return { at: headAt(resident, batch, keyHead) + base * row, row, element };
  }
  const width = view.shape[3], element = bytesPerElement(view.dtype), row = width * element;
  if (opens && endKey > firstKey) {
    const rows = elementsOver(arena, at, (endKey - firstKey) * width, view.dtype);
    copyRowsIn(view, batch, keyHead, base + firstKey, base + endKey, rows);
  }
  // May be below 0: addresses wrap.
  return { at: at - firstKey * row, row, element };
}

/**
 * lse of a run's rows as scores are, and delta = rowsum(dO * O) - dLse; and what these say of sinks.
 *
 * The kernels' weights are those of the rounded lse. A large one is off by more than a weight may be:
 * what rounding took, here and in the forward pass, is a factor of the row's dO and delta.
 */
function stageSums(call: Call, { run, places, dOut }: Staged): void {
  const { arena, plan, sinks } = call, { segment, keyHead, from, to, firstKey } = run;
  const { batch, firstQuery } = plan.segments[segment], count = to - from;
  const first = firstQuery + from, { lse: lseView, dLse: dLseView, unit } = call;
  for (let g = 0; g < plan.group; g++) {
    const head = keyHead * plan.group + g, skipped = g * count * 4;
    const lse = elementsOver(arena, places.lse + skipped, count, "f32") as Float32Array;
    copyRowsIn(lseView, batch, head, first, first + count, lse);
    const delta = elementsOver(arena, places.delta + skipped, count, "f32") as Float32Array;
    if (dLseView) copyRowsIn(dLseView, batch, head, first, first + count, delta);
    const dLse = dLseView && delta.slice();
    productsOfRows(call, dOut, g, batch, head, first, count, places.delta + skipped);
    if (dLse) { for (let at = 0; at < count; at++) delta[at] -= dLse[at]; }
    const rest = call.lseRest && new Float32Array(count), sink = sinks?.[head] ?? -Infinity;
    if (rest) copyRowsIn(call.lseRest!, batch, head, first, first + count, rest);
    const factors = elementsOver(arena, places.factor + skipped, count, "f32");
    for (let at = 0; at < count; at++) {
      // A row that saw nothing has weights of 0, by whatever finite number.
      const isEmpty = lse[at] === -Infinity, sum = isEmpty ? 0 : lse[at] + (rest && rest[at] || 0);
      if (firstKey === 0 && sink !== -Infinity && !isEmpty) {
        call.dSinks[head] -= Math.min(1, Math.exp(sink - sum)) * delta[at];
      }
      // Not the bits of a NaN, of which the kernels would make a number.
      lse[at] = Number.isNaN(sum) ? NaN : sum * Math.LOG2E / unit;
      const lost = lse[at] * unit * Math.LN2 - sum;
      // Mostly small, and there are many rows.
      factors[at] = Math.abs(lost) < 2 ** -9 ? 1 + lost + lost * lost / 2 : boundedExp(lost);
      delta[at] *= factors[at];
    }
  }
}

/** e^x within f32; 1 for what is no number. */
function boundedExp(x: number): number {
  return Number.isFinite(x) ? Math.exp(Math.max(-80, Math.min(x, 80))) : 1;
}

/** rowsum(dO * O) of some rows of a head. */
function productsOfRows(
  call: Call,
  dOut: GroupRows,
  g: number,
  batch: number,
  head: number,
  first: number,
  count: number,
  target: number,
): void {
  const { machine, plan, out } = call;
  for (let at = 0; at < count; at += passingRows) {
    const some = Math.min(passingRows, count - at);
    const place = placeOut(call, batch, head, first + at, first + at + some);
    const dOutAt = dOut.at + g * dOut.head + at * dOut.position;
    const { kernels } = machine, storage = storageOf[call.dOut.dtype];
    kernels.rowProducts(
      kernels.headRows(0, dOutAt, dOut.element, storage, dOut.position),
      kernels.headRows(1, place.at, place.element, storageOf[out.dtype], place.row),
      ...[plan.valueDim, some, target + at * 4] as const,
    );
  }
}

/** Brings rows of `out` into linear memory unless they live there; says where they are. */
function placeOut(
  { arena, plan, out, residents, common: { passing } }: Call,
  batch: number,
  head: number,
  from: number,
  to: number,
): HeadRows {
  if (residents.out) {
    const [, , row, element] = residents.out.strides;
    return { at: headAt(residents.out, batch, head) + from * row, row, element };
  }
  const element = bytesPerElement(out.dtype);
  const rows = elementsOver(arena, passing, (to - from) * plan.valueDim, out.dtype);
  copyRowsIn(out, batch, head, from, to, rows);
  return { at: passing, row: plan.valueDim * element, element };
}

/** Sums over the rows of a range of keys begin with 0. */
function clearSums({ arena, target, plan }: Call, { run, places }: Staged): void {
  const clear = (at: number, bytes: number) =>
    new Uint8Array(arena.memory.buffer, at, bytes).fill(0);
  const eights = Math.ceil((run.endKey - run.firstKey) / 8);
  if (run.opens) {
    const bytes = eights * (gradientBytes(plan.dim) + gradientBytes(plan.valueDim));
    clear(places.dk, bytes + places.sums);
  }
  if (target.dBias === null) return;
  if (run.opens || !isShared(target.dBias)) {
    clear(places.dBias, dBiasBytes({ target, plan }, run));
  }
}

/** Writes the jobs of a chunk: one, or one after the other for each query head. */
function writeChunk(
  call: Call,
  staged: Staged,
  chunk: number,
  from: number,
  to: number,
): void {
  const { cut } = call, { places, records } = staged;
  const after = places.more + chunk * (cut.members - 1) * job.bytes;
  const recordOf = (member: number) =>
    member === 0 ? records + chunk * job.bytes : after + (member - 1) * job.bytes;
  for (let member = 0; member < cut.members; member++) {
    const next = member + 1 < cut.members ? recordOf(member + 1) : 0;
    const at = places.gradients + (chunk * cut.members + member) * gradient.bytes;
    writeRecord(call, staged, member, recordOf(member), at);
    writeGradient(call, staged, { member, chunk, from, to, next }, at);
  }
}

/** Writes the record of a job, which reads as one of forward does. */
function writeRecord(
  call: Call,
  { run, places, q, terms }: Staged,
  member: number,
  at: number,
  gradientAt: number,
): void {
  const { arena, plan } = call;
  const { segment, from, to } = run, { keys, offset } = plan.segments[segment];
  const memory = new Int32Array(arena.memory.buffer, at, job.words), positions = to - from;
  memory.set(call.record);
  const record = new JobRecord(memory), rowBytes = plan.dim * 4;
  writeGroup(record, job.q, q, member);
  record.set(job.outHead, positions * rowBytes);
  record.set(job.out, places.dq + member * positions * rowBytes);
  record.set(job.lseHead, positions * 4);
  record.set(job.lse, places.lse + member * positions * 4);
  record.set(job.positions, positions);
  record.set(job.keys, keys);
  record.set(job.gradient, gradientAt);
  writeBand(record, plan.band, from + offset);
  writeTerms(plan, call.common, record, run, terms, { member, from, part: 0 });
  call.functions?.write(record, run, { slot: 0, member, from, to, part: 0 });
}

/** A job: a member's rows against a chunk of keys, and the record of the job that follows it. */
interface GradientPiece {
  readonly member: number;
  readonly chunk: number;
  readonly from: number;
  readonly to: number;
  readonly next: number;
}

/** Writes what a job has for gradients alone. */
function writeGradient(
  call: Call,
  { run, places, dOut, k, v }: Staged,
  { member, chunk, from, to, next }: GradientPiece,
  at: number,
): void {
  const { arena, plan, cut } = call, skipped = from - run.firstKey;
  const words = new Int32Array(arena.memory.buffer, at, gradient.words),
    record = new JobRecord(words);
  const skippedRows = member * (run.to - run.from) * 4, heads = plan.group / cut.members;
  writeGroup(record, gradient.dOut, dOut, member);
  record.set(gradient.dOutStorage, storageOf[call.dOut.dtype]);
  record.set(gradient.delta, places.delta + skippedRows);
  record.set(gradient.factor, places.factor + skippedRows);
  record.set(gradient.k, k.at);
  record.set(gradient.kRow, k.row);
  record.set(gradient.kElement, k.element);
  record.set(gradient.kStorage, storageOf[plan.kv.k.dtype]);
  record.set(gradient.v, v.at);
  record.set(gradient.vRow, v.row);
  record.set(gradient.vElement, v.element);
  record.set(gradient.vStorage, storageOf[plan.kv.v.dtype]);
  record.set(gradient.from, from);
  record.set(gradient.to, to);
  record.set(
    gradient.dq,
    places.panels + (chunk * cut.members + member) * places.panelBytes,
  );
  record.set(gradient.dk, places.dk + skipped / 8 * gradientBytes(plan.dim));
  record.set(gradient.dv, places.dv + skipped / 8 * gradientBytes(plan.valueDim));
  record.set(gradient.sums, places.sums);
  record.set(gradient.unit, cut.unit * heads);
  record.set(gradient.firstRow, run.from * heads);
  record.set(gradient.next, next);
  writeDBias(record, call, run, places.dBias, { member, chunk });
}

/** Writes where a job adds its gradients with respect to a bias: nowhere, if there is none. */
function writeDBias(
  record: JobRecord,
  call: Call,
  run: GradientRun,
  area: number,
  { member, chunk }: Pick<GradientPiece, "member" | "chunk">,
): void {
  const { dBias } = call.target;
  if (dBias === null) {
    record.set(gradient.dBias, 0);
    return;
  }
  const shape = biasShapeOf(call, run), { heads, positions, isPerKey } = shape;
  const width = biasWidth(shape, run), row = isPerKey ? width * 4 : 4;
  const head = heads === 1 ? 0 : positions * row;
  const skipped = isPerKey ? -run.firstKey * 4 : chunk * heads * positions * 4;
  record.set(gradient.dBias, area + skipped + member * head);
  record.set(gradient.dBiasPosition, positions === 1 ? 0 : row);
  record.set(gradient.dBiasHead, head);
  record.set(gradient.dBiasKey, isPerKey ? 4 : 0);
  record.set(gradient.dBiasRest, isShared(dBias) ? heads * positions * width * 4 : 0);
}

/** Hands out what the jobs of a run have summed. */
function collectRun(call: Call, run: GradientRun, places: Places, records: number): void {
  const { target } = call, { closes } = run;
  if (countChunks(run) === 0) return;
  if (target.dq !== null) collectQueries(call, run, places, records, target.dq);
  if (target.dBias !== null && (closes || !isShared(target.dBias))) {
    collectBias(call, run, places.dBias);
  }
  if (!closes) return;
  if (target.dk !== null) collectKeys(call, run, places.dk, places.sums, target.dk, call.factor);
  collectKeys(call, run, places.dv, places.sums, target.dv, 1);
}

/** Sums dQ over chunks, and over ranges of keys. */
function collectQueries(
  call: Call,
  run: GradientRun,
  places: Places,
  records: number,
  target: View,
): void {
  const { machine, arena, plan, cut, common } = call, sums = call.dq!;
  const { segment, keyHead, from, to } = run, chunks = countChunks(run);
  const { batch, firstQuery, keys } = plan.segments[segment], width = plan.dim;
  const stride = cut.members * places.panelBytes;
  for (let member = 0; member < cut.members; member++) {
    const record = member === 0 ? records : places.more + (member - 1) * job.bytes;
    machine.kernels.finishQueries(record, chunks, stride, plan.scale, common.scratch);
  }
  const first = firstQuery + from, count = (to - from) * width;
  for (let g = 0; g < plan.group; g++) {
    const head = keyHead * plan.group + g, at = places.dq + g * count * 4;
    const rows = elementsOver(arena, at, count, "f32") as Float32Array;
    if (run.firstKey > 0) addRows(call, sums, batch, head, first, rows);
    if (keys > cut.keys || target.dtype === "f32") {
      copyRowsOut(rows, sums, batch, head, first, first + to - from);
      continue;
    }
    const stored = elementsOver(arena, at, count, target.dtype);
    machine.kernels.storeRow(storageOf[target.dtype], at, at, count);
    copyRowsOut(stored, target, batch, head, first, first + to - from);
  }
}

/** Adds rows of dQ so far, contiguous in its last axis, to some in linear memory (Kahan's sum). */
function addRows(
  { dqRest }: Call,
  { data: held, offset, strides, shape }: View,
  batch: number,
  head: number,
  first: number,
  rows: Float32Array,
): void {
  const width = shape[3], base = offset + batch * strides[0] + head * strides[1];
  const data = held.now();
  for (let row = 0, at = 0; at < rows.length; row++) {
    let from = base + (first + row) * strides[2];
    for (const end = at + width; at < end; at++, from++) {
      const term = rows[at] + dqRest[from];
      rows[at] = data[from] + term;
      // Of what is not finite, nothing is lost.
      dqRest[from] = term - (rows[at] - data[from]) || 0;
    }
  }
}

/** dK or dV of a range of keys, times a factor. */
function collectKeys(
  { machine, arena, plan, common }: Call,
  { segment, keyHead, firstKey, endKey }: GradientRun,
  panels: number,
  sums: number,
  target: View,
  factor: number,
): void {
  const { batch, firstKey: base } = plan.segments[segment], width = target.shape[3];
  const element = bytesPerElement(target.dtype), storage = storageOf[target.dtype as DType];
  const at = machine.kernels.headRows(0, common.passing, element, storage, width * element);
  for (let from = firstKey; from < endKey; from += passingRows) {
    const to = Math.min(endKey, from + passingRows);
    const source = panels + (from - firstKey) / 8 * gradientBytes(width);
    machine.kernels.finishKeys(at, source, sums, width, factor, to - from);
    const rows = elementsOver(arena, common.passing, (to - from) * width, target.dtype);
    copyRowsOut(rows, target, batch, keyHead, base + from, base + to);
  }
}

/** Adds the gradients with respect to a bias to where it has them. */
function collectBias(call: Call, run: GradientRun, at: number): void {
  const { arena, plan, target } = call, { data, offset, strides } = target.dBias!;
  const { segment, keyHead, from, firstKey, endKey } = run;
  const sums = call.dBias ?? (data as HeldArray<Float32Array>).now();
  const { batch, firstQuery, firstKey: base } = plan.segments[segment];
  const shape = biasShapeOf(call, run), { heads, positions, isPerKey } = shape;
  const width = biasWidth(shape, run), keys = isPerKey ? width : 1;
  const area = heads * positions * keys, seen = isPerKey ? endKey - firstKey : 1;
  // Where all rows are summed, what roundings took is behind the sums.
  const values = elementsOver(arena, at, dBiasBytes(call, run) / 4, "f32");
  const first = offset + batch * strides[0] + keyHead * plan.group * strides[1] +
    (firstQuery + from) * strides[2] + (base + firstKey) * strides[3];
  for (let from = 0; from < values.length; from += keys) {
    const row = Math.floor(from % area / keys), head = Math.floor(row / positions);
    let to = first + head * strides[1] + row % positions * strides[2];
    for (let at = from; at < from + seen; at++, to += strides[3]) sums[to] += values[at];
  }
}
