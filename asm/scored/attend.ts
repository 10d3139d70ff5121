// Score and mask functions within attention: what is computed once for a job, for a tile of rows and for a tile of keys; which
// tiles and panels masks leave out; and what becomes of a panel's scores.

import * as mask from "../mask";
import { findSeen } from "../panel";
import { PANEL, State, Tile } from "../record";
import { Job, ScoreProgram } from "../records.gen";
import { areValuesFinite, isHarmless } from "../values";
import { ALWAYS, beginRanges, classify, MIXED, NEVER, setQueries } from "./intervals";
import { runProgram } from "./program";
import { programOf, Work, workOf } from "./work";

// Keys that are trimmed at a time.
const STEP: usize = 4;

// @ts-ignore: decorator
@inline
function rangesOf(program: ScoreProgram, work: Work): usize {
  return work.registers + program.registerBytes;
}

// Eight lanes of a register become a number's bits.
function fill(work: Work, place: usize, bits: i32): void {
  const to = work.registers + place, lanes = i32x4.splat(bits);
  v128.store(to, lanes);
  v128.store(to, lanes, 16);
}

// Whole numbers from `first` on, as many times eight as there are.
function number(work: Work, place: usize, first: i32, eights: usize): void {
  let at = work.registers + place, x = i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3));
  for (const end = at + (eights << 5); at < end; at += 16, x = i32x4.add(x, i32x4.splat(4))) v128.store(at, x);
}

// Instructions on so many times eight numbers that lie side by side.
function runFlat(work: Work, at: usize, end: usize, eights: usize): void {
  if (at == end) return;
  const run = work.run;
  run.at = at;
  run.end = end;
  run.registers = work.registers;
  run.key = 0;
  run.panel = 0;
  run.n = eights;
  runProgram(run);
}

// What is the same for a job.
export function beginScores(job: Job, tile: Tile): void {
  const program = programOf(job), work = workOf(tile);
  for (let at = program.constants; at < program.constantsEnd; at += 8) {
    fill(work, load<u32>(at), load<i32>(at, 4));
  }
  if (program.b != 0) fill(work, program.b, job.batch);
  if (program.h != 0) fill(work, program.h, job.head);
  runFlat(work, program.once, program.onceEnd, 1);
  beginRanges(program, rangesOf(program, work), job.batch, job.head);
}

// What is the same for a tile of rows.
export function beginRows(job: Job, tile: Tile): void {
  const program = programOf(job), work = workOf(tile), eights = (tile.endRow - tile.firstRow + 7) >> 3;
  if (program.q != 0) number(work, program.q, job.firstRow + <i32>tile.firstRow, eights);
  runFlat(work, program.query, program.queryEnd, eights);
}

// The rows row..endRow are those of which masks are asked.
function askOf(job: Job, work: Work, row: usize, endRow: usize): void {
  const program = programOf(job), q = job.firstRow;
  setQueries(program, rangesOf(program, work), q + <i32>row, q + <i32>endRow - 1);
}

// What masks say of them and the keys from..to.
function ask(job: Job, work: Work, from: usize, to: usize): i32 {
  const program = programOf(job), k = job.firstKey;
  return classify(program, rangesOf(program, work), k + <i32>from, k + <i32>to - 1);
}

// What is the same for a tile of rows and keys. Returns whether some row may see some key.
export function beginKeys(job: Job, tile: Tile): bool {
  const program = programOf(job), work = workOf(tile), keys = job.tileKeys;
  work.ofTile = ALWAYS;
  if (program.result != 0) {
    askOf(job, work, tile.firstRow, tile.endRow);
    work.ofTile = ask(job, work, tile.from, tile.to);
  }
  if (work.ofTile == NEVER) return false;
  // Most masks move by as much as their rows do.
  work.from = work.maskFrom = tile.from;
  work.to = tile.to;
  work.fromMoved = work.toMoved = PANEL;
  const first = job.firstKey + <i32>tile.first, eights = (keys + 7) >> 3;
  if (program.k != 0) number(work, program.k, first, eights);
  runFlat(work, program.key, program.keyEnd, eights);
  const apart = (tile.endRow - tile.firstRow + keys + 15) >> 3;
  if (program.qMinusK != 0) {
    number(work, program.qMinusK, job.firstRow + <i32>tile.firstRow - (first + <i32>keys - 1), apart);
  }
  runFlat(work, program.distance, program.distanceEnd, apart);
  return true;
}

// Where an end of a panel may be, by where those of the panels before were: as far from the last one as that from its own.

// @ts-ignore: decorator
@inline
function expected(last: usize, moved: isize, from: usize, to: usize): usize {
  return <usize>min(max(<isize>last + moved, <isize>from), <isize>to);
}

// The first of the keys from..to that some row may see: by halves, but where it is expected.
function firstSeen(job: Job, work: Work, from: usize, to: usize, guess: usize): usize {
  let most = to;
  if (guess < to) {
    const isBehind = guess == from || ask(job, work, from, guess) == NEVER;
    if (isBehind) {
      if (ask(job, work, guess, min(guess + STEP, to)) != NEVER) return guess;
      from = guess;
    } else most = guess;
  }
  // Keys before `from` are not seen, some of those before `most` may be.
  while (most - from > STEP) {
    const middle = from + (((most - from) >> 1) + STEP - 1 & ~(STEP - 1));
    if (middle >= most) break;
    if (ask(job, work, from, middle) == NEVER) from = middle;
    else most = middle;
  }
  return from;
}

// The end of those, likewise.
function endSeen(job: Job, work: Work, from: usize, to: usize, guess: usize): usize {
  let least = from;
  if (guess > from) {
    const isBefore = guess == to || ask(job, work, guess, to) == NEVER;
    if (isBefore) {
      if (ask(job, work, max(guess - STEP, from), guess) != NEVER) return guess;
      to = guess;
    } else least = guess;
  }
  while (to - least > STEP) {
    const middle = to - (((to - least) >> 1) + STEP - 1 & ~(STEP - 1));
    if (middle <= least) break;
    if (ask(job, work, middle, to) == NEVER) to = middle;
    else least = middle;
  }
  return to;
}

// Keys that the rows row..end do not see are left off both ends of a tile. Returns whether any are left.
function trim(job: Job, tile: Tile, work: Work, row: usize, end: usize): bool {
  const first = tile.from, last = tile.to;
  askOf(job, work, row, end);
  work.ofPanel = ask(job, work, first, last);
  if (work.ofPanel != MIXED) return work.ofPanel == ALWAYS;
  const from = firstSeen(job, work, first, last, expected(work.from, work.fromMoved, first, last));
  const to = endSeen(job, work, from, last, expected(work.to, work.toMoved, first, last));
  work.fromMoved = <isize>from - <isize>work.from;
  work.toMoved = <isize>to - <isize>work.to;
  work.from = from;
  work.to = to;
  tile.from = from;
  tile.to = to;
  // Of fewer keys more is known.
  work.ofPanel = ask(job, work, from, to);
  if (work.ofPanel == MIXED) leaveSeen(job, work, from, to);
  return work.ofPanel != NEVER;
}

// Of the keys from..to, the ones at either end that all rows see need no mask: by halves, as long as these are seen.
function leaveSeen(job: Job, work: Work, from: usize, to: usize): void {
  const guess = expected(work.maskFrom, work.fromMoved, from, to);
  if (guess > from && ask(job, work, from, guess) == ALWAYS) from = guess;
  for (let count = upToMiddle(from, to); count != 0; count = upToMiddle(from, to)) {
    if (ask(job, work, from, from + count) != ALWAYS) break;
    from += count;
  }
  for (let count = upToMiddle(from, to); count != 0; count = upToMiddle(from, to)) {
    if (ask(job, work, to - count, to) != ALWAYS) break;
    to -= count;
  }
  work.maskFrom = from;
  work.maskTo = to;
}

// Half of some keys, a multiple of what is trimmed at a time; 0 where they are too few.

// @ts-ignore: decorator
@inline
function upToMiddle(from: usize, to: usize): usize {
  return ((to - from) >> 1) & ~(STEP - 1);
}

// As `findSeen()` of a panel, without what the mask function leaves off.
export function findSeenKeys(job: Job, tile: Tile, state: State, row: usize, step: usize): bool {
  const work = workOf(tile);
  if (work.ofTile != MIXED) {
    work.ofPanel = work.ofTile;
    return findSeen(tile, state, step);
  }
  const from = tile.from, to = tile.to;
  const found = trim(job, tile, work, row, min(row + PANEL, tile.endRow)) && findSeen(tile, state, step);
  tile.from = from;
  tile.to = to;
  return found;
}

// Instructions on the scores of a panel, of the keys from..to counted from its first; some at a time, so that what is between
// stays in L1.
function runTile(job: Job, tile: Tile, row: usize, from: usize, to: usize): void {
  const work = workOf(tile), run = work.run, skipped = tile.skipped, chunk = programOf(job).chunk;
  run.registers = work.registers;
  run.scores = tile.s - (skipped << 5);
  run.panel = (row - tile.firstRow) / PANEL;
  for (; from < to; from += chunk) {
    run.key = skipped + from;
    run.n = min(chunk, to - from);
    runProgram(run);
  }
}

// Whether there are instructions; says which ones are to be done.

// @ts-ignore: decorator
@inline
function hasProgram(work: Work, at: usize, end: usize): bool {
  work.run.at = at;
  work.run.end = end;
  return at != end;
}

// Scores become what the score function makes of them. Returns whether lanes hide some: a score of -Infinity masks, which a cap
// would not show any more.
export function changeScores(job: Job, tile: Tile, row: usize, masked: bool): bool {
  const program = programOf(job), keys = tile.groups << 2;
  if (hasProgram(workOf(tile), program.score, program.scoreEnd)) runTile(job, tile, row, 0, keys);
  if (job.softcap == 0) return masked;
  if (!masked) mask.seeAll(tile.lanes, keys);
  mask.seeScores(tile.lanes, tile.s, keys);
  return true;
}

// Scores become -Infinity where the mask function hides the key.
function maskPanel(job: Job, tile: Tile, row: usize): void {
  const program = programOf(job), work = workOf(tile), keys = tile.groups << 2;
  if (work.ofPanel != MIXED || !hasProgram(work, program.mask, program.maskEnd)) return;
  const from = max(work.maskFrom, tile.begin), to = min(work.maskTo, tile.begin + keys);
  if (from < to) runTile(job, tile, row, (from - tile.begin) & ~3, min(keys, to - tile.begin + 3 & ~3));
}

// Whether the values that the mask function hides from some row of a panel may be multiplied by weights of 0, where they are few
// beside those of the tile, which are looked at once for all panels.
function isMaskHarmless(job: Job, tile: Tile): bool {
  const work = workOf(tile), values = tile.seenValues(), begin = tile.begin;
  const from = max(work.maskFrom, begin) - begin, to = min(work.maskTo, tile.end) - begin;
  return (to - from) << 3 <= tile.keys && areValuesFinite(job, values, from, to);
}

// Scores become -Infinity where the mask function hides the key. Returns whether lanes hide some: where values can be multiplied by
// a weight of 0, nobody asks.
export function maskByFunction(job: Job, tile: Tile, row: usize, masked: bool): bool {
  maskPanel(job, tile, row);
  const program = programOf(job), keys = tile.groups << 2, isMixed = workOf(tile).ofPanel == MIXED;
  const isKept = program.score == program.scoreEnd || !mask.hasMasked(tile.s, keys);
  if (isKept && (!isMixed || isMaskHarmless(job, tile))) return masked;
  if (isHarmless(job, tile, tile.seenValues(), true)) return masked;
  if (!masked) mask.seeAll(tile.lanes, keys);
  mask.seeScores(tile.lanes, tile.s, keys);
  return true;
}

// The same of gradients, whose lanes say all: up to `keys`, they come to hide what the mask function hides, and scores of
// -Infinity. Returns whether they do.
export function maskGradients(job: Job, tile: Tile, row: usize, keys: usize): bool {
  maskPanel(job, tile, row);
  if (workOf(tile).ofPanel != MIXED && !mask.hasMasked(tile.s, keys)) return false;
  mask.seeScores(tile.lanes, tile.s, keys);
  return true;
}

// Gradients of changed scores, [keys][8], become those of the scores at `scores`, as they were before.
export function differentiateChange(job: Job, tile: Tile, row: usize, scores: usize, dScores: usize): void {
  const program = programOf(job), work = workOf(tile), s = tile.s;
  if (!hasProgram(work, program.gradient, program.gradientEnd)) return;
  tile.s = scores;
  work.run.dScores = dScores - (tile.skipped << 5);
  runTile(job, tile, row, 0, tile.groups << 2);
  tile.s = s;
}
