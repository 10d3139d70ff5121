// Panels: eight rows side by side, and what their scores are made of. Forward and gradients share it.

import { packFourRows, unpackFourRows } from "./layout";
import * as mask from "./mask";
import {
  fourRowsOf, PANEL, resultsOf, rowOf, rowsOf, State, Tile,
} from "./record";
import { GroupRows, Job, KeyInterval } from "./records.gen";
import { addBias, subtractDistances } from "./scores";
import { cap_f32_2x8 } from "./tanh.gen";

export const LN_2: f64 = 0.6931471805599453;
export const LOG2_E: f64 = 1.4426950408889634;

// The keys that a row sees: first <= j < end. Writes both lanes' bounds.
function setBounds(job: Job, bounds: usize, row: usize): void {
  const keys = <i64>job.keys, position = <i64>(row / job.group);
  const first = min(max(position + job.bandFirst, 0), keys);
  const end = min(max(position + job.bandLast + 1, 0), keys);
  store<i32>(bounds, <i32>first);
  store<i32>(bounds, <i32>max(first, end), 32);
}

// Whether some rows of a tile may see some of its keys.
export function mayMeet(job: Job, tile: Tile): bool {
  const bounds = tile.bounds;
  setBounds(job, bounds, tile.firstRow);
  const begin = tile.isKept ? 0 : load<i32>(bounds);
  setBounds(job, bounds, tile.endRow - 1);
  return max(<i32>tile.from, begin) < min(<i32>tile.to, load<i32>(bounds, 32));
}

// What makes a natural logarithm one to base 2^unit, as scores are.

// @ts-ignore: decorator
@inline
function toUnits(job: Job): f32 {
  return <f32>LOG2_E / job.unit;
}

// What the scores of one row need in addition to its query, in lane 0 of a state.
export function placeRow(job: Job, state: State, row: usize): void {
  const group = job.group;
  setBounds(job, state.bounds, row);
  if (job.slopes != 0) {
    store<f32>(state.slopes, load<f32>(job.slopes + ((row % group) << 2)) * toUnits(job));
    store<f32>(state.aligned, job.aligned + <f32>(row / group));
  }
  store<u32>(state.biasRows, <u32>rowOf(job.bias, job.biasPosition, job.biasHead, row, group));
  store<u32>(state.maskRows, <u32>rowOf(job.mask, job.maskPosition, job.maskHead, row, group));
}

// The same of the rows of a panel; those past the last repeat it.
export function placeRows(job: Job, state: State, row: usize, end: usize): void {
  for (let lane: usize = 0; lane < PANEL; lane++) placeRow(job, state.lane(lane), min(row + lane, end - 1));
}

// Rows of a panel from `row` of a tile on, `width` numbers of each, as panel[width][8] times `factor`. Rows past the
// last repeat it.
export function packPanel(rows: GroupRows, panel: usize, width: usize, factor: f32, low: v128, high: v128): void {
  packFourRows(rows, low, panel, width, factor);
  packFourRows(rows, high, panel + 16, width, factor);
}

// The way back: rows of a panel o[width][8], each lane times its factor at `by`, to where the job's results go.
export function unpackPanel(job: Job, o: usize, by: usize, width: usize, row: usize, end: usize): void {
  const rows = resultsOf(job);
  for (const last = min(row + PANEL, end); row < last; row += 4, o += 16, by += 16) {
    unpackFourRows(rows, fourRowsOf(rows, row, end, job.group), o, v128.load(by), width, end - row);
  }
}

// The end of the tile of rows that begins at `row`: no tile crosses a block of queries.
export function tileEnd(job: Job, row: usize): usize {
  const end = min(row + job.tileRows, rowsOf(job));
  if (job.keyIntervals == 0) return end;
  const group = job.group, blockRows = job.maskBlockRows;
  const position = job.maskBlockPhase + row / group;
  const blockEnd = (position / blockRows + 1) * blockRows - job.maskBlockPhase;
  return min(end, blockEnd * group);
}

// The intervals of the block of queries that a row is in: where they begin, and where they end behind that.
export function intervalsOf(job: Job, row: usize): usize {
  const position = job.maskBlockPhase + row / job.group;
  return job.keyIntervals + ((position / job.maskBlockRows) << 2);
}

function smallest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = min(x, load<i32>(lanes + lane));
  return x;
}

function largest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = max(x, load<i32>(lanes + lane));
  return x;
}

// Which of the keys that a tile of rows visits a panel looks at, by its rows' bounds alone: from a multiple of `step`
// on. Returns whether there are any.
export function findSeen(tile: Tile, state: State, step: usize): bool {
  const bounds = state.bounds, clipped = tile.bounds;
  const least = i32x4.splat(<i32>tile.from), most = i32x4.splat(<i32>tile.to);
  const counts = i32x4.splat(tile.isKept ? 0 : -1);
  v128.store(clipped, i32x4.max_s(v128.and(v128.load(bounds), counts), least));
  v128.store(clipped, i32x4.max_s(v128.and(v128.load(bounds, 16), counts), least), 16);
  v128.store(clipped, i32x4.min_s(v128.load(bounds, 32), most), 32);
  v128.store(clipped, i32x4.min_s(v128.load(bounds, 48), most), 48);
  const seen = <usize>smallest(clipped), end = <usize>largest(clipped + 32);
  if (seen >= end) return false;
  const begin = seen & ~(step - 1);
  tile.seen = seen;
  tile.begin = begin;
  tile.end = end;
  tile.fullFrom = min<usize>(max<usize>(begin, largest(clipped)), end);
  tile.fullTo = max<usize>(min<usize>(end, smallest(clipped + 32)), tile.fullFrom);
  return true;
}

// Whether masks, and not bounds alone, say who sees what.

// @ts-ignore: decorator
@inline
export function hasMasks(job: Job, tile: Tile): bool {
  return job.mask != 0 || (tile.interval != 0 && changetype<KeyInterval>(tile.interval).bits != 0);
}

// Which of the keys that a panel looks at the masks let its rows see, into the lanes.
export function readMasks(job: Job, tile: Tile, state: State, row: usize): i32 {
  const seen = tile.seen, count = tile.end - seen, lanes = tile.lanes + (seen - tile.begin);
  mask.seeAll(tile.lanes, ((tile.end + 7) & ~7) - tile.begin + 16);
  if (job.mask != 0) {
    if (job.maskIsBits != 0) mask.seeBits(lanes, state.maskRows, seen, count);
    else mask.seeBytes(lanes, state.maskRows, seen, count);
  }
  const interval = changetype<KeyInterval>(tile.interval);
  if (tile.interval != 0 && interval.bits != 0) {
    const bitRows = tile.bitRows, group = job.group;
    for (let lane: usize = 0; lane < PANEL; lane++) {
      const position = job.maskBlockPhase + min(row + lane, tile.endRow - 1) / group;
      store<u32>(bitRows + (lane << 2), <u32>(interval.bits + (position % job.maskBlockRows) * interval.rowBytes));
    }
    mask.seeBits(lanes, bitRows, seen - interval.origin, count);
  }
  return mask.classOf(lanes, count);
}

// Caps scores, where the job has a cap.
export function capScores(job: Job, s: usize, keys: usize): void {
  const cap = job.softcap;
  if (cap != 0) cap_f32_2x8(s, keys, cap, job.capUnit);
}

// Biases scores of the keys from..padded, before which `gap` more stand than are there. Returns whether some bias masks.
export function biasScores(job: Job, state: State, s: usize, from: usize, padded: usize, gap: i32): bool {
  const masks = job.bias != 0 && addBias(s, state.biasRows, from, padded, toUnits(job));
  if (job.slopes != 0) subtractDistances(s, state.slopes, state.aligned, <i32>from - gap, <i32>padded - gap);
  return masks;
}

// Scores that the rows' bounds hide become -inf, and, where `masked`, those that the lanes hide.
function maskScores(tile: Tile, masked: bool): void {
  const padded = tile.begin + (tile.groups << 2);
  if (tile.begin < tile.fullFrom) maskEnd(tile, tile.begin, tile.fullFrom, masked);
  if (tile.fullTo < padded) maskEnd(tile, tile.fullTo, padded, masked);
  if (masked) mask.maskScores(tile.s, tile.lanes, padded - tile.begin);
}

// Scores of the panel become those that are weighed: capped, biased, masked; `masked` says whether lanes hide some, and is
// returned with what biases hide.

// @ts-ignore: decorator
@inline
export function finishScores(job: Job, tile: Tile, state: State, masked: bool): bool {
  const keys = tile.groups << 2, padded = tile.begin + keys;
  capScores(job, tile.s, keys);
  if (biasScores(job, state, tile.s, tile.begin, padded, tile.isKept ? job.gap : 0)) {
    if (!masked) mask.seeAll(tile.lanes, keys);
    mask.seeFinite(tile.lanes, state.biasRows, tile.begin, padded);
    masked = true;
  }
  maskScores(tile, masked);
  return masked;
}

// The keys from..to, of which bounds hide some: they are looked at one by one.
function maskEnd(tile: Tile, from: usize, to: usize, masked: bool): void {
  const skipped = from - tile.begin, lanes = tile.lanes + skipped, count = to - from;
  if (!masked) mask.seeAll(lanes, count);
  mask.seeWithin(lanes, tile.bounds, <i32>from, <i32>to);
  if (!masked) mask.maskScores(tile.s + (skipped << 5), lanes, count);
}
