// Panels: eight rows side by side, and what their scores are made of. Forward and gradients share it.
//
// Rows are numbered position-major: row r is group member r % group at position r / group. Grouped
// heads thus share each loaded key, and neighbouring rows have neighbouring bounds.

import { Job, KeyInterval } from "./job.gen";
import { PANEL, packQueries, unpackRows } from "./layout";
import * as mask from "./mask";
import { addBias, subtractDistances } from "./scores";
import { cap_f32_2x8 } from "./tanh.gen";

export const LN_2: f64 = 0.6931471805599453;
export const LOG2_E: f64 = 1.4426950408889634;

// Tile memory, per panel: queries [dim][8], o [valueDim up to a multiple of 4][8], and the rows'
// state of 8 lanes each. Before the panels, what one panel and tile of keys need at a time: scores
// [tileKeys][8], the rows' bounds within the tile, addresses of the rows of a visit's bits, whether the
// tile's values are finite, and lanes.

export const M: usize = 0; // running maximum; of gradients the row's lse
export const L: usize = 32; // running sum; of gradients the row's delta
export const ALPHA: usize = 64;
export const BOUNDS: usize = 96; // first, end
export const SHIFT: usize = 160; // softmax's scratch
export const SLOPES: usize = 192;
export const ALIGNED: usize = 224;
export const BIAS_ROWS: usize = 256; // addresses
export const MASK_ROWS: usize = 288; // addresses
export const STATE: usize = 320;

// @ts-ignore: decorator
@inline
export function outputBytes(job: Job): usize {
  return ((job.valueDim + 3) & ~3) << 5;
}

// @ts-ignore: decorator
@inline
export function panelBytes(job: Job): usize {
  return (job.dim << 5) + outputBytes(job) + STATE;
}

export const TILE_BOUNDS: usize = 0;
export const TILE_ROWS: usize = 64;
export const TILE_FINITE: usize = 96; // whether the tile's values are finite, once that is known
export const TILE_FIRST: usize = 100; // the tile's first key, a multiple of 4
export const TILE_K: usize = 104; // where the panels of its keys begin, and the columns of its values
export const TILE_V: usize = 108;
export const TILE_COLUMNS: usize = 112; // bytes from one group of columns to the next
export const TILE_KEYS: usize = 116; // keys of the tile, a multiple of 4
export const TILE_SCALES: usize = 120; // scales of its keys; of f16, whether some are not finite
export const TILE_STORED: usize = 124; // 1 where it is in a page as it is stored there, and not f32
export const TILE_LANES: usize = 128;

// @ts-ignore: decorator
@inline
export function tileBytes(keys: usize): usize {
  return (keys << 5) + TILE_LANES + ((keys + mask.LANES_SLACK + 15) & ~15);
}

// Query rows of a job.

// @ts-ignore: decorator
@inline
export function rowsOf(job: Job): usize {
  return job.positions * job.group;
}

// Address of a row in an array of [positions][group].

// @ts-ignore: decorator
@inline
export function rowOf(base: usize, position: usize, head: usize, row: usize, group: usize): usize {
  return base + (row / group) * position + (row % group) * head;
}

// The keys that a row sees: first <= j < end. Writes both lanes' bounds.
export function setBounds(job: Job, bounds: usize, row: usize): void {
  const keys = <i64>job.keys, position = <i64>(row / job.group);
  const first = min(max(position + job.bandFirst, 0), keys);
  const end = min(max(position + job.bandLast + 1, 0), keys);
  store<i32>(bounds, <i32>first);
  store<i32>(bounds, <i32>max(first, end), 32);
}

// What makes a natural logarithm one to base 2^unit, as scores are.

// @ts-ignore: decorator
@inline
export function toUnits(job: Job): f32 {
  return <f32>LOG2_E / job.unit;
}

// What the scores of one row need beside its query.
export function placeRow(job: Job, state: usize, row: usize): void {
  const group = job.group;
  setBounds(job, state + BOUNDS, row);
  if (job.slopes != 0) {
    store<f32>(state, load<f32>(job.slopes + ((row % group) << 2)) * toUnits(job), SLOPES);
    store<f32>(state, job.aligned + <f32>(row / group), ALIGNED);
  }
  const biasRow = rowOf(job.bias, job.biasPosition, job.biasHead, row, group);
  const maskRow = rowOf(job.mask, job.maskPosition, job.maskHead, row, group);
  store<u32>(state, <u32>biasRow, BIAS_ROWS);
  store<u32>(state, <u32>maskRow, MASK_ROWS);
}

// Rows of a panel from firstRow on, `width` numbers of each, as panel[width][8] times `factor`. Rows past the
// last repeat it.
export function packPanel(
  storage: i32, base: usize, position: usize, head: usize, element: usize,
  panel: usize, width: usize, factor: f32, firstRow: usize, rows: usize, group: usize,
): void {
  for (let lane: usize = 0; lane < PANEL; lane += 4) {
    packQueries(
      storage,
      rowOf(base, position, head, min(firstRow + lane, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 1, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 2, rows - 1), group),
      rowOf(base, position, head, min(firstRow + lane + 3, rows - 1), group),
      element, panel + (lane << 2), 32, width, factor,
    );
  }
}

// The way back: rows of a panel o[valueDim][8], each lane times its factor at `by`, to where the job's results go.
export function unpackPanel(job: Job, o: usize, by: usize, width: usize, firstRow: usize, rows: usize): void {
  const base = job.out, position = job.outPosition, head = job.outHead;
  const group = job.group, last = rows - 1;
  for (let lane: usize = 0; lane < PANEL; lane += 4) {
    const row = firstRow + lane;
    if (row >= rows) break;
    unpackRows(
      job.outStorage,
      o + (lane << 2), 32, by + (lane << 2), width,
      rowOf(base, position, head, row, group),
      rowOf(base, position, head, min(row + 1, last), group),
      rowOf(base, position, head, min(row + 2, last), group),
      rowOf(base, position, head, min(row + 3, last), group),
      job.outElement, rows - row,
    );
  }
}

// The end of the tile of rows that begins at `row`: no tile crosses a block of queries.
export function tileEnd(job: Job, row: usize, rows: usize): usize {
  const end = min(row + job.tileRows, rows);
  if (job.visits == 0) return end;
  const group = job.group, blockRows = job.blockRows;
  const position = job.blockPhase + row / group;
  const blockEnd = (position / blockRows + 1) * blockRows - job.blockPhase;
  return min(end, blockEnd * group);
}

// The visits of the block of queries that a row is in: where they begin, and where they end behind that.
export function visitsOf(job: Job, row: usize): usize {
  const position = job.blockPhase + row / job.group;
  return job.visits + ((position / job.blockRows) << 2);
}

// @ts-ignore: decorator
@inline
export function smallest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = min(x, load<i32>(lanes + lane));
  return x;
}

// @ts-ignore: decorator
@inline
export function largest(lanes: usize): i32 {
  let x = load<i32>(lanes);
  for (let lane: usize = 4; lane < 32; lane += 4) x = max(x, load<i32>(lanes + lane));
  return x;
}

// The rows' bounds within the keys from..to.

// @ts-ignore: decorator
@inline
export function clipBounds(bounds: usize, clipped: usize, from: usize, to: usize): void {
  const least = i32x4.splat(<i32>from), most = i32x4.splat(<i32>to);
  v128.store(clipped, i32x4.max_s(v128.load(bounds), least));
  v128.store(clipped, i32x4.max_s(v128.load(bounds, 16), least), 16);
  v128.store(clipped, i32x4.min_s(v128.load(bounds, 32), most), 32);
  v128.store(clipped, i32x4.min_s(v128.load(bounds, 48), most), 48);
}

// Which of the keys from..to the masks let the rows of a panel see, into `lanes`; byte 0 is key `begin`, at
// most 7 before `from`.
export function readMasks(
  job: Job, state: usize, tile: usize, firstRow: usize, rows: usize, visit: usize,
  begin: usize, from: usize, to: usize,
): i32 {
  const lanes = tile + TILE_LANES, count = to - from;
  mask.seeAll(lanes, ((to + 7) & ~7) - begin + 16);
  if (job.mask != 0) {
    const maskRows = state + MASK_ROWS;
    if (job.maskIsBits != 0) mask.seeBits(lanes + (from - begin), maskRows, from, count);
    else mask.seeBytes(lanes + (from - begin), maskRows, from, count);
  }
  if (visit != 0 && changetype<KeyInterval>(visit).bits != 0) {
    const bitRows = tile + TILE_ROWS, group = job.group;
    for (let lane: usize = 0; lane < PANEL; lane++) {
      const position = job.blockPhase + min(firstRow + lane, rows - 1) / group;
      const row = (position % job.blockRows) * changetype<KeyInterval>(visit).rowBytes;
      store<u32>(bitRows + (lane << 2), <u32>(changetype<KeyInterval>(visit).bits + row));
    }
    mask.seeBits(lanes + (from - begin), bitRows, from - changetype<KeyInterval>(visit).origin, count);
  }
  return mask.classOf(lanes + (from - begin), count);
}

// Caps scores, where the job has a cap.
export function capScores(job: Job, s: usize, keys: usize): void {
  const cap = job.softcap;
  if (cap != 0) cap_f32_2x8(s, keys, cap, job.capUnit);
}

// Biases scores of the keys from..padded. Returns whether some bias masks.
export function biasScores(job: Job, state: usize, s: usize, from: usize, padded: usize): bool {
  const masks = job.bias != 0 && addBias(s, state + BIAS_ROWS, from, padded, toUnits(job));
  if (job.slopes != 0) {
    subtractDistances(s, state + SLOPES, state + ALIGNED, from, padded);
  }
  return masks;
}
