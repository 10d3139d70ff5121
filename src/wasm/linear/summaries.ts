/**
 * Summaries of blocks of rows on Wasm, and gradients through them.
 *
 * @module
 */

import { rowsFrom } from "../../operations/local_global/chunks.ts";
import type { Blocks } from "../../operations/local_global/tokens.ts";
import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import { type Extents, sizeOf, type View } from "../../tensor/tensor.ts";
import { roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { elementsOver, locate } from "../memory/tensor.ts";
import { JobRecord, storageOf } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { collectRows, type Place, placeRows, stageRows, writePlace } from "../rows/places.ts";
import { type Jobs, runsOf, runsOfAll, runStaged, wavesOf } from "../rows/staged.ts";
import { linearKernels, linearProgram } from "./program.ts";

/** Rows and their summaries; of gradients these by both, and where those of the rows go. */
export interface Summarized {
  /** Rows of any storage; of gradients those that the pool's need, else absent. */
  readonly x?: View;
  /** f32 in linear memory: copies of the rows, absent for none; of gradients those by the copies. */
  readonly rows?: View;
  /** The same of summaries; absent where rows are copied alone. */
  readonly summaries?: View;
  /** Of gradients: where those of the rows go. */
  readonly target?: View;
}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly kind: number;
  readonly blocks: Blocks<View>;
  /** What the pool is read from. */
  readonly pool: Pool;
  /** Threads that the work is enough for. */
  readonly threads: number;
}

/** The pool in linear memory, and its gradients' sums there, f64; 0 for none. */
interface Pool {
  readonly at: number;
  readonly element: number;
  readonly head: number;
  readonly sums: number;
}

/** Whole blocks of one head. */
interface Run extends Summarized, Rows {}

/** A run with its places. */
interface PlacedRun extends Run {
  readonly places: readonly Placed[];
  readonly dPool: number;
}

/** Rows of a run: the field that says where they are, and whether they are read or written. */
interface Placed {
  readonly field: number;
  readonly view: View;
  readonly place: Place;
  readonly rows: { readonly from: number; readonly to: number };
  readonly isWritten: boolean;
}

/** Elements of a job, some 30 us, and of a wave where rows pass through linear memory, and where they stay. */
const jobElements = 32 * 1024, stagedElements = 256 * 1024, residentElements = 8 * 1024 * 1024;

/** Summaries of rows. */
export function summarize(
  machine: Machine,
  blocks: Blocks<View>,
  all: readonly Summarized[],
): Generator<Step> {
  return withPool(machine, blocks, null, (pool) => {
    return runAll(
      { machine, kind: rowsKinds.summaries, blocks, pool, ...threadsFor(machine, all) },
      all,
    );
  });
}

/** Gradients of rows, and of the pool where there is a place for them. */
export function spread(
  machine: Machine,
  blocks: Blocks<View>,
  all: readonly Summarized[],
  dPool: View | null,
): Generator<Step> {
  return withPool(machine, blocks, dPool, (pool) => {
    const kind = rowsKinds.summariesBackward;
    return runAll({ machine, kind, blocks, pool, ...threadsFor(machine, all) }, all);
  });
}

function threadsFor({ threads }: Machine, all: readonly Summarized[]) {
  const elements = all.reduce((sum, one) => sum + sizeOf(shapeOf(one)), 0);
  return { threads: elements > 2 * jobElements ? threads : 1 };
}

/** Bytes of a head's sums: kernels clear whole vectors. */
function sumBytes(block: number): number {
  return roundUp((block + 1) * 8, 64);
}

/** Does something with the pool in linear memory, then hands out its gradients. */
function* withPool(
  machine: Machine,
  { block, pool }: Blocks<View>,
  dPool: View | null,
  act: (pool: Pool) => Iterable<Step>,
): Generator<Step> {
  if (pool === null) {
    yield* act({ at: 0, element: 0, head: 0, sums: 0 });
    return;
  }
  const { arena } = machine,
    space = new Placer(0),
    heads = pool.shape[1],
    resident = locate(pool, arena);
  const bytes = bytesPerElement(pool.dtype), row = block * bytes;
  const staged = space.place(resident ? 0 : heads * row);
  const sums = space.place(heads * sumBytes(block)), base = arena.allocateZeroed(space.end + 64);
  try {
    if (!resident) {
      for (let head = 0; head < heads; head++) {
        copyRowsIn(
          pool,
          0,
          head,
          0,
          1,
          elementsOver(arena, base + staged + head * row, block, pool.dtype),
        );
      }
    }
    const [, head, , element] = resident?.strides ?? [0, row, 0, bytes];
    yield* act({
      ...{ at: resident?.at ?? base + staged, element, head: heads === 1 ? 0 : head },
      sums: dPool === null ? 0 : base + sums,
    });
    if (dPool !== null) storePool(machine, dPool, base + sums);
  } finally {
    arena.free(base);
  }
}

/** Sums of a pool's gradients become the result. */
function storePool(machine: Machine, dPool: View, sums: number): void {
  const { arena, kernels } = machine, { shape: [, heads, , block], dtype } = dPool;
  for (let head = 0; head < heads; head++) {
    const at = sums + head * sumBytes(block);
    linearKernels(machine).narrowDoubles(at, block);
    if (dtype !== "f32") kernels.storeRow(storageOf[dtype], at, at, block);
    copyRowsOut(elementsOver(arena, at, block, dtype), dPool, 0, head, 0, 1);
  }
}

function shapeOf({ rows, x }: Summarized): Extents {
  return (rows ?? x!).shape;
}

function columnsOf(rows: Summarized): number {
  return shapeOf(rows)[3];
}

/** Elements of a run. */
function elementsOf(run: Run): number {
  return (run.to - run.from) * columnsOf(run);
}

/** Rows of a job: whole blocks. */
function rowsPerJob(rows: Summarized, block: number): number {
  return Math.max(1, Math.floor(jobElements / Math.max(1, columnsOf(rows) * block))) * block;
}

/** Stages each wave, lets it run, and collects it. */
function runAll(call: Call, all: readonly Summarized[]): Generator<Step> {
  const { machine, threads, blocks: { block } } = call;
  const stays = all.every(({ x, target }) =>
    [x, target].every((view) => view === undefined || locate(view, machine.arena))
  );
  const runs = runsOfAll(all, (piece) => runsOf(shapeOf(piece), rowsPerJob(piece, block)));
  return runStaged(wavesOf(runs, elementsOf, stays ? residentElements : stagedElements), {
    ...{ machine, threads, program: linearProgram(machine) },
    place: (wave) => placeWave(call, wave),
    rows: () => 0,
  });
}

function placeWave(call: Call, wave: readonly Run[]): { space: Placer; jobs: Jobs } {
  const space = new Placer(0), runs = wave.map((run) => placeRun(call, run, space));
  const jobs: Jobs = {
    ...{ count: runs.length, scratch: scratchOf(call, wave) },
    write: (index, block, record) => stageRun(call, runs[index], block, record),
    collect({ at }) {
      for (const run of runs) collectRun(call, run, at);
    },
  };
  return { space, jobs };
}

/** Tile memory that each thread needs. */
function scratchOf({ machine, kind, blocks: { block } }: Call, wave: readonly Run[]): number {
  const { kernels, arena } = machine, at = kernels.callRecord();
  const record = new JobRecord(new Int32Array(arena.memory.buffer), at / 4);
  record.set(field.summariesKind, kind);
  record.set(field.summariesBlock, block);
  record.set(
    field.summariesColumns,
    Math.max(...wave.map(columnsOf)),
  );
  return linearKernels(machine).scratchBytes(at) >>> 0;
}

/** Finds the places of a run's rows, or reserves them. */
function placeRun(call: Call, run: Run, space: Placer): PlacedRun {
  const { machine: { arena }, blocks: { block }, kind, pool } = call;
  const { batch, head, from, to, x, rows, summaries, target } = run, places: Placed[] = [];
  const isBack = kind === rowsKinds.summariesBackward;
  const place = (at: number, view: View | undefined, isWritten: boolean, by = 1) => {
    if (view === undefined) return;
    const part = { from: from / by, to: Math.ceil(to / by) };
    const found = placeRows(view, { batch, head, ...part }, arena, space);
    places.push({ field: at, view, place: found, rows: part, isWritten });
  };
  place(field.summariesX, x, false);
  place(field.summariesY, rows, !isBack);
  place(field.summariesS, summaries, !isBack, block);
  place(field.summariesTarget, target, true);
  return { ...run, places, dPool: space.place(pool.sums === 0 ? 0 : sumBytes(block)) };
}

/** Brings what a run reads into linear memory, and writes its record. */
function stageRun(call: Call, run: PlacedRun, base: number, at: number): void {
  const { machine: { arena }, kind, blocks: { block, pool: given }, pool } = call;
  const { batch, head, places, from, to } = run;
  const record = new JobRecord(new Int32Array(arena.memory.buffer), at / 4);
  record.set(field.summariesKind, kind);
  const { summariesX, summariesY, summariesS, summariesTarget } = field;
  for (const absent of [summariesX, summariesY, summariesS, summariesTarget]) record.set(absent, 0);
  for (const { field, place, view, rows, isWritten } of places) {
    if (!isWritten) stageRows(place, view, { batch, head, ...rows }, arena, base);
    writePlace(record, field, place, base);
  }
  record.set(field.summariesPool, pool.at && pool.at + head * pool.head);
  record.set(field.summariesPoolElement, pool.element);
  record.set(field.summariesPoolStorage, given === null ? 0 : storageOf[given.dtype]);
  record.set(field.summariesDPool, pool.sums && base + run.dPool);
  record.set(field.summariesRows, to - from);
  record.set(field.summariesColumns, columnsOf(run));
  record.set(field.summariesBlock, block);
}

/** Hands out what a run wrote, and adds up what it says of the pool. */
function collectRun(call: Call, run: PlacedRun, base: number): void {
  const { machine, blocks: { block, pool: given }, pool } = call, { batch, head } = run;
  for (const { place, view, rows, isWritten } of run.places) {
    if (isWritten) collectRows(place, view, { batch, head, ...rows }, machine.arena, base);
  }
  if (pool.sums === 0) return;
  const sums = pool.sums + (given!.shape[1] === 1 ? 0 : head) * sumBytes(block);
  linearKernels(machine).addDoubles(sums, base + run.dPool, block);
}

/** Summaries, which come first, and rows among what a call makes. */
export function partsOf(
  made: View,
  { summaries, padded }: { readonly summaries: number; readonly padded: number },
): { readonly summaries: View; readonly rows: View } {
  return { summaries: rowsFrom(made, 0, summaries), rows: rowsFrom(made, padded, made.shape[2]) };
}
