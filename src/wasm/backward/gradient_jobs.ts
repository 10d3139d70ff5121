/**
 * How the gradients of a plan are cut. A **run** is query positions of one key/value head
 * against a range of its keys; its jobs are **chunks** of that range, each against all rows of the
 * run. A **wave** is as many runs as are staged in linear memory at once.
 *
 * A chunk's dK and dV are summed over runs in the order of rows, and dQ over chunks in the order of
 * keys: both whatever runs and waves are. Chunks, ranges of keys and the **units** that runs are made
 * of depend on sizes alone, so that bits do not depend on the number of threads.
 *
 * @module
 */

import { KeyRuns } from "../../masks/key_runs.ts";
import { type AttentionPlan, countScores } from "../../operations/attention/plan.ts";
import { largestOf, positionsOf, threadedWork, type Tiles, waveWork } from "../attention/jobs.ts";
import type { Run } from "../attention/run.ts";
import { termBytesPerPosition } from "../attention/terms.ts";
import { roundUp } from "../memory/arena.ts";

/** A run of positions against the keys `firstKey` to `endKey` of its segment. */
export interface GradientRun extends Run {
  readonly firstKey: number;
  readonly endKey: number;
  /** Whether it is the first of its range of keys, and the last. */
  readonly opens: boolean;
  readonly closes: boolean;
}

/** How much of a plan is done at a time. */
export interface GradientCut {
  readonly tiles: Tiles;
  readonly threads: number;
  /** Query positions of a run at most, and keys of a range. */
  readonly positions: number;
  readonly keys: number;
  /** Positions whose rows tiles end with: runs are made of these. */
  readonly unit: number;
  /** Bytes and scores that the runs of a wave may have, where it has several. */
  readonly waveBytes: number;
  readonly waveScores: number;
  /** Jobs of a chunk: 1, or one for each query head where their masks differ, or functions see which it is. */
  readonly members: number;
}

/** Keys of a chunk: dQ costs a sum for each. */
export const chunkKeys = 256;

/** Keys of the pieces that the last chunk of a range is in. */
const lastChunkKeys = 64;

/** Bytes of keys and values of a range; their gradients take as many. */
const keyRangeBytes = 1024 * 1024;

/** Keys of a range at most: what dQ costs for each chunk is held for all chunks of a range. */
const mostRangeKeys = 4096;

/** Bytes of one matrix of a tile of keys, of which there are five; of values alone one, twice as large. */
const tileBytes = 32 * 1024;

/** Query rows of a tile. */
const tileRows = 64;

/** Bytes of dQ's panels that a wave has for each thread. */
const panelBytes = 1024 * 1024;

/** Bytes of biases, of their gradients and of masks that a wave has for each thread. */
const termBytes = 2 * 1024 * 1024;

/** Bytes of everything that a wave of several runs has for each thread. */
const waveBytes = 4 * 1024 * 1024;

/** Multiply-adds of a score's gradients, in addition to those of its forward pass. */
const workPerScore = 2.5;

function chooseTiles(
  { dim, valueDim, group }: AttentionPlan,
  queries: number,
  keys: number,
  times: number,
): Tiles {
  const fitting = Math.floor(times * tileBytes / (Math.max(dim, valueDim) * 4) / 8) * 8;
  return {
    rows: Math.min(tileRows, roundUp(Math.max(1, queries * group), 8)),
    keys: Math.min(times * 128, Math.max(16, fitting), roundUp(Math.max(1, keys), 8)),
  };
}

/** Decides how the gradients of a plan are cut for so many threads; or those by values, where they are asked for alone. */
export function cutGradients(
  plan: AttentionPlan,
  available: number,
  byValues = false,
): GradientCut {
  const { dim, valueDim, group, blockMask, bias, functions } = plan, largest = largestOf(plan);
  const isEach = functions !== null || (blockMask?.heads ?? 1) > 1, members = isEach ? group : 1;
  const width = Math.max(dim, valueDim), perKey = (dim + valueDim) * 4;
  const fitting = Math.floor(keyRangeBytes / perKey / chunkKeys) * chunkKeys;
  const keys = Math.min(mostRangeKeys, Math.max(chunkKeys, fitting));
  const inRange = Math.max(1, Math.min(keys, largest.keys));
  const perScore = (dim + valueDim) * workPerScore;
  const threads = countScores(plan) * perScore < threadedWork ? 1 : available;
  const biasBytes = bias === null ? 0 : inRange * 4;
  const rows = Math.min(
    panelBytes / (Math.ceil(inRange / chunkKeys) * width * 4),
    panelBytes / (3 * width * 4),
    waveWork / (inRange * perScore),
    termBytes / Math.max(1, termBytesPerPosition(plan) / group + biasBytes),
  );
  const positions = (threads: number) => positionsOf(threads * rows, group);
  // Whole tiles where one thread has room for them. Of members one follows the other in each run.
  const perRow = group / members, whole = tileRows / Math.min(tileRows, perRow & -perRow);
  const alone = positions(1), unit = alone < whole ? alone : whole;
  return {
    tiles: chooseTiles(plan, largest.queries, inRange, byValues ? 2 : 1),
    threads,
    positions: Math.floor(positions(members > 1 ? 1 : threads) / unit) * unit,
    ...{ keys, unit },
    waveBytes: threads === 1 ? 0 : threads * waveBytes,
    waveScores: threads * waveWork / perScore,
    members,
  };
}

/** Chunks of a range that are whole, its last not counted: that one is cut finer, if there are others. */
function countWhole({ firstKey, endKey }: GradientRun): number {
  return Math.max(0, Math.ceil((endKey - firstKey) / chunkKeys) - 1);
}

/** Chunks of a run's keys. */
export function countChunks(run: GradientRun): number {
  const whole = countWhole(run), rest = run.endKey - run.firstKey - whole * chunkKeys;
  return whole + Math.ceil(rest / (whole > 0 ? lastChunkKeys : chunkKeys));
}

/** Where each chunk of a run's keys begins, and where the last ends. */
export function chunksOf(run: GradientRun): readonly number[] {
  const { firstKey, endKey } = run, whole = countWhole(run), begins: number[] = [];
  // The last of several in pieces, so that all threads finish at nearly the same time.
  for (let from = firstKey, index = 0; from < endKey; index++) {
    begins.push(from);
    from += whole === 0 || index < whole ? chunkKeys : lastChunkKeys;
  }
  begins.push(endKey);
  return begins;
}

/**
 * Panels of eight rows that a member's rows of a run are in: tiles of rows end where a block of
 * queries does, as `tileEnd()` of the kernels has it.
 */
export function countPanels(
  plan: AttentionPlan,
  cut: GradientCut,
  { segment, from, to }: Run,
): number {
  const group = plan.group / cut.members, rows = (to - from) * group, unit = cut.unit * group;
  if (plan.blockMask === null && unit % 8 === 0) return Math.ceil(rows / 8);
  const blockRows = plan.blockMask?.block[0] ?? Infinity;
  const phase = (plan.segments[segment].firstQuery + from) % blockRows;
  let panels = 0;
  for (let row = 0, end = 0; row < rows; row = end) {
    const block = Math.floor((phase + Math.floor(row / group)) / blockRows);
    const ends = [((block + 1) * blockRows - phase) * group, (Math.floor(row / unit) + 1) * unit];
    end = Math.min(row + cut.tiles.rows, rows, ...ends);
    panels += Math.ceil((end - row) / 8);
  }
  return panels;
}

/** Every wave of a plan; `bytesOf` says how much of a wave a run takes. */
export function* gradientRunsOf(
  plan: AttentionPlan,
  cut: GradientCut,
  bytesOf: (run: GradientRun) => number,
): Generator<readonly GradientRun[]> {
  let gathered: GradientRun[] = [], bytes = 0, scores = 0;
  for (const [segment, { queries, keys }] of plan.segments.entries()) {
    if (queries === 0) continue;
    const isWhole = queries <= cut.positions && keys <= cut.keys;
    for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) {
      const head = { segment, keyHead, from: 0, to: queries, firstKey: 0, endKey: keys };
      const whole = { ...head, opens: true, closes: true };
      const more = isWhole ? bytesOf(whole) : Infinity, moreScores = queries * plan.group * keys;
      const fits = bytes + more <= cut.waveBytes && scores + moreScores <= cut.waveScores;
      if (gathered.length > 0 && !fits) {
        yield gathered;
        gathered = [];
        bytes = scores = 0;
      }
      if (isWhole) {
        gathered.push(whole);
        bytes += more;
        scores += moreScores;
      } else for (const run of cutHead(head, cut, plan.blockMask)) yield [run];
    }
  }
  if (gathered.length > 0) yield gathered;
}

/** Rows that may see some of the keys of a range: whole units, or none. All set what they have of dQ at the first. */
function rowsFor(
  mask: AttentionPlan["blockMask"],
  { to, firstKey, endKey }: Omit<GradientRun, "opens" | "closes">,
  unit: number,
): readonly [from: number, to: number] {
  if (firstKey === 0 || !(mask instanceof KeyRuns)) return [0, to];
  const { block: [rows], runsOf } = mask, blocks = Math.ceil(to / rows);
  const sees = (index: number) =>
    runsOf(index).some(([from, end]) => from < endKey && end > firstKey);
  let first = 0, last = blocks;
  while (first < last && !sees(first)) first++;
  while (first < last && !sees(last - 1)) last--;
  return [Math.floor(first * rows / unit) * unit, Math.min(to, last * rows)];
}

/** The runs of a head, range by range. */
function* cutHead(
  head: Omit<GradientRun, "opens" | "closes">,
  { positions, keys, unit }: GradientCut,
  mask: AttentionPlan["blockMask"],
): Generator<GradientRun> {
  // One range of keys also where there is no key: a sink has a gradient all the same.
  for (let firstKey = 0; firstKey === 0 || firstKey < head.endKey; firstKey += keys) {
    const endKey = Math.min(firstKey + keys, head.endKey);
    const [begin, end] = rowsFor(mask, { ...head, firstKey, endKey }, unit);
    for (let from = begin; from < end; from += positions) {
      const to = Math.min(from + positions, end);
      const place = { ...head, from, to, firstKey, endKey };
      yield { ...place, opens: from === begin, closes: to === end };
    }
  }
}
