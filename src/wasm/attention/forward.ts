/**
 * Forward on Wasm: for each wave packs heads and stages queries, leaves the jobs to a team, and
 * hands out what they wrote.
 *
 * @module
 */

import { isQuantized } from "../../contract/pages.ts";
import {
  type CachedKeys,
  countRows,
  hasTerms,
  hasUncounted,
  type TensorKeys,
} from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Kernels } from "../binary/kernels.gen.ts";
import type { Arena } from "../memory/arena.ts";
import { elementsOver, locate, locateBias, type Resident } from "../memory/tensor.ts";
import type { WasmPages } from "../pages/pages.ts";
import * as job from "../record/job.gen.ts";
import { decoding, JobRecord, keysPerPart, storageOf, type Words } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { Batch } from "../team/team.ts";
import { runInTurn, type Step } from "../team/steps.ts";
import { type Cut, cutPlan, cutWave, type Piece, usesIntegers, type Wave } from "./jobs.ts";
import { stageIntervals } from "./key_intervals.ts";
import {
  biasOf,
  groupAt,
  type GroupRows,
  headAt,
  type PlacedTerms,
  placeGroup,
  writeBand,
  writeCommon,
  writeGroup,
  writeTerms,
} from "./records.ts";
import type { HostPlan, Run } from "./run.ts";
import { stageMask } from "./terms.ts";
import {
  measureJob,
  type Needs,
  panelBytes,
  type PlacedWave,
  type Places,
  placeWaves,
  takeWorkspace,
  type Workspace,
} from "./workspace.ts";

/** Tensors of a plan that live in linear memory. */
interface Residents {
  readonly q?: Resident;
  readonly k?: Resident;
  readonly v?: Resident;
  /** Whether the kernel can read the values where they are, without packing them. */
  readonly inPlace: boolean;
  readonly out?: Resident;
  readonly bias?: Resident;
}

/** What makes integers of heads, and runs jobs on them. */
export interface Integers {
  /** Which of a machine's programs runs such jobs. */
  readonly program: number;
  /** Bytes of tile memory that such a job needs. */
  readonly scratch: number;
  /** Bytes that those of a head of so many keys take. */
  bytes(keys: number): number;
  /** Makes those of the head that a job's record says, and has it say where they are. */
  make(words: Words, at: number, scratch: number): void;
  /** Has a job's record say where they are. */
  write(record: JobRecord, at: number): void;
}

/** What runs jobs whose scores go through functions. */
export interface FunctionJobs {
  /** Which of a machine's programs runs them. */
  readonly program: number;
  /** Bytes of tile memory that one needs. */
  scratch(common: Words): number;
  /** Says in a job's record what functions see of it. */
  write(record: JobRecord, run: Run, piece: Piece): void;
}

/** What a run's rows are read from and written to. */
export interface RunCall {
  readonly arena: Arena;
  readonly plan: HostPlan;
  readonly target: HostTarget;
  readonly residents: Residents;
}

/** What the waves of a call have in common. */
interface Call extends RunCall {
  readonly kernels: Kernels;
  readonly cut: Cut;
  readonly hasTerms: boolean;
  readonly needs: Needs;
  readonly space: Workspace;
  /** What all jobs have in common. */
  readonly common: Words;
  readonly integers?: Integers | undefined;
  readonly functions?: FunctionJobs | undefined;
}

/**
 * Runs a plan in steps; whoever iterates runs the jobs of each before asking for the next.
 *
 * Whatever ends the iteration, the call's memory is free again.
 *
 * @param integersFor Where the plan's precision is not that of f32.
 * @param functions Where the plan has some.
 */
export function* forward(
  machine: Machine,
  plan: HostPlan,
  target: HostTarget,
  integersFor?: (common: Words) => Integers,
  functions?: FunctionJobs,
): Generator<Step> {
  if (countRows(plan) === 0) return;
  if (hasUncounted(plan)) clearUncounted(plan, target);
  const { kernels, arena } = machine;
  const residents = findResidents(plan, target, arena);
  const cut = cutPlan(plan, machine.threads);
  const common = commonJob(machine, plan, target, cut);
  const measured = measureJob(kernels, arena, common), integers = integersFor?.(common);
  const scratch = integers?.scratch ?? functions?.scratch(common) ?? 0;
  const needs: Needs = {
    job: { ...measured, scratch: Math.max(measured.scratch, scratch) },
    integers: integers &&
      ((segment) => usesIntegers(plan, segment) ? integers.bytes(plan.segments[segment].keys) : 0),
    q: residents.q !== undefined,
    values: residents.inPlace,
    out: residents.out !== undefined,
    bias: residents.bias !== undefined,
    rest: !!target.lseRest,
  };
  const space = takeWorkspace(arena, plan, cut, needs);
  try {
    const { slopes, sinks } = plan;
    if (slopes) elementsOver(arena, space.slopes, slopes.length, "f32").set(slopes);
    if (sinks) elementsOver(arena, space.sinks, sinks.length, "f32").set(sinks);
    yield* runWaves({
      ...{
        kernels,
        arena,
        plan,
        cut,
        target,
        residents,
        needs,
        space,
        common,
        integers,
        functions,
      },
      hasTerms: hasTerms(plan),
    });
  } finally {
    space.free();
  }
}

/** Rows in no segment see nothing. */
export function clearUncounted(
  { segments, queryHeads, queries }: HostPlan,
  { out, lse }: HostTarget,
): void {
  const zeros = new (out.dtype === "f32" ? Float32Array : Uint16Array)(out.shape[3]);
  const none = Float32Array.of(-Infinity);
  for (const { batch, queries: counted } of segments) {
    for (let head = 0; head < queryHeads; head++) {
      for (let row = counted; row < queries; row++) {
        copyRowsOut(zeros, out, batch, head, row, row + 1);
        if (lse) copyRowsOut(none, lse, batch, head, row, row + 1);
      }
    }
  }
}

/** Stages each wave, lets it run, and collects it. */
function runWaves(call: Call): Generator<Step> {
  const { plan, cut, needs, space } = call;
  return runInTurn(placeWaves(plan, cut, needs, space), {
    ahead: space.staged.length > 1,
    stage: (wave) => stageWave(call, wave),
    rows: (wave) => rowsOf(wave, plan),
    collect: (wave) => collectWave(call, wave),
  });
}

function rowsOf({ runs }: Wave, { group }: HostPlan): number {
  return runs.reduce((sum, { from, to }) => sum + (to - from) * group, 0);
}

/** Finds which tensors live in linear memory. */
export function findResidents(plan: HostPlan, target: HostTarget, arena: Arena): Residents {
  const { q, kv } = plan, k = kv.kind === "tensors" ? locate(kv.k, arena) : undefined;
  const v = kv.kind === "tensors" ? locate(kv.v, arena) : undefined;
  return {
    q: locate(q, arena),
    k,
    v,
    inPlace: kv.kind === "pages" || (v !== undefined && canStay(plan, kv.v, v)),
    out: locate(target.out, arena),
    bias: plan.bias === null ? undefined : locateBias(plan.bias, arena),
  };
}

/**
 * Whether values should be read where they are. The kernel reads four columns of each row at a time,
 * so these must be neighbours, and f32. Rows a multiple of 512 bytes apart fall into few sets of the
 * first cache: at D = 128 that costs 12 %, and packing them pays from some rows of queries on.
 */
function canStay(
  { valueDim, queries, group }: HostPlan,
  { dtype }: View,
  { strides }: Resident,
): boolean {
  const readable = dtype === "f32" && (strides[3] === 4 || valueDim === 1);
  return readable && (strides[2] % 512 !== 0 || queries * group <= 64);
}

/** What all jobs have in common. */
export function commonJob(
  { splats }: Machine,
  plan: HostPlan,
  target: HostTarget,
  cut: Cut,
): Words {
  const words = new Int32Array(job.words), record = new JobRecord(words);
  if (plan.kv.kind === "pages") plan.kv.store.writeFields(words);
  writeCommon(record, splats, plan, cut);
  record.set(job.keys, cut.keys);
  record.set(job.outStorage, storageOf[target.out.dtype]);
  return words;
}

/** Packs and stages what a wave needs, and writes its job records. */
function stageWave(call: Call, wave: PlacedWave): Batch {
  const { arena, plan, cut, space } = call;
  const { records, places } = wave;
  const runs = wave.runs.map((run, slot) => stageRun(call, run, places[slot], wave.packs));
  const memory = new Int32Array(arena.memory.buffer, records);
  const pieces = cutWave(wave, plan, cut);
  for (let index = 0; index < pieces.length; index++) {
    const { slot } = pieces[index];
    memory.set(call.common, index * job.words);
    const record = new JobRecord(memory, index * job.words);
    writeJob(call, record, wave.runs[slot], runs[slot], pieces[index]);
  }
  return {
    program: call.functions?.program ??
      (usesIntegers(plan, wave.runs[0].segment) ? call.integers?.program : 0),
    ...{ threads: cut.threads, records },
    count: pieces.length,
    scratch: space.scratch,
    scratchStride: space.scratchStride,
  };
}

/** Where everything that a run reads and writes is. */
interface StagedRun extends PlacedTerms {
  readonly parts: number;
  readonly heads: Heads;
  readonly queries: GroupRows;
  readonly results: Results;
  readonly panels: number;
  /** Address of the list of its blocks, where they are in pages. */
  readonly pages: number;
  /** Address of its head's integers, where it goes by these. */
  readonly integers: number;
}

function stageRun(
  call: Call,
  run: Run,
  places: Places,
  packs: boolean,
): StagedRun {
  const { arena, plan } = call, { kv } = plan;
  // Described for each: what makes integers writes where the kernels read it.
  if (packs && kv.kind === "tensors") packHead(call, kv, run, places);
  const keys = {
    parts: places.parts,
    heads: headOf(call, run, places),
    pages: kv.kind === "pages" ? stagePages(call, kv, run, places.pages) : 0,
    integers: usesIntegers(plan, run.segment) ? places.integers : 0,
  };
  if (packs && keys.integers !== 0) {
    const words = call.common.slice();
    writeKeys(call, new JobRecord(words), run, keys, 0);
    call.integers!.make(words, keys.integers, call.space.scratch);
  }
  return {
    ...keys,
    queries: placeGroup(arena, plan, run, plan.q, call.residents.q, places.q),
    results: resultsOf(call, run, places),
    panels: places.panels,
    bias: plan.bias && biasOf(arena, plan, call.residents.bias, run, places.bias),
    mask: plan.mask && stageMask(arena, plan, run, places.mask),
    intervals: plan.blockMask && stageIntervals(arena, plan, run, places.intervals),
  };
}

/** Writes the list of a run's blocks: where its head's part of each is. */
function stagePages(
  { arena, plan }: Call,
  { store, pages }: CachedKeys<WasmPages>,
  { segment, keyHead }: Run,
  at: number,
): number {
  const blocks = store.countBlocks(plan.segments[segment].keys);
  const list = new Uint32Array(arena.memory.buffer, at, blocks);
  store.listBlocks(pages[segment], keyHead, list);
  return at;
}

/** Tells the kernels what rows of keys (0) or values (1) are like. */
function describeRows(
  { kernels, space }: Call,
  index: number,
  { dtype, shape }: View,
  resident?: Resident,
): number {
  const bytes = bytesPerElement(dtype);
  const [, , row, element] = resident?.strides ?? [0, 0, shape[3] * bytes, bytes];
  return kernels.headRows(index, space.staging, element, storageOf[dtype], row);
}

/** Packs the keys of a head, and its values unless they are read in place. */
function packHead(
  call: Call,
  { k, v }: TensorKeys<View>,
  { segment, keyHead }: Run,
  head: Places,
): void {
  const { kernels, plan, residents, space } = call;
  const { dim, valueDim } = plan, place = plan.segments[segment], { keys, batch, firstKey } = place;
  const keyRows = describeRows(call, 0, k, residents.k);
  if (residents.k) {
    const at = headAt(residents.k, batch, keyHead) + firstKey * residents.k.strides[2];
    kernels.packKeys(keyRows, at, head.keys, dim, keys);
  } else {
    stageRows(call, k, place, keyHead, (from, count) => {
      kernels.packKeys(keyRows, space.staging, head.keys + from * dim * 4, dim, count);
    });
  }
  if (residents.inPlace) return;
  const columns = keys * 16, valueRows = describeRows(call, 1, v, residents.v);
  if (residents.v) {
    const at = headAt(residents.v, batch, keyHead) + firstKey * residents.v.strides[2];
    kernels.packValues(valueRows, at, head.values, columns, valueDim, keys);
  } else {
    stageRows(call, v, place, keyHead, (from, count) => {
      const target = head.values + from * 16;
      kernels.packValues(valueRows, space.staging, target, columns, valueDim, count);
    });
  }
}

/** Where the keys and values of a head are read. */
interface Heads {
  readonly k: number;
  readonly v: number;
  /** Bytes from one key's value to the next, and from four columns to the next. */
  readonly vKey: number;
  readonly vColumns: number;
}

function headOf({ plan, residents }: Call, { segment, keyHead }: Run, head: Places): Heads {
  const k = head.keys, { batch, firstKey, keys } = plan.segments[segment];
  if (!residents.v || !residents.inPlace) {
    return { k, v: head.values, vKey: 16, vColumns: keys * 16 };
  }
  const vKey = residents.v.strides[2];
  const v = headAt(residents.v, batch, keyHead) + firstKey * vKey;
  return { k, v, vKey, vColumns: 16 };
}

/** Brings a segment's rows of a head into linear memory, some at a time. */
function stageRows(
  { arena, space }: Call,
  view: View,
  { batch, firstKey, keys }: Segment,
  head: number,
  pack: (from: number, count: number) => void,
): void {
  const width = view.shape[3];
  for (let from = 0; from < keys; from += space.stagingRows) {
    const to = Math.min(from + space.stagingRows, keys);
    const staging = elementsOver(arena, space.staging, (to - from) * width, view.dtype);
    copyRowsIn(view, batch, head, firstKey + from, firstKey + to, staging);
    pack(from, to - from);
  }
}

/** Writes what is a job's own: a piece of a staged run, against one part of the keys. */
function writeJob(call: Call, record: JobRecord, run: Run, staged: StagedRun, piece: Piece): void {
  const { plan } = call, { offset } = plan.segments[run.segment];
  const firstKey = piece.part * keysPerPart;
  writeRows(record, staged, piece, piece.from - run.from);
  writeBand(record, plan.band, piece.from + offset - firstKey);
  if (staged.parts > 1) {
    record.set(
      job.panels,
      staged.panels + piece.part * panelBytes(call.needs.job, (run.to - run.from) * plan.group),
    );
  }
  writeKeys(call, record, run, staged, firstKey);
  if (call.hasTerms) writeTerms(plan, call.space, record, run, staged, piece);
  call.functions?.write(record, run, piece);
}

/** Writes which keys a job is against, from one on, and where they are. */
function writeKeys(
  { plan, integers }: Call,
  record: JobRecord,
  run: Run,
  staged: Pick<StagedRun, "parts" | "heads" | "pages" | "integers">,
  firstKey: number,
): void {
  const { keys } = plan.segments[run.segment], most = staged.parts === 1 ? keys : keysPerPart;
  writeHead(record, plan, staged.heads, firstKey);
  record.set(job.keys, Math.max(0, Math.min(most, keys - firstKey)));
  if (plan.kv.kind === "pages") {
    const list = staged.pages + firstKey / plan.kv.store.blockTokens * 4;
    writeBlocks(record, plan, plan.kv, run, list);
    const { kept } = plan.kv;
    record.set(job.kept, kept ? Math.max(0, kept.keepFirst - firstKey) : 0);
    record.set(job.gap, kept ? kept.dropped[run.segment] : 0);
  }
  if (staged.integers !== 0) integers!.write(record, staged.integers);
}

/** Writes where the queries of a piece are, the first so many positions behind the run's, and its results. */
export function writeRows(
  record: JobRecord,
  { queries, results }: Pick<StagedRun, "queries" | "results">,
  { member, from, to }: Pick<Piece, "member" | "from" | "to">,
  skipped: number,
): void {
  writeGroup(record, job.q, queries, member, skipped);
  writeGroup(record, job.out, results, member, skipped);
  const { lse, lseHead, lseRest } = results, ofLse = skipped * 4 + member * lseHead;
  record.set(job.lse, lse && lse + ofLse);
  record.set(job.lseHead, lseHead);
  record.set(job.lseRest, lseRest && lseRest + ofLse);
  record.set(job.positions, to - from);
}

/** Writes where the keys and values of a head are, from a key on. */
function writeHead(record: JobRecord, { dim }: HostPlan, heads: Heads, firstKey: number): void {
  record.set(job.k, heads.k + firstKey * dim * 4);
  record.set(job.v, heads.v + firstKey * heads.vKey);
  record.set(job.vKey, heads.vKey);
  record.set(job.vColumns, heads.vColumns);
}

/** Writes where the blocks of a cache are, by the address of a list of them, and what reads them. */
function writeBlocks(
  record: JobRecord,
  { segments, group, functions }: HostPlan,
  { store, pages }: CachedKeys<WasmPages>,
  run: Run,
  list: number,
): void {
  record.set(job.tokenBlocks, list);
  const rows = segments[run.segment].queries * group;
  record.set(job.decode, functions ? 0 : decodingOf(store, rows));
  record.set(job.means, store.meanAt(pages[run.segment][0], run.keyHead));
}

/** See `decode` of the job record. */
function decodingOf({ layout: { dtype } }: WasmPages, rows: number): number {
  if (rows === 1) return decoding.one;
  if (isQuantized(dtype)) return rows <= 8 ? decoding.each : 0;
  return rows <= 4 ? decoding.four : 0;
}

/** Where the kernel puts the rows of a run, and what it says of each; 0 for what is not asked for. */
export interface Results extends GroupRows {
  readonly lse: number;
  readonly lseHead: number;
  readonly lseRest: number;
}

/** Places of a run's results. */
type ResultPlaces = Pick<Places, "out" | "lse" | "lseRest">;

export function resultsOf(call: RunCall, run: Run, places: ResultPlaces): Results {
  const { target } = call;
  return {
    ...placeOut(call, run, places.out),
    lse: target.lse ? places.lse : 0,
    lseHead: (run.to - run.from) * 4,
    lseRest: target.lseRest ? places.lseRest : 0,
  };
}

/** Where the kernel writes the rows of a run: where they live, or else at an address. */
function placeOut({ plan, target, residents }: RunCall, run: Run, at: number): GroupRows {
  if (residents.out) return groupAt(plan, run, residents.out);
  const element = bytesPerElement(target.out.dtype), position = plan.valueDim * element;
  return { at, head: (run.to - run.from) * position, position, element };
}

/** Hands the results of a run to the caller's tensors outside linear memory. */
export function collectRun(
  { arena, plan, target, residents }: RunCall,
  { segment, keyHead, from, to }: Run,
  { out, lse, lseRest }: ResultPlaces,
): void {
  const { batch, firstQuery } = plan.segments[segment];
  for (let g = 0; g < plan.group; g++) {
    const collect = (view: View, at: number) => {
      const count = (to - from) * view.shape[3], skipped = g * count * bytesPerElement(view.dtype);
      const rows = elementsOver(arena, at + skipped, count, view.dtype);
      copyRowsOut(rows, view, batch, keyHead * plan.group + g, firstQuery + from, firstQuery + to);
    };
    if (!residents.out) collect(target.out, out);
    if (target.lse) collect(target.lse, lse);
    if (target.lseRest) collect(target.lseRest, lseRest);
  }
}

/** Merges what was split, and hands out the results. */
function collectWave(call: Call, { runs, places, records }: PlacedWave): void {
  let record = records;
  for (const [slot, run] of runs.entries()) {
    const { parts } = places[slot];
    if (parts > 1) call.kernels.combine(record, parts);
    record += parts * call.cut.members * job.bytes;
    collectRun(call, run, places[slot]);
  }
}
