// Lightweight and dynamic convolution (Wu et al., arXiv 1901.10430): each row of `out` is the sum of a softmax's weights,
// its taps, times the rows of `x` around it. Rows go by blocks, columns by chunks: where all rows that a block's taps are
// on are there as plain f32, they are read where they are; else they are brought side by side before, those beyond the
// ends as zeros.
//
// The gradient with respect to `x` is a convolution of that with respect to `out` by turned taps: a row reads, of each
// row around it, the tap that was on it.

import { LOG4_E } from "../exp.gen";
import { firstHalves, high, low, secondHalves } from "../layout";
import { ConvolutionJob } from "../records.gen";
import { powers_f32_1x16 } from "../rows/exp.gen";
import { convolve_f32_1x8, convolve_f32_4x8, ConvolutionTile } from "./convolve.gen";
import { isPlain, readPart, readRow, rowsAt, writePart } from "../rows/row";
import { finite, greatestLane, inverse, power, sumOfLanes, tailOf } from "../rows/softmax";

// Rows of a block and columns of a chunk: what its taps are on stays in the first cache.
export const BLOCK: usize = 64;
const CHUNK: usize = 64;
export const CHUNK_BYTES: usize = 256;

// What a thread keeps of its job, at the begin of its scratch. Rows are counted from the head's first, unsigned: those
// before it are beyond all others.
@unmanaged
export class Convolution extends ConvolutionTile {
  job: ConvolutionJob;
  // Taps of rows as a softmax leaves them, `tapsRow` bytes from one to the next; 0 where all rows have the same.
  taps: usize;
  tapsRow: usize;
  // Taps of four rows each as tiles read them, [taps + 3][4], and bytes from four to the next.
  packed: usize;
  packedRow: usize;
  // Room for a chunk of the rows that a block's taps are on, and of its results.
  window: usize;
  results: usize;
}

// There is room for a vector in front of the taps.
const HEADER: usize = 80;

// Bytes of a row of taps: nine or more numbers behind them are read with those of other rows.
function tapsBytes(width: usize): usize {
  return (width + 12 & ~3) << 2;
}

function packedBytes(width: usize): usize {
  return (width + 6 & ~3) << 4;
}

// Rows that a block's taps are on, and those that tiles of four rows or eight taps have behind.
function windowRows(width: usize): usize {
  return BLOCK + width + 7;
}

// Bytes that a job needs.
export function convolutionScratch(job: ConvolutionJob): usize {
  const width = job.width, isShared = job.isShared != 0;
  const rows: usize = isShared ? 1 : windowRows(width), fours: usize = isShared ? 1 : BLOCK >> 2;
  return HEADER + rows * tapsBytes(width) + fours * packedBytes(width) + (windowRows(width) + BLOCK) * CHUNK_BYTES;
}

// Finds the places of a job in its scratch; where rows share their taps, these are made.
export function openConvolution(job: ConvolutionJob, scratch: usize): Convolution {
  const own = changetype<Convolution>(scratch), width = job.width, isShared = job.isShared != 0;
  own.job = job;
  own.width = width;
  own.tapsRow = isShared ? 0 : tapsBytes(width);
  own.packedRow = isShared ? 0 : packedBytes(width);
  own.taps = scratch + HEADER;
  own.packed = own.taps + (isShared ? 1 : windowRows(width)) * tapsBytes(width);
  own.window = own.packed + (isShared ? 1 : BLOCK >> 2) * packedBytes(width);
  own.results = own.window + windowRows(width) * CHUNK_BYTES;
  if (!isShared) return own;
  weigh(own, 0, own.taps);
  if (job.isTurned) packTurned(own, own.taps, own.packed);
  else packFour(own, own.taps, own.packed);
  return own;
}

// Softmax of a row of weights; up to three numbers behind it become 0.
function weigh(own: Convolution, index: usize, to: usize): void {
  const width = own.width, last = to + (width - 1 & ~3) * 4, unit = f32x4.splat(LOG4_E);
  readRow(rowsAt(own.job, offsetof<ConvolutionJob>("w")), index, width, to, 1);
  if (width & 3) v128.store(last, tailOf(last, width & 3, -Infinity));
  let m = f32x4.splat(-Infinity), l = f32x4.splat(0);
  for (let at = to; at <= last; at += 16) m = f32x4.pmax(m, v128.load(at));
  m = finite(greatestLane(m));
  for (let at = to; at <= last; at += 16) {
    const p = power(v128.load(at), m, unit);
    v128.store(at, p);
    l = f32x4.add(l, p);
  }
  l = inverse(sumOfLanes(l));
  for (let at = to; at <= last; at += 16) v128.store(at, f32x4.mul(v128.load(at), l));
}

// The same of rows that each have their own, 0 beyond the ends.
export function weighRows(own: Convolution, from: usize, to: usize): void {
  const job = own.job;
  let at = own.taps;
  for (let row = from; row != to; row++, at += own.tapsRow) {
    if (row < job.total) weigh(own, row - job.wFirst, at);
    else zero(at, own.tapsRow);
  }
}

function zero(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

// Taps of four rows become [taps + 3][4]: a row's are one step later than those of the row before.
function packFour(own: Convolution, taps: usize, to: usize): void {
  const row = own.tapsRow - 4;
  for (const end = to + packedBytes(own.width); to < end; to += 64, taps += 16) {
    const a = v128.load(taps), b = v128.load(taps + row), c = v128.load(taps + 2 * row), d = v128.load(taps + 3 * row);
    const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
    v128.store(to, firstHalves(ab, cd));
    v128.store(to, secondHalves(ab, cd), 16);
    v128.store(to, firstHalves(AB, CD), 32);
    v128.store(to, secondHalves(AB, CD), 48);
  }
}

// The same of turned taps: on the first of the rows around four is the last tap of its own for the first of them.
function packTurned(own: Convolution, taps: usize, to: usize): void {
  const row = own.tapsRow - 4;
  taps += own.width - 1 << 2;
  for (const end = to + (own.width + 3 << 4); to < end; to += 16, taps += row) v128.store(to, v128.load(taps));
}

// Softmax of four rows that are packed, -Infinity around each: every lane sums in the order of its taps.
function weighFour(own: Convolution, at: usize): void {
  const end = at + packedBytes(own.width), unit = f32x4.splat(LOG4_E);
  let m = f32x4.splat(-Infinity), l = f32x4.splat(0);
  for (let a = at; a < end; a += 16) m = f32x4.pmax(m, v128.load(a));
  powers_f32_1x16(at, end, at, finite(m), unit);
  for (let a = at; a < end; a += 16) l = f32x4.add(l, v128.load(a));
  l = inverse(l);
  for (let a = at; a < end; a += 16) v128.store(a, f32x4.mul(v128.load(a), l));
}

// Taps of a block as tiles read them.
function packBlock(own: Convolution, from: usize, count: usize): void {
  const job = own.job, isTurned = job.isTurned, first = from - job.lead;
  if (job.isShared) return;
  // Turned taps are of several rows each, and weighed before they are packed.
  if (isTurned) weighRows(own, first, first + count + job.width - 1);
  else readWeights(own, from, count);
  for (let r: usize = 0; r < count; r += 4) {
    const taps = own.taps + r * own.tapsRow, to = own.packed + (r >> 2) * own.packedRow;
    if (isTurned) {
      packTurned(own, taps, to);
    } else {
      packFour(own, taps, to);
      weighFour(own, to);
    }
  }
}

// Weights of a block as they are, -Infinity around them.
function readWeights(own: Convolution, from: usize, count: usize): void {
  const job = own.job, width = own.width, weights = rowsAt(job, offsetof<ConvolutionJob>("w")), none = f32x4.splat(-Infinity);
  v128.store(own.taps - 16, none);
  let at = own.taps, end = at + own.tapsRow;
  for (let r: usize = 0; r < count; r++, at = end, end += own.tapsRow) {
    v128.store(end - 16, none), v128.store(end - 32, none), v128.store(end - 48, none);
    readRow(weights, from - job.wFirst + r, width, at, 1);
  }
}

// Columns of the next chunk, when so many are left.
export function chunkOf(left: usize): usize {
  return left >= CHUNK ? CHUNK : left >= 8 ? left & ~7 : left;
}

// A chunk of a row of x: of those before the first, and zeros beyond the ends.
function readChunk(own: Convolution, row: usize, column: usize, to: usize): void {
  const job = own.job, columns = own.columns, before = rowsAt(job, offsetof<ConvolutionJob>("before"));
  const index = row + job.width - 1;
  if (columns < 8 || row >= job.total) zero(to, columns < 8 ? 32 : CHUNK_BYTES);
  if (row < job.total) readPart(rowsAt(job, offsetof<ConvolutionJob>("x")), row - job.xFirst, column, columns, to);
  else if (before.at != 0 && index < job.width - 1) readPart(before, index, column, columns, to);
}

// The address of a chunk of rows of x, `xRow` bytes from one to the next.
export function openWindow(own: Convolution, from: usize, to: usize, column: usize): usize {
  const job = own.job, x = rowsAt(job, offsetof<ConvolutionJob>("x"));
  if (isPlain(x) && own.columns >= 8 && from < job.total && to <= job.total) {
    own.xRow = x.row;
    return x.at + (from - job.xFirst) * x.row + (column << 2);
  }
  own.xRow = CHUNK_BYTES;
  for (let row = from, at = own.window; row != to; row++, at += CHUNK_BYTES) readChunk(own, row, column, at);
  return own.window;
}

// Some rows, four at a time.
function convolveRows(own: Convolution, x: usize, out: usize, count: usize): void {
  const fours: usize = own.width < 3 ? 0 : count & ~3;
  let r: usize = 0;
  for (; r < fours; r += 4) {
    convolve_f32_4x8(own, x + r * own.xRow, out + r * own.outRow, own.packed + (r >> 2) * own.packedRow);
  }
  for (; r < count; r++) {
    const taps = own.packed + (r >> 2) * own.packedRow + (r & 3) * 20;
    convolve_f32_1x8(own, x + r * own.xRow, out + r * own.outRow, taps);
  }
}

function convolveChunk(own: Convolution, from: usize, count: usize, column: usize): void {
  const job = own.job, y = rowsAt(job, offsetof<ConvolutionJob>("y")), first = from - job.first, lead = from - job.lead;
  const x = openWindow(own, lead, lead + count + job.width - 1, column);
  if (isPlain(y) && own.columns >= 8) {
    own.outRow = y.row;
    return convolveRows(own, x, y.at + first * y.row + (column << 2), count);
  }
  own.outRow = CHUNK_BYTES;
  convolveRows(own, x, own.results, count);
  for (let r: usize = 0, at = own.results; r < count; r++, at += CHUNK_BYTES) {
    writePart(y, first + r, column, own.columns, at);
  }
}

// Rows of one job.
export function convolution(job: ConvolutionJob, scratch: usize): void {
  const own = openConvolution(job, scratch), columns = job.columns, end = job.first + job.rows;
  for (let from = job.first; from < end; from += BLOCK) {
    const count = min(BLOCK, end - from);
    packBlock(own, from, count);
    for (let column: usize = 0; column < columns; column += own.columns) {
      own.columns = chunkOf(columns - column);
      convolveChunk(own, from, count, column);
    }
  }
  if (job.after != 0) keepLast(own);
}

// The last rows that taps will be on: what comes before the rows of the next call.
function keepLast(own: Convolution): void {
  const job = own.job, columns = job.columns, after = rowsAt(job, offsetof<ConvolutionJob>("after"));
  for (let index: usize = 0; index < job.width - 1; index++) {
    for (let column: usize = 0; column < columns; column += own.columns) {
      own.columns = chunkOf(columns - column);
      readChunk(own, job.total - job.width + 1 + index, column, own.window);
      writePart(after, index, column, own.columns, own.window);
    }
  }
}
