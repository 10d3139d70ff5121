// From f32 to integers. Lanes are rows: keys or queries side by side, dim by dim, or columns of values, key by key. So words
// come together without a shuffle.
//
// Scales are as fine as fits, so that no sum of products leaves 31 bits, whatever the sizes. Of 16 bits |q| and |k| are below
// 2^15.49 as vectors (Cauchy and Schwarz); |v| is below 2^18 as a sum over a tile, and weights below 2^13 (Hoelder). Numbers
// are multiplied, then rounded, on every engine: the same integers.

import { Columns, Tile } from "../record";
import { Job } from "../records.gen";
import {
  columnBytes, columnsOf, groupBytes, hasFours, hasKeyBytes, hasValueBytes, keyBytes, keysAt, keyScalesAt, keySumsAt, meansAt,
  valueMeansAt, valueScalesAt, valuesAt,
} from "./head";

// Numbers of a tile that has integers are below this, and what is below the other is as nothing: squares and products of
// steps are f32 all the same.
export const GREATEST: f32 = 1125899906842624; // 2^50
const LEAST: f32 = 8.881784197001252e-16; // 2^-50
// Values have no squares.
const LEAST_VALUE: f32 = 7.888609052210118e-31; // 2^-100

const SHORT: f32 = 32767;
const BYTE: f32 = 127;

// Sums of the magnitudes of a column's integers: times 2^13, and half a step of rounding for each key, below 2^31.
const VALUE_SUM: f32 = 262000;

// 1.5 * 2^23: what is added to it is rounded, and is a whole number in the low bits.
const ROUND: f32 = 12582912;

// The first one to three lanes.
const LANES: usize = memory.data<i32>([-1, 0, 0, 0, -1, -1, 0, 0, -1, -1, -1, 0, -1, -1, -1, -1], 16);

// All ones in the first `count` lanes, of which there are four for 0.

// @ts-ignore: decorator
@inline
export function firstLanes(count: usize): v128 {
  return v128.load(LANES + ((count - 1 & 3) << 4));
}

// All ones where a number is neither so large that a product may leave f32, nor NaN.

// @ts-ignore: decorator
@inline
export function areWithin(x: v128, most: v128): v128 {
  return f32x4.lt(f32x4.abs(x), most);
}

// @ts-ignore: decorator
@inline
function larger(most: v128, x: v128): v128 {
  return f32x4.pmax(most, f32x4.abs(x));
}

// @ts-ignore: decorator
@inline
function meanOf(mean: usize): v128 {
  return mean == 0 ? f32x4.splat(0) : v128.load32_splat(mean);
}

// Integers in the low bits.

// @ts-ignore: decorator
@inline
function rounded(x: v128, by: v128): v128 {
  return f32x4.add(f32x4.mul(x, by), f32x4.splat(ROUND));
}

// @ts-ignore: decorator
@inline
function pairOf(a: v128, b: v128): v128 {
  return v128.or(v128.and(a, i32x4.splat(0xffff)), i32x4.shl(b, 16));
}

// @ts-ignore: decorator
@inline
function fourOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const mask = i32x4.splat(0xff);
  const low = v128.or(v128.and(a, mask), i32x4.shl(v128.and(b, mask), 8));
  const high = v128.or(v128.and(c, mask), i32x4.shl(d, 8));
  return v128.or(low, i32x4.shl(high, 16));
}

// @ts-ignore: decorator
@inline
function storePairs(to: usize, step: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(to, pairOf(a, b));
  v128.store(to + step, pairOf(c, d));
}

// Four bytes, as one word or two, `step` bytes apart.

// @ts-ignore: decorator
@inline
function storeFour(to: usize, step: usize, a: v128, b: v128, c: v128, d: v128): void {
  if (hasFours(true)) v128.store(to, fourOf(a, b, c, d));
  else storePairs(to, step, a, b, c, d);
}

// The norm that vectors of integers may have. Sums of many squares are rounded more.

// @ts-ignore: decorator
@inline
function normOf(dim: usize): f32 {
  return dim <= 4096 ? 46000 : 40000;
}

// The largest byte of keys.

// @ts-ignore: decorator
@inline
function keyByteOf(dim: usize): f32 {
  return min(BYTE, <f32>1.6e7 / <f32>dim);
}

// Four rows x[dim][4], `step` bytes from one dim to the next, less their mean, where there is one, become words of two,
// `step` bytes from one to the next; and what their steps are.
export function shortsOf(x: usize, step: usize, mean: usize, job: Job, to: usize, scales: usize): void {
  const dim = job.dim, end = x + dim * step;
  let most = f32x4.splat(LEAST), squares = f32x4.splat(0), m = mean;
  for (let at = x; at < end; at += step) {
    const d = f32x4.sub(v128.load(at), meanOf(m));
    most = larger(most, d);
    squares = f32x4.add(squares, f32x4.mul(d, d));
    if (mean != 0) m += 4;
  }
  const byNorm = f32x4.div(f32x4.splat(normOf(dim)), f32x4.sqrt(squares));
  const by = f32x4.pmin(f32x4.div(f32x4.splat(SHORT), most), byNorm);
  v128.store(scales, f32x4.div(f32x4.splat(1), by));
  m = mean;
  for (let at = x; at < end; at += 2 * step, to += step) {
    const a = rounded(f32x4.sub(v128.load(at), meanOf(m)), by);
    if (mean != 0) m += 4;
    let b = i32x4.splat(0);
    if (at + step < end) b = rounded(f32x4.sub(v128.load(at + step), meanOf(m)), by);
    if (mean != 0) m += 4;
    v128.store(to, pairOf(a, b));
  }
}

// One byte of four rows; 0 behind the last.

// @ts-ignore: decorator
@inline
function byteAt(x: usize, end: usize, level: v128, by: v128): v128 {
  return x < end ? rounded(f32x4.sub(v128.load(x), level), by) : f32x4.splat(ROUND);
}

// @ts-ignore: decorator
@inline
function integerOf(rounded: v128): v128 {
  return i32x4.sub(rounded, f32x4.splat(ROUND));
}

// Four keys x[dim][4] less a mean become words of bytes; and what their steps and the sums of their bytes are.
export function keyBytesOf(x: usize, mean: usize, job: Job, to: usize, scales: usize, sums: usize): void {
  const end = x + (job.dim << 4);
  let most = f32x4.splat(LEAST);
  for (let at = x, m = mean; at < end; at += 16, m += 4) most = larger(most, f32x4.sub(v128.load(at), meanOf(m)));
  const by = f32x4.div(f32x4.splat(keyByteOf(job.dim)), most);
  v128.store(scales, f32x4.div(f32x4.splat(1), by));
  let sum = i32x4.splat(0);
  for (let at = x, m = mean; at < end; at += 64, m += 16, to += 16) {
    const a = byteAt(at, end, meanOf(m), by), b = byteAt(at + 16, end, meanOf(m + 4), by);
    const c = byteAt(at + 32, end, meanOf(m + 8), by), d = byteAt(at + 48, end, meanOf(m + 12), by);
    storeFour(to, 16, a, b, c, d);
    if (!hasFours(true)) to += 16;
    sum = i32x4.add(sum, i32x4.add(i32x4.add(integerOf(a), integerOf(b)), i32x4.add(integerOf(c), integerOf(d))));
  }
  v128.store(sums, f32x4.convert_i32x4_s(sum));
}

// Four of eight queries x[dim][8] become words of bytes of seven bits, counted from each query's lowest number; and what
// their steps are, and how many the lowest number is.
export function queryBytesOf(x: usize, job: Job, to: usize, scales: usize, zeros: usize): void {
  const end = x + (job.dim << 5);
  let low = v128.load(x), high = low;
  for (let at = x; at < end; at += 32) {
    low = f32x4.pmin(low, v128.load(at));
    high = f32x4.pmax(high, v128.load(at));
  }
  // Of a level that all numbers have, no more than f32 keeps is a step.
  const least = f32x4.pmax(f32x4.splat(LEAST), f32x4.mul(f32x4.abs(low), f32x4.splat(1.0 / 1048576)));
  const by = f32x4.div(f32x4.splat(BYTE), f32x4.pmax(f32x4.sub(high, low), least));
  v128.store(scales, f32x4.div(f32x4.splat(1), by));
  v128.store(zeros, f32x4.mul(low, by));
  for (let at = x, last = x + (keyBytes(job) << 5); at < last; at += 128, to += 32) {
    const a = byteAt(at, end, low, by), b = byteAt(at + 32, end, low, by);
    const c = byteAt(at + 64, end, low, by), d = byteAt(at + 96, end, low, by);
    storeFour(to, 32, a, b, c, d);
    if (!hasFours(true)) to += 32;
  }
}

// Whether all numbers of a panel of keys x[groups][dim][4] are within bounds; of the last group `count` keys count.
function areKeysWithin(x: usize, dim: usize, groups: usize, count: usize): bool {
  const most = f32x4.splat(GREATEST), end = x + groups * (dim << 4), last = end - (dim << 4);
  let all = i32x4.splat(-1);
  for (; x < last; x += 16) all = v128.and(all, areWithin(v128.load(x), most));
  const lanes = firstLanes(count);
  for (; x < end; x += 16) all = v128.and(all, areWithin(v128.and(v128.load(x), lanes), most));
  return i32x4.all_true(all);
}

// The same of values; what lies beyond `width` does not count.
function areValuesWithin(v: Columns, width: usize): bool {
  const most = f32x4.splat(GREATEST);
  let all = i32x4.splat(-1);
  for (let column: usize = 0, first = v.at; column < width; column += 4, first += v.columns) {
    const lanes = firstLanes(min<usize>(4, width - column));
    for (let key: usize = 0, at = first; key < v.count; key++, at += v.row) {
      all = v128.and(all, areWithin(v128.and(v128.load(at), lanes), most));
    }
  }
  return i32x4.all_true(all);
}

// Whether a tile of f32, of so many keys, can be integers.
export function isWithin(job: Job, tile: Tile, keys: usize): bool {
  const values = tile.summed;
  values.at = tile.v;
  values.row = tile.row;
  values.columns = tile.columns;
  values.count = keys;
  return areKeysWithin(tile.k, job.dim, (keys + 3) >> 2, keys & 3) && areValuesWithin(values, job.valueDim);
}

// Adds the keys of a tile to sums of all keys.
export function addKeys(x: usize, dim: usize, keys: usize, sums: usize): void {
  const lanes = firstLanes(keys & 3), group = dim << 4, last = ((keys - 1) >> 2) * group;
  for (let d: usize = 0; d < dim; d++, x += 16, sums += 4) {
    let sum = v128.and(v128.load(x + last), lanes);
    for (let at = x, end = x + last; at < end; at += group) sum = f32x4.add(sum, v128.load(at));
    store<f32>(sums, load<f32>(sums) + sumOfLanes(sum));
  }
}

// @ts-ignore: decorator
@inline
function sumOfLanes(x: v128): f32 {
  x = f32x4.add(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(x, v128.shuffle<i32>(x, x, 1, 0, 3, 2)), 0);
}

// Keys of a tile become integers.
export function quantizeKeys(job: Job, tile: Tile, groups: usize): void {
  const first = tile.first, mean = meansAt(job), group = job.dim << 4, words = groupBytes(job), isBytes = hasKeyBytes(job);
  let x = tile.k, to = keysAt(job) + (first >> 2) * words, at = first << 2;
  for (const end = at + (groups << 4); at < end; at += 16, x += group, to += words) {
    const scales = keyScalesAt(job) + at;
    if (isBytes) keyBytesOf(x, mean, job, to, scales, keySumsAt(job) + at);
    else shortsOf(x, 16, mean, job, to, scales);
  }
}

// The mean of a column of four; x times 1 / count, which cannot be too large.
function meanOfColumn(at: usize, row: usize, count: usize): v128 {
  const by = f32x4.splat(1 / <f32>count);
  let sum = f32x4.splat(0);
  for (; count > 0; count--, at += row) sum = f32x4.add(sum, v128.load(at));
  return f32x4.mul(sum, by);
}

// Integers of four columns in 1, of `count` keys less their mean.
function stepsOfColumn(at: usize, row: usize, count: usize, mean: v128, isBytes: bool): v128 {
  let most = f32x4.splat(LEAST_VALUE), sum = f32x4.splat(0);
  for (; count > 0; count--, at += row) {
    const x = f32x4.abs(f32x4.sub(v128.load(at), mean));
    most = f32x4.pmax(most, x);
    sum = f32x4.add(sum, x);
  }
  if (isBytes) return f32x4.div(f32x4.splat(BYTE), most);
  return f32x4.pmin(f32x4.div(f32x4.splat(SHORT), most), f32x4.div(f32x4.splat(VALUE_SUM), sum));
}

// The integer of a value; 0 behind the last.

// @ts-ignore: decorator
@inline
function valueAt(at: usize, isThere: bool, mean: v128, by: v128): v128 {
  return isThere ? rounded(f32x4.sub(v128.load(at), mean), by) : f32x4.splat(ROUND);
}

// Values of a tile become integers: words of two keys or four, columns of four side by side.
export function quantizeValues(job: Job, values: Columns, index: usize): void {
  const count = values.count, row = values.row, isBytes = hasValueBytes(job);
  let first = values.at, words = valuesAt(job, index);
  for (let column: usize = 0, end = columnsOf(job) << 2; column < end; column += 16, first += values.columns) {
    const mean = meanOfColumn(first, row, count), by = stepsOfColumn(first, row, count, mean, isBytes);
    v128.store(valueMeansAt(job, index) + column, mean);
    v128.store(valueScalesAt(job, index) + column, f32x4.div(f32x4.splat(1), by));
    let to = words;
    for (let key: usize = 0, at = first; key < count; key += 4, at += 4 * row) {
      const a = valueAt(at, true, mean, by), b = valueAt(at + row, key + 1 < count, mean, by);
      const c = valueAt(at + 2 * row, key + 2 < count, mean, by), d = valueAt(at + 3 * row, key + 3 < count, mean, by);
      if (hasFours(isBytes)) v128.store(to, fourOf(a, b, c, d));
      else storePairs(to, 16, a, b, c, d);
      to += hasFours(isBytes) ? 16 : 32;
    }
    words += columnBytes(job);
  }
}
