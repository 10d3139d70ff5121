/**
 * Convolutions and their gradients on Wasm: rows where they are, or some at a time, with those around them, on their way
 * through linear memory.
 *
 * @module
 */

import { type HostConvolutionPlan, isShared } from "../../operations/convolution/plan.ts";
import { sizeOf, type View } from "../../tensor/tensor.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { locate } from "../memory/tensor.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { collectRows, type Place, placeRows, stageRows, writePlace } from "../rows/places.ts";
import { type Block, type Jobs, runsOf, runStaged, wavesOf } from "../rows/staged.ts";
import { linearKernels, linearProgram } from "./program.ts";

/** Elements of a job: some 30 us. */
const jobElements = 32 * 1024;

/** Elements of a wave where rows pass through linear memory, and products of one where they stay: some ms. */
const stagedElements = 256 * 1024, residentProducts = 2 ** 28;

/** Products that are worth more threads than one. */
const sharedProducts = 2 ** 20;

/** Words of a record behind its last place. */
const recordEnd = field.convolutionPartial + 1;

/** Rows that are written of rows around them: a convolution, the same with turned taps, or gradients by taps. */
export interface Pass {
  readonly machine: Machine;
  readonly kind: number;
  readonly width: number;
  readonly lead: number;
  readonly isTurned: boolean;
  readonly isShared: boolean;
  /** What taps are on. */
  readonly x: View;
  readonly weights: View;
  /** Gradients by results, where those by taps are asked for. */
  readonly g: View | null;
  readonly before: View | null;
  readonly after: View | null;
  /** What is written; `null` where only sums are. */
  readonly out: View | null;
  /** Room for sums that a job leaves, and who takes them when a wave has run; `null` where there are none. */
  readonly sums: {
    readonly bytes: number;
    add(run: Rows, partial: number, scratch: number, record: number): void;
  } | null;
}

/** Rows of one tensor that a job reads or writes. */
interface Part {
  readonly view: View;
  readonly rows: Rows;
  /** The first field that says where they are. */
  readonly field: number;
  readonly isWritten: boolean;
  readonly place: Place;
}

/** A job: rows of one head, with the places of all that belongs to them. */
interface Job {
  readonly run: Rows;
  readonly parts: readonly Part[];
  /** Where its sums go, from the begin of the block. */
  readonly sums: number;
}

/** A convolution. */
export function convolve(
  machine: Machine,
  plan: HostConvolutionPlan,
  out: View,
): Iterable<Step> {
  const { width, lead, v, weights, before, after } = plan;
  return runPass({
    ...{ machine, kind: rowsKinds.convolution, width, lead, isTurned: false },
    ...{ isShared: isShared(plan), x: v, weights, g: null, before, after, out, sums: null },
  });
}

/** Rows of a job: far more than are around them, unless these are very long. */
function rowsPerJob({ x, width }: Pass): number {
  const columns = x.shape[3], least = Math.min(4 * width, Math.ceil(2 ** 20 / columns));
  return Math.max(least, Math.floor(jobElements / columns), 1);
}

/** Rows of a wave. */
function rowsPerWave({ machine: { arena }, x, weights, g, out, width }: Pass): number {
  const views = [x, ...[weights, g, out].filter((view) => view !== null)];
  const elements = x.shape[3] + width;
  return views.every((view) => locate(view, arena))
    ? residentProducts / (elements * width)
    : stagedElements / elements;
}

/** Rows of a run. */
function countOf({ from, to }: Rows): number {
  return to - from;
}

/** Stages each wave, lets it run, and collects it. */
export function runPass(pass: Pass): Generator<Step> {
  const { machine, x } = pass, runs = runsOf(x.shape, rowsPerJob(pass));
  return runStaged(wavesOf(runs, countOf, rowsPerWave(pass)), {
    ...{ machine, threads: threadsOf(pass), program: linearProgram(machine) },
    place: (wave) => placeWave(pass, wave),
    rows: (wave) => wave.reduce((sum, run) => sum + countOf(run), 0),
  });
}

function placeWave(pass: Pass, wave: readonly Rows[]): { space: Placer; jobs: Jobs } {
  const space = new Placer(0);
  const placed = wave.map((run): Job => {
    const sums = space.place(pass.sums?.bytes ?? 0);
    return { run, sums, parts: partsOf(pass, run, space) };
  });
  const jobs: Jobs = {
    ...{ count: placed.length, scratch: scratchOf(pass) },
    write: (index, block, record) => stageJob(pass, placed[index], block, record),
    collect: (block) => collectWave(pass, placed, block),
  };
  return { space, jobs };
}

/** Threads that the work is enough for. */
function threadsOf({ machine, x: { shape }, width }: Pass): number {
  return sizeOf(shape) * width > sharedProducts ? machine.threads : 1;
}

/** Tile memory that each thread needs. */
function scratchOf({ machine, kind, width, isShared }: Pass): number {
  const at = machine.kernels.callRecord();
  const record = new JobRecord(new Int32Array(machine.arena.memory.buffer), at / 4);
  record.set(field.convolutionKind, kind);
  record.set(field.convolutionWidth, width);
  record.set(field.convolutionIsShared, Number(isShared));
  return linearKernels(machine).scratchBytes(at) >>> 0;
}

/** Rows that the taps of others are on. */
export function aroundOf(
  { lead, width, x }: Pick<Pass, "lead" | "width" | "x">,
  run: Rows,
): Rows {
  const from = Math.max(0, run.from - lead);
  return { ...run, from, to: Math.min(x.shape[2], run.to + width - 1 - lead) };
}

/** Finds the places of all that a job reads and writes, or reserves them. */
function partsOf(pass: Pass, run: Rows, space: Placer): Part[] {
  const { machine: { arena }, x, weights, g, before, after, out, width, isShared } = pass;
  const parts: Part[] = [], around = aroundOf(pass, run);
  const add = (view: View | null, rows: Rows, field: number, isWritten = false) => {
    if (view === null) return;
    parts.push({ view, rows, field, isWritten, place: placeRows(view, rows, arena, space) });
  };
  const past = { ...run, from: 0, to: width - 1 };
  add(x, around, field.convolutionX);
  add(weights, weightsOf(pass, run, around), field.convolutionW);
  add(g, run, field.convolutionG);
  add(run.from < width - 1 ? before : null, past, field.convolutionBefore);
  add(run.to === x.shape[2] ? after : null, past, field.convolutionAfter, true);
  add(isShared && g !== null ? null : out, run, field.convolutionY, true);
  return parts;
}

/** The rows of weights that a job reads. */
function weightsOf({ isShared, isTurned }: Pass, run: Rows, around: Rows): Rows {
  if (isShared) return { ...run, from: 0, to: 1 };
  return isTurned ? around : run;
}

/** Brings what a job reads into linear memory, and writes its record. */
function stageJob(pass: Pass, { run, parts, sums }: Job, base: number, at: number): void {
  const { machine: { arena }, kind, x, width, lead } = pass;
  for (const { view, rows, place, isWritten } of parts) {
    if (!isWritten) stageRows(place, view, rows, arena, base);
  }
  const words = new Int32Array(arena.memory.buffer), record = new JobRecord(words, at / 4);
  words.fill(0, at / 4, at / 4 + recordEnd);
  record.set(field.convolutionKind, kind);
  for (const part of parts) {
    writePlace(record, part.field, part.place, base);
    if (part.field === field.convolutionX) record.set(field.convolutionXFirst, part.rows.from);
    if (part.field === field.convolutionW) record.set(field.convolutionWFirst, part.rows.from);
  }
  record.set(field.convolutionIsShared, Number(pass.isShared));
  record.set(field.convolutionIsTurned, Number(pass.isTurned));
  record.set(field.convolutionFirst, run.from);
  record.set(field.convolutionRows, run.to - run.from);
  record.set(field.convolutionTotal, x.shape[2]);
  record.set(field.convolutionColumns, x.shape[3]);
  record.set(field.convolutionWidth, width);
  record.set(field.convolutionLead, lead);
  record.set(field.convolutionSums, base + sums);
}

/** Brings what a wave has written to where it is wanted. */
function collectWave(pass: Pass, jobs: readonly Job[], { at, records, scratch }: Block): void {
  const { machine: { arena }, sums } = pass;
  for (const job of jobs) {
    for (const { view, rows, place, isWritten } of job.parts) {
      if (isWritten) collectRows(place, view, rows, arena, at);
    }
    sums?.add(job.run, at + job.sums, scratch, records);
  }
}
