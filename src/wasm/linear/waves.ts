/**
 * Waves of jobs on rows of groups of heads: rows find places, are staged, batches run one after the other, and what was
 * written is collected.
 *
 * @module
 */

import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import { elementsOver, locate } from "../memory/tensor.ts";
import { bytes as jobBytes } from "../record/job.gen.ts";
import { JobRecord, storageOf } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { linearProgram } from "./program.ts";

/** The same rows of some heads that follow one another. */
export interface GroupRun {
  readonly batch: number;
  /** The first head, and how many. */
  readonly head: number;
  readonly heads: number;
  readonly from: number;
  readonly to: number;
}

/** Where they are while kernels work on them: strides in bytes. */
export interface GroupPlace {
  readonly view: View;
  readonly run: GroupRun;
  /** Whether they are where the caller has them; else they are so many bytes from a block's begin. */
  readonly stays: boolean;
  readonly at: number;
  readonly element: number;
  readonly row: number;
  readonly head: number;
}

/** Writes a job's record; addresses in a wave's block count from `base`. */
export type Job = (record: JobRecord, base: number) => void;

/** What a wave does once it has its block. */
export interface Wave {
  readonly batches: readonly (readonly Job[])[];
  readonly reads: readonly GroupPlace[];
  readonly writes: readonly GroupPlace[];
  /** Query rows that it finishes. */
  readonly rows: number;
}

/** Finds the place of rows, or reserves one. */
export function placeGroupRows(
  view: View,
  run: GroupRun,
  arena: Arena,
  space: Placer,
): GroupPlace {
  const { batch, head, heads, from, to } = run, resident = locate(view, arena);
  if (resident !== undefined) {
    const { at, strides: [b, h, n, d] } = resident;
    const first = at + batch * b + head * h + from * n;
    return { view, run, stays: true, at: first, element: d, row: n, head: h };
  }
  const element = bytesPerElement(view.dtype), row = view.shape[3] * element;
  const ofHead = (to - from) * row;
  return { view, run, stays: false, at: space.place(heads * ofHead), element, row, head: ofHead };
}

/** Says in a record where rows are, from a field on, in the order of `headRowsFields`. */
export function writeGroupPlace(
  record: JobRecord,
  field: number,
  { view, stays, at, element, row }: GroupPlace,
  base: number,
): void {
  record.set(field, stays ? at : base + at);
  record.set(field + 1, element);
  record.set(field + 2, storageOf[view.dtype]);
  record.set(field + 3, row);
}

/** The elements of each head of what does not stay where it is. */
function* headsOf({ view, run, stays, at, head: ofHead }: GroupPlace, arena: Arena, base: number) {
  if (stays) return;
  const { head, heads, from, to } = run, count = (to - from) * view.shape[3];
  for (let h = 0; h < heads; h++) {
    yield [head + h, elementsOver(arena, base + at + h * ofHead, count, view.dtype)] as const;
  }
}

function stage(place: GroupPlace, arena: Arena, base: number): void {
  const { view, run: { batch, from, to } } = place;
  for (const [head, target] of headsOf(place, arena, base)) {
    copyRowsIn(view, batch, head, from, to, target);
  }
}

function collect(place: GroupPlace, arena: Arena, base: number): void {
  const { view, run: { batch, from, to } } = place;
  for (const [head, source] of headsOf(place, arena, base)) {
    copyRowsOut(source, view, batch, head, from, to);
  }
}

/**
 * Runs a wave in a block of its own, which is free again whatever happens.
 *
 * @param scratch Bytes that each thread needs.
 * @param draft Finds places for rows and whatever else, and says what is to be done.
 */
export function* runWave(
  machine: Machine,
  scratch: number,
  draft: (space: Placer) => Wave,
): Generator<Step> {
  const { arena, threads } = machine, space = new Placer(0), wave = draft(space);
  const { batches, reads, writes, rows } = wave;
  const most = Math.max(...batches.map(({ length }) => length)), stride = roundUp(scratch, 64);
  const records = space.place(most * jobBytes), scratchAt = space.place(threads * stride);
  const base = arena.allocate(space.end);
  try {
    for (const place of reads) stage(place, arena, base);
    for (const [index, jobs] of batches.entries()) {
      for (const [at, write] of jobs.entries()) {
        const word = (base + records + at * jobBytes) / 4;
        write(new JobRecord(new Int32Array(arena.memory.buffer), word), base);
      }
      const batch = {
        ...{
          program: linearProgram(machine),
          records: base + records,
          count: jobs.length,
          threads,
        },
        ...{ scratch: base + scratchAt, scratchStride: stride },
      };
      yield { batch, rows: index === batches.length - 1 ? rows : 0 };
    }
    for (const place of writes) collect(place, arena, base);
  } finally {
    arena.free(base);
  }
}
