/**
 * Forward on Wasm: for each wave packs heads and stages queries, leaves the jobs to a team, and
 * hands out what they wrote.
 *
 * @module
 */

import type { HostTarget } from "../backend.ts";
import { bytesPerElement, type Elements, zerosLike } from "../dtype.ts";
import { countRows, type HostPlan, keysOfBatch } from "../plan.ts";
import { copyRowsIn, copyRowsOut } from "../rows.ts";
import type { View } from "../tensor.ts";
import type { Arena } from "./arena.ts";
import {
  encodeJob,
  type IntegerFields,
  type Job,
  jobBytes,
  jobWords,
  open,
  patchJob,
  storageOf,
  type Words,
} from "./job_record.ts";
import {
  type Cut,
  cutPlan,
  cutWave,
  keysPerPart,
  type Piece,
  type Run,
  type Wave,
  wavesOf,
} from "./jobs.ts";
import type { Kernels } from "./module.ts";
import { elementsOver, locate, type Resident } from "./staging.ts";
import type { Batch } from "./team.ts";
import { type PackedHeads, type StagedRows, takeWorkspace, type Workspace } from "./workspace.ts";

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
}

/** What the waves of a call have in common. */
interface Call {
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly plan: HostPlan;
  readonly cut: Cut;
  readonly target: HostTarget;
  readonly residents: Residents;
  readonly space: Workspace;
  /** What all jobs have in common. */
  readonly job: Words;
}

/** A wave, and its places in the workspace. */
interface PlacedWave extends Wave {
  readonly packed: PackedHeads;
  readonly staged: StagedRows;
}

/** Jobs to be run before the next step, and the query rows that are finished then. */
export interface Step {
  readonly batch: Batch;
  readonly rows: number;
}

/**
 * Runs a plan in steps; whoever iterates runs the jobs of each before asking for the next.
 *
 * Whatever ends the iteration, the call's memory is free again.
 */
export function* forward(machine: Machine, plan: HostPlan, target: HostTarget): Generator<Step> {
  if (countRows(plan) === 0) return;
  if (plan.keys === 0) return fillUnseen(target);
  const { kernels, arena } = machine;
  // Found before the workspace is taken: growing the memory detaches the callers' views of it.
  const residents = findResidents(plan, target, arena);
  const cut = cutPlan(plan, machine.threads);
  const space = takeWorkspace(arena, plan, cut, {
    q: residents.q !== undefined,
    values: residents.inPlace,
    out: residents.out !== undefined,
  });
  try {
    const job = encodeJob(commonJob(machine, plan, target, cut), plan.scale * Math.LOG2E);
    yield* runWaves({ kernels, arena, plan, cut, target, residents, space, job });
  } finally {
    space.free();
  }
}

/** Every wave of a call; waves that follow one another have different places if there are two. */
function* placeWaves({ plan, cut, space }: Call): Generator<PlacedWave> {
  const { packed, staged } = space;
  let wavesStaged = 0, wavesPacked = 0;
  for (const wave of wavesOf(plan, cut)) {
    if (wave.packs) wavesPacked++;
    yield {
      ...wave,
      packed: packed[wavesPacked % packed.length],
      staged: staged[wavesStaged++ % staged.length],
    };
  }
}

/**
 * Stages each wave, lets it run, and collects it. Where the workspace has two places, one is staged,
 * and the one before collected, while another runs: only the calling thread can do that, and the
 * others would wait for it.
 */
function* runWaves(call: Call): Generator<Step> {
  const waves = placeWaves(call), ahead = call.space.staged.length > 1;
  const staged: { wave: PlacedWave; batch: Batch }[] = [], finished: PlacedWave[] = [];
  const prepare = () => {
    for (const wave of finished.splice(0)) collectWave(call, wave);
    const { value: wave, done } = waves.next();
    if (!done) staged.push({ wave, batch: stageWave(call, wave) });
  };
  for (prepare(); staged.length > 0;) {
    const { wave, batch } = staged.shift()!;
    yield {
      batch: ahead ? { ...batch, meanwhile: prepare } : batch,
      rows: rowsOf(wave, call.plan),
    };
    finished.push(wave);
    if (staged.length === 0) prepare();
  }
}

function rowsOf({ runs }: Wave, { group }: HostPlan): number {
  return runs.reduce((sum, { from, to }) => sum + (to - from) * group, 0);
}

/** No key at all: every row gives 0 and -inf. */
function fillUnseen(target: HostTarget): void {
  const fill = (view: View, value: number) => {
    const [batch, heads, rows, columns] = view.shape;
    const row = zerosLike(view.data, rows * columns).fill(value) as Elements;
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) copyRowsOut(row, view, b, h, 0, rows);
    }
  };
  fill(target.out, 0);
  if (target.lse) fill(target.lse, -Infinity);
}

function findResidents(plan: HostPlan, target: HostTarget, arena: Arena): Residents {
  const v = locate(plan.v, arena);
  return {
    q: locate(plan.q, arena),
    k: locate(plan.k, arena),
    v,
    inPlace: v !== undefined && canStay(plan, v),
    out: locate(target.out, arena),
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
  { tiles }: Cut,
): IntegerFields {
  const { dim, valueDim, group, keys, band } = plan;
  return {
    qStorage: storageOf[plan.q.dtype],
    outStorage: storageOf[target.out.dtype],
    lsePosition: 4,
    group,
    keys,
    dim,
    valueDim,
    tileRows: tiles.rows,
    tileKeys: tiles.keys,
    splats,
    bandLeft: Math.min(band.left, open),
    bandRight: Math.min(band.right, open),
  };
}

/** Packs and stages what a wave needs, and writes its job records. */
function stageWave(call: Call, wave: PlacedWave): Batch {
  const { arena, plan, cut, space } = call;
  const { packed, staged } = wave;
  const runs = wave.runs.map((run, slot): StagedRun => {
    const head = {
      keys: packed.keys + slot * space.keysStride,
      values: packed.values + slot * space.valuesStride,
    };
    if (wave.packs) packHead(call, run, head);
    return {
      heads: headOf(call, run, head),
      queries: stageQueries(call, run, slot, staged),
      results: resultsOf(call, run, slot, staged),
    };
  });
  const memory = new Int32Array(arena.memory.buffer, staged.records);
  const pieces = cutWave(wave, plan.group, cut);
  for (let index = 0; index < pieces.length; index++) {
    const { slot, part } = pieces[index];
    const panels = staged.panels + (slot * cut.parts + part) * space.panelsStride;
    const record = { at: index * jobWords, panels };
    writeRecord(call, memory, record, wave.runs[slot], runs[slot], pieces[index]);
  }
  return {
    threads: cut.threads,
    records: staged.records,
    count: pieces.length,
    scratch: space.scratch,
    scratchStride: space.scratchStride,
  };
}

/** Where the keys and values, the queries and the results of a run are. */
interface StagedRun {
  readonly heads: Heads;
  readonly queries: Queries;
  readonly results: Results;
}

/** Packs the keys of a head, and its values unless they are read in place. */
function packHead(call: Call, { batch, keyHead }: Run, head: PackedHeads): void {
  const { kernels, plan, residents, space } = call;
  const { keys, dim, valueDim } = plan;
  const kStorage = storageOf[plan.k.dtype], vStorage = storageOf[plan.v.dtype];
  if (residents.k) {
    const { strides } = residents.k;
    const at = headAt(residents.k, batch, keyHead);
    kernels.packKeys(kStorage, at, strides[2], strides[3], head.keys, dim, keys);
  } else {
    stageRows(call, plan.k, batch, keyHead, (from, count, bytes) => {
      const target = head.keys + from * dim * 4;
      kernels.packKeys(kStorage, space.staging, dim * bytes, bytes, target, dim, count);
    });
  }
  if (residents.inPlace) return;
  const columns = keys * 16;
  if (residents.v) {
    const [, , row, element] = residents.v.strides;
    const at = headAt(residents.v, batch, keyHead);
    kernels.packValues(vStorage, at, row, element, head.values, columns, valueDim, keys);
  } else {
    stageRows(call, plan.v, batch, keyHead, (from, count, bytes) => {
      const target = head.values + from * 16, row = valueDim * bytes;
      kernels.packValues(vStorage, space.staging, row, bytes, target, columns, valueDim, count);
    });
  }
}

type Heads = Pick<Job, "k" | "v" | "vKey" | "vColumns">;

/** Where the keys and values of a head are read. */
function headOf({ plan, residents }: Call, { batch, keyHead }: Run, head: PackedHeads): Heads {
  const k = head.keys;
  if (!residents.v || !residents.inPlace) {
    return { k, v: head.values, vKey: 16, vColumns: plan.keys * 16 };
  }
  const v = headAt(residents.v, batch, keyHead);
  return { k, v, vKey: residents.v.strides[2], vColumns: 16 };
}

function headAt({ at, strides }: Resident, batch: number, head: number): number {
  return at + batch * strides[0] + head * strides[1];
}

/** Brings the rows of a head into linear memory, some at a time. */
function stageRows(
  { arena, space }: Call,
  view: View,
  batch: number,
  head: number,
  pack: (from: number, count: number, bytes: number) => void,
): void {
  const [, , rows, width] = view.shape;
  const bytes = bytesPerElement(view.dtype);
  for (let from = 0; from < rows; from += space.stagingRows) {
    const to = Math.min(from + space.stagingRows, rows);
    const staging = elementsOver(arena, space.staging, (to - from) * width, view.dtype);
    copyRowsIn(view, batch, head, from, to, staging);
    pack(from, to - from, bytes);
  }
}

type Queries = Pick<Job, "q" | "qHead" | "qPosition" | "qElement">;

/** Brings the queries of a run into linear memory unless they live there; says where they are. */
function stageQueries(call: Call, run: Run, slot: number, staged: StagedRows): Queries {
  const { arena, plan, residents } = call;
  const firstHead = run.keyHead * plan.group;
  if (residents.q) {
    const [, qHead, qPosition, qElement] = residents.q.strides;
    const q = headAt(residents.q, run.batch, firstHead) + run.from * qPosition;
    return { q, qHead, qPosition, qElement };
  }
  const length = (run.to - run.from) * plan.dim;
  const qElement = bytesPerElement(plan.q.dtype), qHead = length * qElement;
  const q = staged.q + slot * plan.group * qHead;
  for (let g = 0; g < plan.group; g++) {
    const rows = elementsOver(arena, q + g * qHead, length, plan.q.dtype);
    copyRowsIn(plan.q, run.batch, firstHead + g, run.from, run.to, rows);
  }
  return { q, qHead, qPosition: plan.dim * qElement, qElement };
}

/** Writes the record of one job: a piece of a staged run, against one part of the keys. */
function writeRecord(
  { plan, cut, job }: Call,
  memory: Int32Array,
  { at, panels }: { readonly at: number; readonly panels: number },
  run: Run,
  { heads, queries, results }: StagedRun,
  piece: Piece,
): void {
  const skipped = piece.from - run.from;
  const firstKey = piece.part * keysPerPart;
  memory.set(job, at);
  patchJob(memory, at, heads);
  patchJob(memory, at, queries);
  patchJob(memory, at, results);
  patchJob(memory, at, {
    q: queries.q + skipped * queries.qPosition,
    out: results.out + skipped * results.outPosition,
    lse: results.lse && results.lse + skipped * 4,
    positions: piece.to - piece.from,
    diagonal: clampOffset(piece.from + plan.offsets[run.batch] - firstKey),
    keys: keysOfBatch(plan, run.batch),
  });
  if (cut.parts === 1) return;
  patchJob(memory, at, {
    k: heads.k + firstKey * plan.dim * 4,
    v: heads.v + firstKey * heads.vKey,
    keys: Math.max(0, Math.min(keysPerPart, keysOfBatch(plan, run.batch) - firstKey)),
    panels,
  });
}

type Results = Pick<Job, "out" | "outHead" | "outPosition" | "outElement" | "lse" | "lseHead">;

/** Where the kernel puts the results of a run. */
function resultsOf(call: Call, run: Run, slot: number, staged: StagedRows): Results {
  const { plan, target, residents } = call;
  const positions = run.to - run.from;
  const first = slot * plan.group * positions;
  const lse = target.lse ? staged.lse + first * 4 : 0, lseHead = positions * 4;
  if (!residents.out) {
    const outElement = bytesPerElement(target.out.dtype), outPosition = plan.valueDim * outElement;
    const out = staged.out + first * outPosition;
    return { out, outHead: positions * outPosition, outPosition, outElement, lse, lseHead };
  }
  const [, outHead, outPosition, outElement] = residents.out.strides;
  const out = headAt(residents.out, run.batch, run.keyHead * plan.group) + run.from * outPosition;
  return { out, outHead, outPosition, outElement, lse, lseHead };
}

/** Merges what was split, and hands the results to the caller's tensors outside linear memory. */
function collectWave(call: Call, { runs, staged }: PlacedWave): void {
  const { kernels, arena, plan, cut, target, residents } = call;
  for (const [slot, { batch, keyHead, from, to }] of runs.entries()) {
    if (cut.parts > 1) kernels.merge(staged.records + slot * cut.parts * jobBytes, cut.parts);
    for (let g = 0; g < plan.group; g++) {
      const head = keyHead * plan.group + g;
      const first = (slot * plan.group + g) * (to - from);
      const collect = (view: View, at: number) => {
        const width = view.shape[3], skipped = first * width * bytesPerElement(view.dtype);
        const rows = elementsOver(arena, at + skipped, (to - from) * width, view.dtype);
        copyRowsOut(rows, view, batch, head, from, to);
      };
      if (!residents.out) collect(target.out, staged.out);
      if (target.lse) collect(target.lse, staged.lse);
    }
  }
}

/** Offsets beyond any number of keys mean the same as far ones, which fit 32 bits. */
function clampOffset(offset: number): number {
  return Math.max(-(2 ** 30), Math.min(offset, 2 ** 30));
}
