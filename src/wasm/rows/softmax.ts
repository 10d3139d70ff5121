/**
 * Softmax, its logarithms and their gradients on Wasm: rows where they are, or some at a time on their way through
 * linear memory.
 *
 * @module
 */

import type {
  SoftmaxBackwardPiece,
  SoftmaxPiece,
  SoftmaxPlan,
} from "../../operations/softmax/tokens.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import type { MaskView, View } from "../../tensor/tensor.ts";
import { copyMaskRow, maskRowBytes } from "../memory/mask_rows.ts";
import type { Arena } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows as HeadRows } from "../memory/rows.ts";
import { locate } from "../memory/tensor.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds, softmaxResults } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf } from "../team/programs.ts";
import type { Step } from "../team/steps.ts";
import { collectRows, type Place, placeRows, stageRows, writePlace } from "./places.ts";
import { rowKernels } from "./program.ts";
import { type Jobs, runsOf, runsOfAll, runStaged, wavesOf } from "./staged.ts";

/** Elements of a job: some 15 us, enough for threads to share; one alone has fewer and larger ones. */
const jobElements = 32 * 1024, jobElementsAlone = 8 * jobElements;

/** Elements of a wave where rows pass through linear memory, and where they stay: some ms. */
const stagedElements = 256 * 1024, residentElements = 8 * 1024 * 1024;

/** Tensors of some rows, of a call in either direction. */
interface Rows {
  /** `x`; of gradients results, and the gradients by them. */
  readonly reads: readonly View[];
  readonly out: View;
  readonly mask: MaskView | null;
}

/** Some rows of one head. */
interface Run extends Rows, HeadRows {}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly kind: number;
  readonly plan: SoftmaxPlan;
  /** Threads that the work is enough for. */
  readonly threads: number;
}

/** A run with the places of its rows. */
interface PlacedRun extends Run {
  readonly places: readonly Place[];
  readonly written: Place;
  /** Where its mask is staged, and bytes from one row to the next; absent where it has none. */
  readonly maskPlace?: { readonly at: number; readonly row: number };
}

/** Fields that say where rows are, from the first on: of what is read, and of what is written. */
const readFields = [field.softmaxX, field.softmaxG], writeField = field.softmaxY;

/** Softmax or one of its logarithms. */
export function softmaxRows(
  machine: Machine,
  plan: SoftmaxPlan,
  pieces: readonly SoftmaxPiece<View>[],
): Iterable<Step> {
  const rows = pieces.map(({ x, out, mask }): Rows => ({ reads: [x], out, mask }));
  return runRows(callOf(machine, rowsKinds.softmax, plan, rows), rows);
}

/** Gradients of them. */
export function softmaxGradients(
  machine: Machine,
  plan: SoftmaxPlan,
  pieces: readonly SoftmaxBackwardPiece[],
): Iterable<Step> {
  const rows = pieces.map(({ y, dOut, dx }): Rows => ({ reads: [y, dOut], out: dx, mask: null }));
  return runRows(callOf(machine, rowsKinds.softmaxBackward, plan, rows), rows);
}

function callOf(machine: Machine, kind: number, plan: SoftmaxPlan, [first]: readonly Rows[]): Call {
  const elements = plan.rows * (first?.reads[0].shape[3] ?? 0);
  return { machine, kind, plan, threads: elements > jobElements ? machine.threads : 1 };
}

/** Rows of a job. */
function rowsPerJob(threads: number, columns: number): number {
  const most = threads === 1 ? jobElementsAlone : jobElements;
  return Math.max(1, Math.floor(most / Math.max(1, columns)));
}

/** Elements of a run. */
function elementsOf({ reads: [{ shape }], from, to }: Run): number {
  return (to - from) * shape[3];
}

/** Stages each wave, lets it run, and collects it. */
function runRows(call: Call, pieces: readonly Rows[]): Generator<Step> {
  const { machine, threads } = call, { arena } = machine;
  const most = rowsPerJob(threads, pieces[0]?.reads[0].shape[3] ?? 0);
  const stays = pieces.every(({ reads, out }) =>
    [...reads, out].every((view) => locate(view, arena))
  );
  const runs = runsOfAll(pieces, ({ reads: [{ shape }] }) => runsOf(shape, most));
  return runStaged(wavesOf(runs, elementsOf, stays ? residentElements : stagedElements), {
    ...{ machine, threads, program: numberOf(machine, "rows") },
    place: (wave) => placeWave(call, wave),
    rows: (wave) => wave.reduce((sum, { from, to }) => sum + to - from, 0),
  });
}

function placeWave(call: Call, wave: readonly Run[]): { space: Placer; jobs: Jobs } {
  const { arena } = call.machine, space = new Placer(0);
  const runs = wave.map((run) => placeRun(call, run, space));
  const jobs: Jobs = {
    ...{ count: runs.length, scratch: scratchOf(call, wave) },
    write: (index, block, record) => stageRun(call, runs[index], block, record),
    collect({ at }) {
      for (const run of runs) collectRows(run.written, run.out, run, arena, at);
    },
  };
  return { space, jobs };
}

/** Tile memory that each thread needs: all jobs have rows of one length. */
function scratchOf({ machine, kind }: Call, [{ reads }]: readonly Run[]): number {
  const at = machine.kernels.callRecord();
  const record = new JobRecord(new Int32Array(machine.arena.memory.buffer), at / 4);
  record.set(field.softmaxKind, kind);
  record.set(field.softmaxColumns, reads[0].shape[3]);
  return rowKernels(machine).scratchBytes(at) >>> 0;
}

/** Finds the places of a run's rows, or reserves them. */
function placeRun({ machine: { arena } }: Call, run: Run, space: Placer): PlacedRun {
  const { reads, out, mask, from, to } = run;
  const places = reads.map((view) => placeRows(view, run, arena, space));
  const written = placeRows(out, run, arena, space);
  if (mask === null) return { ...run, places, written };
  const row = maskRowBytes(mask, reads[0].shape[3]), isOne = mask.strides[2] === 0;
  const maskPlace = { at: space.place(isOne ? row : row * (to - from)), row: isOne ? 0 : row };
  return { ...run, places, written, maskPlace };
}

/** Brings what a run reads into linear memory, and writes its record. */
function stageRun(call: Call, run: PlacedRun, base: number, at: number): void {
  const { machine: { arena }, kind, plan: { what, scale } } = call;
  const { reads, places, written, mask, maskPlace, from, to } = run;
  for (const [index, view] of reads.entries()) stageRows(places[index], view, run, arena, base);
  if (maskPlace) stageMask(arena, run, base + maskPlace.at);
  const record = new JobRecord(new Int32Array(arena.memory.buffer), at / 4);
  record.set(field.softmaxKind, kind);
  record.set(field.softmaxWhat, softmaxResults[what]);
  for (const [index, place] of places.entries()) writePlace(record, readFields[index], place, base);
  writePlace(record, writeField, written, base);
  record.set(field.softmaxRows, to - from);
  record.set(field.softmaxColumns, reads[0].shape[3]);
  record.setFloat(field.softmaxScale, scale);
  record.set(field.softmaxMask, maskPlace ? base + maskPlace.at : 0);
  record.set(field.softmaxMaskRow, maskPlace?.row ?? 0);
  record.set(field.softmaxMaskIsBits, Number(mask?.dtype === "bit"));
}

/** Brings the mask of a run into linear memory; one row where all have the same. */
function stageMask(arena: Arena, run: PlacedRun, at: number): void {
  const { batch, head, from, to, maskPlace } = run, mask = run.mask!, { offset, strides } = mask;
  const columns = run.reads[0].shape[3], bytes = maskRowBytes(mask, columns);
  const data = (mask.data as HeldArray<Uint8Array | Uint32Array>).now();
  for (let row = from; row < (maskPlace!.row === 0 ? from + 1 : to); row++, at += bytes) {
    const element = offset + batch * strides[0] + head * strides[1] + row * strides[2];
    copyMaskRow(mask, data, element, columns, new Uint8Array(arena.memory.buffer, at, bytes));
  }
}
