/**
 * Waves of jobs, each staged in a block of its own, which is free again whatever happens.
 *
 * @module
 */

import type { Extents } from "../../tensor/tensor.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import type { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { bytes as jobBytes } from "../record/job.gen.ts";
import type { Machine } from "../team/machine.ts";
import { runInTurn, type Step } from "../team/steps.ts";
import type { Batch } from "../team/team.ts";

/** Rows of each head, at most so many at a time. */
export function* runsOf([batches, heads, rows]: Extents, most: number): Generator<Rows> {
  for (let batch = 0; batch < batches; batch++) {
    for (let head = 0; head < heads; head++) {
      for (let from = 0; from < rows; from += most) {
        yield { batch, head, from, to: Math.min(rows, from + most) };
      }
    }
  }
}

/** Runs of each of several pieces, with all that the piece has. */
export function* runsOfAll<Piece>(
  pieces: readonly Piece[],
  of: (piece: Piece) => Iterable<Rows>,
): Generator<Piece & Rows> {
  for (const piece of pieces) {
    // Two spreads in one take twice as long as all else here.
    for (const { batch, head, from, to } of of(piece)) yield { ...piece, batch, head, from, to };
  }
}

/** Runs that have so much together, or one. */
export function* wavesOf<Run>(
  runs: Iterable<Run>,
  measure: (run: Run) => number,
  most: number,
): Generator<Run[]> {
  let wave: Run[] = [], much = 0;
  for (const run of runs) {
    const more = measure(run);
    if (wave.length > 0 && much + more > most) {
      yield wave;
      [wave, much] = [[], 0];
    }
    wave.push(run);
    much += more;
  }
  if (wave.length > 0) yield wave;
}

/** Where a wave's block is, its records and the tile memory of the first thread. */
export interface Block {
  readonly at: number;
  readonly records: number;
  readonly scratch: number;
}

/** The jobs of a wave, whose places are found. */
export interface Jobs {
  readonly count: number;
  /** Bytes of tile memory that each thread needs. */
  readonly scratch: number;
  /** Brings what all of them read into the block; absent where each job does that. */
  stage?(block: number): void;
  /** Writes a job's record, and brings what it reads into the block. */
  write(index: number, block: number, record: number): void;
  /** Hands out what was written. */
  collect(block: Block): void;
}

/** How waves run. */
export interface Staging<Wave> {
  readonly machine: Machine;
  /** Which of its programs runs the jobs, and threads that the work is enough for. */
  readonly program: number;
  readonly threads: number;
  /** Finds the places of a wave's jobs in its block, or reserves them. */
  place(wave: Wave): { readonly space: Placer; readonly jobs: Jobs };
  /** Query rows that a wave finishes. */
  rows(wave: Wave): number;
}

/** A wave in its block. */
interface Staged extends Block {
  readonly jobs: Jobs;
  readonly stride: number;
}

/** Takes a block for the jobs of a wave. */
function takeBlock(
  arena: Arena,
  threads: number,
  { space, jobs }: ReturnType<Staging<never>["place"]>,
): Staged {
  const records = space.place(jobs.count * jobBytes), stride = roundUp(jobs.scratch, 64);
  const scratch = space.place(threads * stride), at = arena.allocate(space.end);
  return { jobs, stride, at, records: at + records, scratch: at + scratch };
}

/** Stages each wave, lets it run, and collects it. */
export function* runStaged<Wave>(
  waves: Iterator<Wave, void>,
  { machine: { arena }, program, threads, place, rows }: Staging<Wave>,
): Generator<Step> {
  let staged: Staged | undefined;
  const free = () => {
    if (staged !== undefined) arena.free(staged.at);
    staged = undefined;
  };
  try {
    yield* runInTurn(waves, {
      ahead: false,
      stage(wave): Batch {
        staged = takeBlock(arena, threads, place(wave));
        const { jobs, at, records, scratch, stride } = staged, { count } = jobs;
        jobs.stage?.(at);
        for (let job = 0; job < count; job++) jobs.write(job, at, records + job * jobBytes);
        return { program, threads, records, count, scratch, scratchStride: stride };
      },
      rows,
      collect() {
        staged!.jobs.collect(staged!);
        free();
      },
    });
  } finally {
    free();
  }
}
