// Softmax and its logarithms, of whole rows. Safe softmax has three passes: maximum, powers and their sum, and the
// division; the exponential is what it waits for. Rows of more than BLOCK columns go by blocks, each against the maximum
// so far, which is remembered: the last pass makes up for it. One exponential an element, where the online form
// (Milakov and Gimelshein, arXiv 1805.02867, algorithm 3) has two, and sums of sums, which are as exact in long rows as
// in short ones.

import { exp4, LOG4_E } from "../exp.gen";
import { HeadRows, LOG_SOFTMAX, LOG_SUM_EXP, SOFTMAX, SoftmaxJob } from "../records.gen";
import { powers_f32_1x16, powersAhead_f32_1x16, sums_f32_1x16 } from "./exp.gen";
import { excludeMasked, isPlain, LANES, multiply, readRow, rowsAt, storeLanes, writeRow } from "./row";

// Numbers that are looked at twice while they are near: a block, its powers and what is read ahead stay in L1.
const BLOCK: usize = 1024;

// Numbers of a job that comes from memory: what is next is read ahead while powers are computed, which wait for nothing.
const FAR: usize = 1 << 17;

// @ts-ignore: decorator
@inline
export function greatestLane(x: v128): v128 {
  x = f32x4.pmax(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return f32x4.pmax(x, v128.shuffle<i32>(x, x, 1, 0, 3, 2));
}

// @ts-ignore: decorator
@inline
export function sumOfLanes(x: v128): v128 {
  x = f32x4.add(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return f32x4.add(x, v128.shuffle<i32>(x, x, 1, 0, 3, 2));
}

// The last one to three numbers, and `rest` in the lanes behind them.

// @ts-ignore: decorator
@inline
export function tailOf(x: usize, count: usize, rest: f32): v128 {
  return v128.bitselect(v128.load(x), f32x4.splat(rest), v128.load(LANES - (count << 2)));
}

// The greatest of some numbers and of `least`, in every lane. NaNs do not count.

// @ts-ignore: decorator
@inline
export function maximumOf(x: usize, count: usize, least: v128): v128 {
  let m0 = least, m1 = m0, m2 = m0, m3 = m0;
  const whole = x + ((count & ~15) << 2), end = x + ((count & ~3) << 2);
  for (; x < whole; x += 64) {
    m0 = f32x4.pmax(m0, v128.load(x));
    m1 = f32x4.pmax(m1, v128.load(x, 16));
    m2 = f32x4.pmax(m2, v128.load(x, 32));
    m3 = f32x4.pmax(m3, v128.load(x, 48));
  }
  for (; x < end; x += 16) m0 = f32x4.pmax(m0, v128.load(x));
  if (count & 3) m1 = f32x4.pmax(m1, tailOf(x, count & 3, f32x4.extract_lane(least, 0)));
  return greatestLane(f32x4.pmax(f32x4.pmax(m0, m1), f32x4.pmax(m2, m3)));
}

// @ts-ignore: decorator
@inline
export function power(x: v128, m: v128, unit: v128): v128 {
  return exp4(f32x4.mul(f32x4.sub(x, m), unit));
}

// y = 4^((x - m) unit), and the sum, in every lane. As many numbers from `next` on are read ahead, unless it is 0.

// @ts-ignore: decorator
@inline
function powersOf(x: usize, y: usize, count: usize, m: v128, unit: v128, next: usize): v128 {
  const apart = y - x, whole = x + ((count & ~15) << 2), end = x + ((count & ~3) << 2);
  let sum = next == 0 ? powers_f32_1x16(x, whole, y, m, unit) : powersAhead_f32_1x16(x, whole, y, m, unit, next);
  for (x = whole; x < end; x += 16) {
    const p = power(v128.load(x), m, unit);
    v128.store(x + apart, p);
    sum = f32x4.add(sum, p);
  }
  if (count & 3) {
    const p = power(tailOf(x, count & 3, -Infinity), m, unit);
    storeLanes(x + apart, p, count & 3);
    sum = f32x4.add(sum, p);
  }
  return sumOfLanes(sum);
}

// The sum alone.
export function sumOf(x: usize, count: usize, m: v128, unit: v128): v128 {
  const whole = x + ((count & ~15) << 2), end = x + ((count & ~3) << 2);
  let sum = sums_f32_1x16(x, whole, m, unit);
  for (x = whole; x < end; x += 16) sum = f32x4.add(sum, power(v128.load(x), m, unit));
  if (count & 3) sum = f32x4.add(sum, power(tailOf(x, count & 3, -Infinity), m, unit));
  return sumOfLanes(sum);
}

// y = (x - m) by - shift.
function shifted(x: usize, y: usize, count: usize, m: f32, by: f32, shift: f32): void {
  const apart = y - x, end = x + ((count & ~3) << 2);
  const ms = f32x4.splat(m), bys = f32x4.splat(by), shifts = f32x4.splat(shift);
  for (; x < end; x += 16) {
    v128.store(x + apart, f32x4.sub(f32x4.mul(f32x4.sub(v128.load(x), ms), bys), shifts));
  }
  for (const last = end + ((count & 3) << 2); x < last; x += 4) {
    store<f32>(x + apart, (load<f32>(x) - m) * by - shift);
  }
}

// The maximum that a block counts from: of a row that has seen nothing any finite number.

// @ts-ignore: decorator
@inline
export function finite(m: v128): v128 {
  return f32x4.pmax(m, f32x4.splat(-f32.MAX_VALUE));
}

// What a sum is divided by: rows that see nothing are 0.

// @ts-ignore: decorator
@inline
export function inverse(l: v128): v128 {
  return v128.andnot(f32x4.div(f32x4.splat(1), l), f32x4.eq(l, f32x4.splat(0)));
}

// A row: what is known of it once its powers are summed. `maxima` has room for one vector a block.
@unmanaged
class Row {
  x: usize;
  // Where the powers go; 0 where their sum is all that is asked for.
  y: usize;
  // Where the row behind it begins, or itself; 0 where nothing is to be read ahead.
  next: usize;
  columns: usize;
  maxima: usize;
  m: f32;
  l: f32;
}

// What is read ahead beside the block at `from`: no more than the row has, or as much of the next.

// @ts-ignore: decorator
@inline
function behind(row: Row, from: usize): usize {
  if (row.next == 0 || from + BLOCK >= row.columns) return row.next;
  return row.x + (min(from + BLOCK, row.columns - BLOCK) << 2);
}

// Maximum and sum, block by block, and the powers against each block's own maximum. No vector is a parameter: where V8 14
// (Node 26) joins what is computed with one to 256 bits, it ends the process.
function weigh(row: Row, by: f32): void {
  const unit = f32x4.splat(by * LOG4_E);
  let m = f32x4.splat(-Infinity), l = f32x4.splat(0), at = row.maxima;
  for (let from: usize = 0; from < row.columns; from += BLOCK, at += 16) {
    const count = min(BLOCK, row.columns - from), x = row.x + (from << 2), before = m;
    m = finite(maximumOf(x, count, m));
    v128.store(at, m);
    const sum = row.y == 0 ? sumOf(x, count, m, unit) : powersOf(x, row.y + (from << 2), count, m, unit, behind(row, from));
    l = f32x4.add(sum, f32x4.mul(l, power(before, m, unit)));
  }
  row.m = f32x4.extract_lane(m, 0);
  row.l = f32x4.extract_lane(l, 0);
}

// Powers become weights: each block's lack the power by which its maximum is below the row's.
function divide(row: Row, by: f32): void {
  const unit = f32x4.splat(by * LOG4_E), factor = inverse(f32x4.splat(row.l)), m = f32x4.splat(row.m);
  let at = row.maxima;
  for (let from: usize = 0; from < row.columns; from += BLOCK, at += 16) {
    const count = min(BLOCK, row.columns - from), y = row.y + (from << 2);
    multiply(y, count, f32x4.mul(factor, power(v128.load(at), m, unit)));
  }
}

// The logarithm of the sum; minus infinity of a row that sees nothing. Rounding may not make infinity of what is finite.

// @ts-ignore: decorator
@inline
function logOf(row: Row, by: f32): f64 {
  if (row.l == 0) return -Infinity;
  const exact = <f64>row.m * <f64>by + NativeMath.log(row.l);
  return min<f64>(max<f64>(exact, -f32.MAX_VALUE), f32.MAX_VALUE);
}

// Bytes that a job needs: a row, its blocks' maxima and its numbers.
export function softmaxScratch(job: SoftmaxJob): usize {
  return max(ROW_BYTES + (job.columns / BLOCK + 1 << 4) + (job.columns + 16 << 2), ABREAST << 4);
}

const ROW_BYTES: usize = 32;

// Whether short rows can be read and written where they are.

// @ts-ignore: decorator
@inline
function canStay(job: SoftmaxJob, source: HeadRows, target: HeadRows): bool {
  return job.what == SOFTMAX && job.columns <= BLOCK && job.mask == 0 && job.scale > 0 &&
    isPlain(source) && isPlain(target);
}

// Rows that go through a pass together: while one waits for what its lanes come to, others go on.
const ABREAST: usize = 8;

// The three passes alone, in one function: calls and what rows of any kind need take longer than 64 numbers.
function softmaxInPlace(job: SoftmaxJob, source: HeadRows, target: HeadRows, maxima: usize): void {
  const columns = job.columns, unit = f32x4.splat(job.scale * LOG4_E), least = f32x4.splat(-f32.MAX_VALUE);
  const xRow = source.row, yRow = target.row, isFar = job.rows * columns > FAR;
  let x = source.at, y = target.at;
  for (let left = job.rows; left > 0;) {
    const rows = min(ABREAST, left), end = maxima + (rows << 4);
    const ahead: usize = isFar && left >= ABREAST << 1 ? ABREAST * xRow : 0;
    for (let at = maxima, row = x; at < end; at += 16, row += xRow) v128.store(at, maximumOf(row, columns, least));
    for (let at = maxima, row = y; at < end; at += 16, x += xRow, row += yRow) {
      v128.store(at, powersOf(x, row, columns, v128.load(at), unit, ahead && x + ahead));
    }
    for (let at = maxima; at < end; at += 16, y += yRow) multiply(y, columns, inverse(v128.load(at)));
    left -= rows;
  }
}

// Rows of one job, each from its storage into the scratch row unless it can stay where it is, and back.
export function softmax(job: SoftmaxJob, scratch: usize): void {
  const columns = job.columns, scale = job.scale, by: f32 = scale == 0 ? 1 : abs(scale);
  const source = rowsAt(job, offsetof<SoftmaxJob>("x")), target = rowsAt(job, offsetof<SoftmaxJob>("y"));
  if (canStay(job, source, target)) return softmaxInPlace(job, source, target, scratch);
  const row = changetype<Row>(scratch);
  row.columns = columns;
  row.maxima = scratch + ROW_BYTES;
  const own = row.maxima + (columns / BLOCK + 1 << 4);
  const reads = job.mask != 0 || scale <= 0 || !isPlain(source), writes = !isPlain(target);
  const isFar = job.rows * columns > FAR && !reads;
  for (let r: usize = 0; r < job.rows; r++) {
    const y = writes ? own : target.at + r * target.row;
    row.x = reads ? own : source.at + r * source.row;
    if (reads) {
      readRow(source, r, columns, own, scale > 0 ? 1 : scale == 0 ? 0 : -1);
      if (job.mask != 0) excludeMasked(job, r, own);
    }
    row.y = job.what == SOFTMAX ? y : 0;
    row.next = !isFar ? 0 : r + 1 < job.rows ? row.x + source.row : row.x;
    weigh(row, by);
    if (job.what == LOG_SUM_EXP) {
      store<f32>(own, <f32>logOf(row, by));
      writeRow(target, r, 1, own);
      continue;
    }
    if (job.what == LOG_SOFTMAX) shift(row, y, by);
    else divide(row, by);
    if (writes) writeRow(target, r, columns, own);
  }
}

// The logarithm of each weight.
function shift(row: Row, y: usize, by: f32): void {
  const l: f32 = row.l == 0 ? 0 : <f32>NativeMath.log(row.l);
  shifted(row.x, y, row.columns, row.m, by, l);
}
