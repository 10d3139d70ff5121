/**
 * Forward on Wasm: for each wave packs heads and stages queries, leaves the jobs to a team, and
 * hands out what they wrote.
 *
 * @module
 */

import { isQuantized } from "../../contract/pages.ts";
import {
  countRows,
  hasTerms,
  hasUncounted,
  type HostPlan,
} from "../../operations/attention/plan.ts";
import type { Segment } from "../../operations/attention/segments.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Kernels } from "../binary/kernels.ts";
import type { Arena } from "../memory/arena.ts";
import { elementsOver, locate, locateBias, type Resident } from "../memory/tensor.ts";
import type { WasmPages } from "../pages/pages.ts";
import {
  decoding,
  encodeJob,
  type IntegerFields,
  type Job,
  jobBytes,
  jobWords,
  keysPerPart,
  patchJob,
  storageOf,
  type Words,
} from "../record/job_record.ts";
import type { Batch } from "../team/team.ts";
import { runInTurn, type Step } from "../team/waves.ts";
import { type Cut, cutPlan, cutWave, type Piece, type Wave } from "./jobs.ts";
import { stageIntervals } from "./key_intervals.ts";
import {
  bandFields,
  biasOf,
  commonFields,
  commonFloats,
  headAt,
  type PlacedTerms,
  placeGroup,
  writeTerms,
} from "./records.ts";
import type { Run } from "./run.ts";
import { stageMask } from "./terms.ts";
import {
  type Elsewhere,
  panelBytes,
  type PlacedWave,
  type Places,
  placeWaves,
  takeWorkspace,
  type Workspace,
} from "./workspace.ts";

/** What forward runs on. */
export interface Machine {
  readonly kernels: Kernels;
  readonly arena: Arena;
  /** Threads that may take part. */
  readonly threads: number;
  /** Which micro-kernels: how many of four elements they splat while loading. */
  readonly splats: 0 | 1 | 4;
}

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

/** What the waves of a call have in common. */
interface Call {
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly plan: HostPlan;
  readonly cut: Cut;
  readonly target: HostTarget;
  readonly residents: Residents;
  readonly hasTerms: boolean;
  readonly where: Elsewhere;
  readonly space: Workspace;
  /** What all jobs have in common. */
  readonly job: Words;
}

/**
 * Runs a plan in steps; whoever iterates runs the jobs of each before asking for the next.
 *
 * Whatever ends the iteration, the call's memory is free again.
 */
export function* forward(machine: Machine, plan: HostPlan, target: HostTarget): Generator<Step> {
  if (countRows(plan) === 0) return;
  if (hasUncounted(plan)) clearUncounted(plan, target);
  const { kernels, arena } = machine;
  const residents = findResidents(plan, target, arena);
  const cut = cutPlan(plan, machine.threads);
  const where = {
    q: residents.q !== undefined,
    values: residents.inPlace,
    out: residents.out !== undefined,
    bias: residents.bias !== undefined,
    rest: !!target.lseRest,
  };
  const space = takeWorkspace(arena, plan, cut, where);
  try {
    const { slopes, sinks } = plan;
    if (slopes) elementsOver(arena, space.slopes, slopes.length, "f32").set(slopes);
    if (sinks) elementsOver(arena, space.sinks, sinks.length, "f32").set(sinks);
    const job = encodeJob(commonJob(machine, plan, target, cut), commonFloats(plan));
    yield* runWaves({
      ...{ kernels, arena, plan, cut, target, residents, where, space, job },
      hasTerms: hasTerms(plan),
    });
  } finally {
    space.free();
  }
}

/** Rows in no segment see nothing. */
function clearUncounted(
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
  const { plan, cut, where, space } = call;
  return runInTurn(placeWaves(plan, cut, where, space), {
    ahead: space.staged.length > 1,
    stage: (wave) => stageWave(call, wave),
    rows: (wave) => rowsOf(wave, plan),
    collect: (wave) => collectWave(call, wave),
  });
}

function rowsOf({ runs }: Wave, { group }: HostPlan): number {
  return runs.reduce((sum, { from, to }) => sum + (to - from) * group, 0);
}

function findResidents(plan: HostPlan, target: HostTarget, arena: Arena): Residents {
  const v = locate(plan.v, arena);
  return {
    q: locate(plan.q, arena),
    k: locate(plan.k, arena),
    v,
    inPlace: plan.paged !== null || (v !== undefined && canStay(plan, v)),
    out: locate(target.out, arena),
    bias: plan.bias === null ? undefined : locateBias(plan.bias, arena),
  };
}

/**
 * Whether values should be read where they are. The kernel reads four columns of each row at a time,
 * so these must be neighbours, and f32. Rows a multiple of 512 bytes apart fall into few sets of the
 * first cache: at D = 128 that costs 12 %, and packing them pays from some rows of queries on.
 */
function canStay({ v, valueDim, queries, group }: HostPlan, { strides }: Resident): boolean {
  const readable = v.dtype === "f32" && (strides[3] === 4 || valueDim === 1);
  return readable && (strides[2] % 512 !== 0 || queries * group <= 64);
}

function commonJob(
  { splats }: Machine,
  plan: HostPlan,
  target: HostTarget,
  cut: Cut,
): IntegerFields {
  return {
    ...(plan.paged && (plan.paged.store as WasmPages).fields),
    ...commonFields(splats, plan, cut),
    outStorage: storageOf[target.out.dtype],
  };
}

/** Packs and stages what a wave needs, and writes its job records. */
function stageWave(call: Call, wave: PlacedWave): Batch {
  const { arena, plan, cut, space } = call;
  const { records, places } = wave;
  const rows = wave.packs && plan.paged === null ? describeRows(call) : null;
  const runs = wave.runs.map((run, slot) => stageRun(call, rows, run, places[slot]));
  const memory = new Int32Array(arena.memory.buffer, records);
  const pieces = cutWave(wave, plan, cut);
  for (let index = 0; index < pieces.length; index++) {
    const { slot } = pieces[index];
    writeRecord(call, memory, index * jobWords, wave.runs[slot], runs[slot], pieces[index]);
  }
  return {
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
  readonly queries: Queries;
  readonly results: Results;
  readonly panels: number;
  /** Address of the list of its pages. */
  readonly pages: number | null;
}

/** Records of rows of keys and of values that are packed. */
interface PackedRows {
  readonly k: number;
  readonly v: number;
}

function stageRun(
  call: Call,
  rows: PackedRows | null,
  run: Run,
  places: Places,
): StagedRun {
  const { arena, plan } = call;
  if (rows !== null) packHead(call, rows, run, places);
  return {
    parts: places.parts,
    heads: headOf(call, run, places),
    queries: queriesOf(call, run, places),
    results: resultsOf(call, run, places),
    panels: places.panels,
    bias: plan.bias && biasOf(arena, plan, call.residents.bias, run, places.bias),
    mask: plan.mask && stageMask(arena, plan, run, places.mask),
    intervals: plan.blockMask && stageIntervals(arena, plan, run, places.intervals),
    pages: plan.paged && stagePages(call, run, places.pages),
  };
}

/** Writes the list of a run's blocks: where its head's part of each is. */
function stagePages({ arena, plan }: Call, { segment, keyHead }: Run, at: number): number {
  const { store, pages } = plan.paged!, { keys } = plan.segments[segment];
  const blocks = (store as WasmPages).countBlocks(keys);
  const list = new Uint32Array(arena.memory.buffer, at, blocks);
  (store as WasmPages).listBlocks(pages[segment], keyHead, list);
  return at;
}

/** Tells the kernels what rows of keys and of values are like, which is the same for all heads. */
function describeRows({ kernels, plan: { k, v }, residents, space }: Call): PackedRows {
  const describe = (index: number, { dtype, shape }: View, resident?: Resident) => {
    const bytes = bytesPerElement(dtype);
    const [, , row, element] = resident?.strides ?? [0, 0, shape[3] * bytes, bytes];
    return kernels.headRows(index, space.staging, element, storageOf[dtype], row);
  };
  return { k: describe(0, k, residents.k), v: describe(1, v, residents.v) };
}

/** Packs the keys of a head, and its values unless they are read in place. */
function packHead(call: Call, rows: PackedRows, { segment, keyHead }: Run, head: Places) {
  const { kernels, plan, residents, space } = call;
  const { dim, valueDim } = plan, place = plan.segments[segment], { keys, batch, firstKey } = place;
  if (residents.k) {
    const at = headAt(residents.k, batch, keyHead) + firstKey * residents.k.strides[2];
    kernels.packKeys(rows.k, at, head.keys, dim, keys);
  } else {
    stageRows(call, plan.k, place, keyHead, (from, count) => {
      kernels.packKeys(rows.k, space.staging, head.keys + from * dim * 4, dim, count);
    });
  }
  if (residents.inPlace) return;
  const columns = keys * 16;
  if (residents.v) {
    const at = headAt(residents.v, batch, keyHead) + firstKey * residents.v.strides[2];
    kernels.packValues(rows.v, at, head.values, columns, valueDim, keys);
  } else {
    stageRows(call, plan.v, place, keyHead, (from, count) => {
      const target = head.values + from * 16;
      kernels.packValues(rows.v, space.staging, target, columns, valueDim, count);
    });
  }
}

type Heads = Pick<Job, "k" | "v" | "vKey" | "vColumns">;

/** Where the keys and values of a head are read. */
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

type Queries = Pick<Job, "q" | "qHead" | "qPosition" | "qElement">;

/** Brings the queries of a run into linear memory unless they live there; says where they are. */
function queriesOf({ arena, plan, residents }: Call, run: Run, places: Places): Queries {
  const { at, head, position, element } = placeGroup(
    arena,
    plan,
    run,
    plan.q,
    residents.q,
    places.q,
  );
  return { q: at, qHead: head, qPosition: position, qElement: element };
}

/** Writes the record of one job: a piece of a staged run, against one part of the keys. */
function writeRecord(
  call: Call,
  memory: Int32Array,
  at: number,
  run: Run,
  staged: StagedRun,
  piece: Piece,
): void {
  const { plan, job } = call, { queries, results, heads } = staged;
  const skipped = piece.from - run.from, firstKey = piece.part * keysPerPart;
  const { keys, offset } = plan.segments[run.segment];
  memory.set(job, at);
  patchJob(memory, at, heads);
  patchJob(memory, at, queries);
  patchJob(memory, at, results);
  patchJob(memory, at, {
    q: queries.q + skipped * queries.qPosition + piece.member * queries.qHead,
    out: results.out + skipped * results.outPosition + piece.member * results.outHead,
    lse: results.lse && results.lse + skipped * 4 + piece.member * results.lseHead,
    lseRest: results.lseRest && results.lseRest + skipped * 4 + piece.member * results.lseHead,
    positions: piece.to - piece.from,
    ...bandFields(plan.band, piece.from + offset - firstKey),
    keys,
  });
  if (staged.pages !== null) {
    const skippedBlocks = firstKey / (plan.paged!.store as WasmPages).blockTokens;
    const decode = decodingOf(plan, run), { store, pages } = plan.paged!;
    const means = (store as WasmPages).meanAt(pages[run.segment][0], run.keyHead);
    patchJob(memory, at, { tokenBlocks: staged.pages + skippedBlocks * 4, decode, means });
  }
  if (call.hasTerms) writeTerms(plan, call.space, memory, at, run, staged, piece);
  if (staged.parts === 1) return;
  patchJob(memory, at, {
    k: heads.k + firstKey * plan.dim * 4,
    v: heads.v + firstKey * heads.vKey,
    keys: Math.max(0, Math.min(keysPerPart, keys - firstKey)),
    panels: staged.panels + piece.part * panelBytes(plan, (run.to - run.from) * plan.group),
  });
}

/** See `decode` of the job record. */
function decodingOf(plan: HostPlan, { segment }: Run): number {
  const rows = plan.segments[segment].queries * plan.group;
  if (rows === 1) return decoding.one;
  if (isQuantized(plan.paged!.store.layout.dtype)) return rows <= 8 ? decoding.each : 0;
  return rows <= 4 ? decoding.four : 0;
}

type Results = Pick<
  Job,
  "out" | "outHead" | "outPosition" | "outElement" | "lse" | "lseHead" | "lseRest"
>;

/** Where the kernel puts the results of a run. */
function resultsOf({ plan, target, residents }: Call, run: Run, places: Places): Results {
  const positions = run.to - run.from;
  const ofLse = {
    lse: target.lse ? places.lse : 0,
    lseHead: positions * 4,
    lseRest: target.lseRest ? places.lseRest : 0,
  };
  if (!residents.out) {
    const outElement = bytesPerElement(target.out.dtype), outPosition = plan.valueDim * outElement;
    const outHead = positions * outPosition;
    return { out: places.out, outHead, outPosition, outElement, ...ofLse };
  }
  const { batch, firstQuery } = plan.segments[run.segment];
  const [, outHead, outPosition, outElement] = residents.out.strides;
  const out = headAt(residents.out, batch, run.keyHead * plan.group) +
    (firstQuery + run.from) * outPosition;
  return { out, outHead, outPosition, outElement, ...ofLse };
}

/** Merges what was split, and hands the results to the caller's tensors outside linear memory. */
function collectWave(call: Call, wave: PlacedWave): void {
  const { kernels, arena, plan, target, residents } = call, { runs, places } = wave;
  let record = wave.records;
  for (const [slot, run] of runs.entries()) {
    const { segment, keyHead } = run, { batch, firstQuery } = plan.segments[segment];
    const from = firstQuery + run.from, to = firstQuery + run.to, { parts } = places[slot];
    if (parts > 1) kernels.combine(record, parts);
    record += parts * call.cut.members * jobBytes;
    for (let g = 0; g < plan.group; g++) {
      const head = keyHead * plan.group + g, { out, lse, lseRest } = places[slot];
      const collect = (view: View, at: number) => {
        const count = (to - from) * view.shape[3],
          skipped = g * count * bytesPerElement(view.dtype);
        const rows = elementsOver(arena, at + skipped, count, view.dtype);
        copyRowsOut(rows, view, batch, head, from, to);
      };
      if (!residents.out) collect(target.out, out);
      if (target.lse) collect(target.lse, lse);
      if (target.lseRest) collect(target.lseRest, lseRest);
    }
  }
}
