/**
 * Jobs: how a plan is cut. A **job** is a segment, a key/value head and a run of query positions; any
 * of them can be done by any thread, in any order, with the same bits. A **wave** is as many runs as
 * are staged in linear memory at once: several whole heads, or a run of one head.
 *
 * @module
 */

import { countScores } from "../../operations/attention/plan.ts";
import { KeyRuns } from "../../masks/key_runs.ts";
import { roundUp } from "../memory/arena.ts";
import { keysPerPart } from "../record/job_record.ts";
import type { HostPlan, Run } from "./run.ts";
import { termBytesPerPosition } from "./terms.ts";

/** Sizes of the tiles that a job is computed in. */
export interface Tiles {
  /** Query rows of a tile: a multiple of 8. */
  readonly rows: number;
  /** Keys of a tile: a multiple of 4. */
  readonly keys: number;
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
  /** Keys of the longest segment. */
  readonly keys: number;
  /** Query positions of a run at most; longer segments have waves of their own. */
  readonly positions: number;
  /** What a wave of several runs may have of everything. */
  readonly wave: Load;
  /** Jobs that a position is in: 1, or one for each query head where their masks differ, or functions see which it is. */
  readonly members: number;
}

/** What a wave has to carry. */
export interface Load {
  readonly rows: number;
  /** Bytes of packed heads. */
  readonly packedBytes: number;
  readonly jobs: number;
}

/** What a run carries. */
interface RunLoad extends Load {
  /** Whether its keys are split: such runs have waves of their own, whose positions are not cut. */
  readonly splits: boolean;
  /** Whether it goes by integers: another program runs its jobs. */
  readonly integers: boolean;
}

/** Most jobs of a wave: one record each. */
export const jobsPerWave = 256;

/** Query rows of a tile: enough that packing and tile state do not show. */
const tileRows = 64;

/** Bytes of keys and values of a tile: they stay in L2 while the tile's query panels pass. */
const tileBytes = 96 * 1024;

/** Bytes of queries, or of results, that a wave stages for each thread. */
const stagedBytes = 512 * 1024;

/** Bytes of bias and mask that a wave stages for each thread. */
const termBytes = 2 * 1024 * 1024;

/** Bytes of packed heads that a wave holds for each thread, where that is more than one head. */
const packedBytes = 1024 * 1024;

/** Multiply-adds of a wave for each thread: some 25 ms, then the event loop gets its turn. */
export const waveWork = 500e6;

/**
 * Multiply-adds of a call below which waking threads costs more than they save: 0.3 ms of work, two
 * or three times what a sleeping worker takes to begin.
 */
export const threadedWork = 6e6;

/** The same of few queries against a cache, which wait for memory. */
const threadedReads = 1e6;

/** Query rows of a head, at most, whose keys are split: two panels. */
export const splitRows = 16;

/** Largest extents of a plan's segments. */
export function largestOf(
  { segments }: Pick<HostPlan, "segments">,
): { queries: number; keys: number } {
  const largest = { queries: 0, keys: 0 };
  for (const { queries, keys } of segments) {
    largest.queries = Math.max(largest.queries, queries);
    largest.keys = Math.max(largest.keys, keys);
  }
  return largest;
}

/** Picks the tiles of a plan. */
export function chooseTiles(plan: HostPlan, largest = largestOf(plan)): Tiles {
  const perKey = (plan.dim + plan.valueDim) * 4;
  const block = blockOf(plan), isRead = readsCache(plan, largest);
  // A cache that is only read passes through L1 and L2 whatever the tile.
  const fitting = isRead ? block : Math.floor(tileBytes / perKey / 16) * 16;
  const keys = Math.min(256, Math.max(16, fitting));
  const rows = Math.min(tileRows, roundUp(Math.max(1, largest.queries * plan.group), 8));
  // No tile crosses a block of a cache.
  const most = Math.min(roundUp(Math.max(1, largest.keys), 4), block);
  return { rows, keys: Math.min(keys, most) };
}

/** Tokens of a block of a cache. */
function blockOf({ kv }: HostPlan): number {
  return kv.kind === "pages" ? kv.store.blockTokens : Infinity;
}

/** Whether few queries read a cache once: they wait for memory. */
function readsCache({ kv, group }: HostPlan, { queries }: { queries: number }): boolean {
  return kv.kind === "pages" && queries * group <= 8;
}

/**
 * What one thread gathers in a wave: heads of so few rows and keys that all of them stay in L2. A wave of its own costs
 * each of them a microsecond, of the 5 that a head of 16 rows takes.
 */
const smallWave: Load = { rows: 256, packedBytes: 64 * 1024, jobs: jobsPerWave / 4 };

/** Decides how a plan is cut for so many threads. */
export function cutPlan(plan: HostPlan, available: number): Cut {
  const { dim, valueDim, group, blockMask, functions } = plan;
  const largest = largestOf(plan), isEach = functions !== null || (blockMask?.heads ?? 1) > 1;
  const work = countScores(plan) * (dim + valueDim);
  const threads = work < (readsCache(plan, largest) ? threadedReads : threadedWork) ? 1 : available;
  const byBytes = threads * stagedBytes / (Math.max(dim, valueDim) * 4);
  const seen = blockMask instanceof KeyRuns ? blockMask.visited * largest.keys : largest.keys;
  const byWork = threads * waveWork / (Math.max(1, seen) * (dim + valueDim));
  const byTerms = threads * termBytes / Math.max(1, termBytesPerPosition(plan) / group);
  const rows = Math.min(byBytes, byWork, byTerms);
  return {
    tiles: chooseTiles(plan, largest),
    threads,
    keys: largest.keys,
    positions: Math.min(largest.queries, positionsOf(rows, group)),
    wave: threads === 1
      ? { ...smallWave, rows: Math.min(smallWave.rows, rows) }
      : { rows, packedBytes: threads * packedBytes, jobs: jobsPerWave / 4 },
    members: isEach ? group : 1,
  };
}

/** Whether the rows of a segment go by integers: fewer would not pay for making these of the keys. */
export function usesIntegers({ precision, segments, group }: HostPlan, segment: number): boolean {
  return precision !== "f32" && segments[segment].queries * group > splitRows;
}

/** Positions whose rows fill whole tiles, or at least whole panels of eight rows. */
export function positionsOf(rows: number, group: number): number {
  const unit = rows < tileRows ? 8 : tileRows;
  return Math.max(1, Math.floor(Math.floor(rows / unit) * unit / group));
}

/**
 * Parts that the keys of a segment's heads are seen in, and merged. Depends on the segment alone, so
 * that its rows have the same bits in any batch.
 */
export function partsOf(plan: HostPlan, { segment }: Pick<Run, "segment">): number {
  const { queries, keys } = plan.segments[segment];
  const splits = queries * plan.group <= splitRows && plan.blockMask === null;
  return splits ? Math.max(1, Math.ceil(keys / keysPerPart)) : 1;
}

/** Every wave of a plan. */
export function* wavesOf(plan: HostPlan, cut: Cut): Generator<Wave> {
  let gathered = new Gathering(cut);
  for (const [segment, { queries }] of plan.segments.entries()) {
    if (queries === 0) continue;
    for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) {
      const whole = { segment, keyHead, from: 0, to: queries };
      const load = loadOf(plan, cut, whole);
      if (!gathered.takes(load) && gathered.runs.length > 0) {
        yield { runs: gathered.runs, packs: true };
        gathered = new Gathering(cut);
      }
      if (queries <= cut.positions) gathered.add(whole, load);
      else yield* cutRun(whole, cut.positions);
    }
  }
  if (gathered.runs.length > 0) yield { runs: gathered.runs, packs: true };
}

/** Waves of one head, whose first packs it. */
function* cutRun(run: Run, positions: number): Generator<Wave> {
  for (let from = run.from; from < run.to; from += positions) {
    const to = Math.min(from + positions, run.to);
    yield { runs: [{ ...run, from, to }], packs: from === run.from };
  }
}

function loadOf(plan: HostPlan, cut: Cut, run: Run): RunLoad {
  const { dim, valueDim, group, segments, kv } = plan, parts = partsOf(plan, run);
  const integers = usesIntegers(plan, run.segment);
  return {
    rows: (run.to - run.from) * group,
    packedBytes: kv.kind === "tensors" || integers
      ? segments[run.segment].keys * (dim + valueDim) * 4
      : 0,
    jobs: parts * cut.members,
    splits: parts > 1,
    integers,
  };
}

/** Runs that make one wave together. */
class Gathering {
  readonly runs: Run[] = [];
  readonly #most: Load;
  #rows = 0;
  #packedBytes = 0;
  #jobs = 0;
  #splits = false;
  #integers = false;

  constructor({ wave }: Cut) {
    this.#most = wave;
  }

  takes({ rows, packedBytes, jobs, splits, integers }: RunLoad): boolean {
    const most = this.#most;
    return splits === this.#splits && integers === this.#integers &&
      this.#rows + rows <= most.rows &&
      this.#packedBytes + packedBytes <= most.packedBytes &&
      this.#jobs + jobs <= (splits ? jobsPerWave : most.jobs);
  }

  add(run: Run, { rows, packedBytes, jobs, splits, integers }: RunLoad): void {
    this.runs.push(run);
    this.#splits = splits;
    this.#integers = integers;
    this.#rows += rows;
    this.#packedBytes += packedBytes;
    this.#jobs += jobs;
  }
}

/** A job of a wave: positions of the run in a slot, against one part of the keys. */
export interface Piece {
  readonly slot: number;
  /** Which query head of the group, where each has jobs of its own. */
  readonly member: number;
  readonly from: number;
  readonly to: number;
  readonly part: number;
}

/** Cuts a wave into jobs; the parts of a slot follow one another. */
export function cutWave(wave: Wave, plan: HostPlan, cut: Cut): Piece[] {
  const pieces: Piece[] = [];
  const { threads, members } = cut;
  if (threads > 1 && wave.runs.every((run) => partsOf(plan, run) === 1)) {
    return cutPositions(wave, plan.group / members, cut);
  }
  for (const [slot, run] of wave.runs.entries()) {
    const { from, to } = run, parts = partsOf(plan, run);
    for (let part = 0; part < parts; part++) {
      for (let member = 0; member < members; member++) {
        pieces.push({ slot, member, from, to, part });
      }
    }
  }
  return pieces;
}

/**
 * Cuts a wave's positions for several threads, which take jobs as they come: jobs become smaller
 * towards the end of the wave, down to a panel of rows, so that all threads finish at nearly the same
 * time. Positions come last first, since causal rows have most work at the end.
 */
function cutPositions({ runs }: Wave, group: number, { threads, members }: Cut): Piece[] {
  const pieces: Piece[] = [];
  let left = runs.reduce((sum, { from, to }) => sum + (to - from), 0) * members;
  let runsLeft = runs.length * members;
  for (const [slot, { from, to }] of runs.entries()) {
    for (let member = 0; member < members; member++, runsLeft--) {
      for (let end = to; end > from;) {
        // At least so many that a record is left for every job; each run may end with a smaller one.
        const records = Math.max(1, jobsPerWave - pieces.length - runsLeft);
        const least = Math.ceil(left / records);
        const rows = Math.min(tileRows, roundUp(Math.ceil(left * group / (3 * threads)), 8));
        const begin = Math.max(from, end - Math.max(least, Math.floor(rows / group)));
        pieces.push({ slot, member, from: begin, to: end, part: 0 });
        left -= end - begin;
        end = begin;
      }
    }
  }
  return pieces;
}
