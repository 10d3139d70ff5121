/**
 * Jobs: how a plan is cut. A **job** is one batch, one key/value head and a run of query positions;
 * any of them can be done by any thread, in any order, with the same bits. A **wave** is as many
 * jobs as are staged in linear memory at once: several whole heads, or a run of one head.
 *
 * @module
 */

import type { AttentionPlan } from "../plan.ts";
import { roundUp } from "./arena.ts";

/** Sizes of the tiles that a job is computed in. */
export interface Tiles {
  /** Query rows of a tile: a multiple of 8. */
  readonly rows: number;
  /** Keys of a tile: a multiple of 4. */
  readonly keys: number;
}

/** Query positions `from` to `to` of one key/value head. */
export interface Run {
  readonly batch: number;
  readonly keyHead: number;
  readonly from: number;
  readonly to: number;
}

/** Runs that are staged together, and the jobs that they are cut into. */
export interface Wave {
  /** One run per slot of the workspace. */
  readonly runs: readonly Run[];
  /** Whether the runs' heads have to be packed first; else the last wave left them packed. */
  readonly packs: boolean;
}

/** How much of a plan is done at a time. */
export interface Cut {
  readonly tiles: Tiles;
  /** Threads that take part. */
  readonly threads: number;
  /** Heads of a wave; above 1 only where a wave takes all positions. */
  readonly heads: number;
  /** Query positions of a wave. */
  readonly positions: number;
  /** Parts of a head's keys that are seen apart and merged; 1 where a job sees them all. */
  readonly parts: number;
}

/** Most jobs of a wave: one record each. */
export const jobsPerWave = 256;

/** Query rows of a tile: enough that packing and tile state do not show. */
const tileRows = 64;

/** Bytes of keys and values of a tile: they stay in L2 while the tile's query panels pass. */
const tileBytes = 96 * 1024;

/** Bytes of queries, or of results, that a wave stages for each thread. */
const stagedBytes = 512 * 1024;

/** Bytes of packed heads that a wave holds for each thread, where that is more than one head. */
const packedBytes = 1024 * 1024;

/** Multiply-adds of a wave for each thread: some 25 ms, then the event loop gets its turn. */
const waveWork = 500e6;

/**
 * Multiply-adds of a call below which waking threads costs more than they save: 0.3 ms of work, two
 * or three times what a sleeping worker takes to begin.
 */
const threadedWork = 6e6;

/** Query rows of a head, at most, whose keys are split: two panels. */
const splitRows = 16;

/** Keys of a part. The same whatever the number of threads, so that the bits are the same too. */
export const keysPerPart = 2048;

/** Multiply-adds of all rows, causal or not. */
function workOf(plan: AttentionPlan): number {
  const { batch, queryHeads, queries, keys, dim, valueDim } = plan;
  return batch * queryHeads * queries * keys * (dim + valueDim);
}

/** Picks the tiles of a plan. */
export function chooseTiles(plan: AttentionPlan): Tiles {
  const perKey = (plan.dim + plan.valueDim) * 4;
  const keys = Math.min(256, Math.max(16, Math.floor(tileBytes / perKey / 16) * 16));
  const rows = Math.min(tileRows, roundUp(Math.max(1, plan.queries * plan.group), 8));
  return { rows, keys: Math.min(keys, roundUp(Math.max(1, plan.keys), 4)) };
}

/** Decides how a plan is cut for so many threads. */
export function cutPlan(plan: AttentionPlan, available: number): Cut {
  const { dim, valueDim, group, keys, queries, keyHeads, batch } = plan;
  const threads = workOf(plan) < threadedWork ? 1 : available;
  const byBytes = threads * stagedBytes / (Math.max(dim, valueDim) * 4);
  const byWork = threads * waveWork / (Math.max(1, keys) * (dim + valueDim));
  const positions = Math.min(queries, positionsOf(Math.min(byBytes, byWork), group));
  const perHead = keys * (dim + valueDim) * 4;
  const heads = threads === 1 || positions < queries ? 1 : Math.min(
    batch * keyHeads,
    Math.floor(threads * packedBytes / perHead),
    Math.floor(Math.min(byBytes, byWork) / (queries * group)),
    Math.floor(jobsPerWave / 4 / Math.ceil(keys / keysPerPart)),
  );
  const parts = queries * group <= splitRows ? Math.ceil(keys / keysPerPart) : 1;
  return { tiles: chooseTiles(plan), threads, positions, heads: Math.max(1, heads), parts };
}

/** Positions whose rows fill whole tiles, or at least whole panels of eight rows. */
function positionsOf(rows: number, group: number): number {
  const unit = rows < tileRows ? 8 : tileRows;
  return Math.max(1, Math.floor(Math.floor(rows / unit) * unit / group));
}

/** Every wave of a plan. */
export function* wavesOf(plan: AttentionPlan, cut: Cut): Generator<Wave> {
  const heads: Run[] = [];
  for (let batch = 0; batch < plan.batch; batch++) {
    for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) {
      heads.push({ batch, keyHead, from: 0, to: plan.queries });
    }
  }
  for (let first = 0; first < heads.length; first += cut.heads) {
    const runs = heads.slice(first, first + cut.heads);
    for (let from = 0; from < plan.queries; from += cut.positions) {
      const to = Math.min(from + cut.positions, plan.queries);
      yield { runs: runs.map((run) => ({ ...run, from, to })), packs: from === 0 };
    }
  }
}

/** A job of a wave: positions of the run in a slot, against one part of the keys. */
export interface Piece {
  readonly slot: number;
  readonly from: number;
  readonly to: number;
  readonly part: number;
}

/** Cuts a wave into jobs; the parts of a slot follow one another. */
export function cutWave(wave: Wave, group: number, { threads, parts }: Cut): Piece[] {
  if (parts === 1 && threads > 1) return cutPositions(wave, group, threads);
  const pieces: Piece[] = [];
  for (const [slot, { from, to }] of wave.runs.entries()) {
    for (let part = 0; part < parts; part++) pieces.push({ slot, from, to, part });
  }
  return pieces;
}

/**
 * Cuts a wave's positions for several threads, which take jobs as they come: jobs become smaller
 * towards the end of the wave, down to a panel of rows, so that all threads finish at nearly the same
 * time. Positions come last first, since causal rows have most work at the end.
 */
function cutPositions({ runs }: Wave, group: number, threads: number): Piece[] {
  const pieces: Piece[] = [];
  let left = runs.reduce((sum, { from, to }) => sum + (to - from), 0);
  for (const [slot, { from, to }] of runs.entries()) {
    for (let end = to; end > from;) {
      // At least so many that a record is left for every job; each run may end with a smaller one.
      const records = jobsPerWave - pieces.length - (runs.length - slot);
      const least = Math.ceil(left / records);
      const rows = Math.min(tileRows, roundUp(Math.ceil(left * group / (3 * threads)), 8));
      const begin = Math.max(from, end - Math.max(least, Math.floor(rows / group)));
      pieces.push({ slot, from: begin, to: end, part: 0 });
      left -= end - begin;
      end = begin;
    }
  }
  return pieces;
}
