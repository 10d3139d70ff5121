// Eight- and four-bit keys and values of a cache, symmetric. One exact dot product of sixteen bits adds two
// of them to each of four sums; the queries, and the weights of the softmax with the values' scales in them,
// are rounded to sixteen bits for that.
//
// Eight bits have one scale per token and head. Keys are laid out as [keys / 4][dim / 4][4 keys][4], which products of
// integers (asm/integer) take as they lie, values as [columns / 4][keys / 4][4 columns][4 keys].
//
// Four bits have one scale per token, head and group of 32 elements. A lane of 32 bits holds eight
// numbers: keys as [keys / 4][dim / 8][4 keys], values as [columns / 4][keys / 8][4 columns]. Number 2n has
// the bits from 4n on and number 2n + 1 those from 16 + 4n on, so that a shift leaves a pair.

import { WIDE } from "../build";
import { Columns, Output } from "../record";
import { BlockLayout } from "../records.gen";
import { magnitudeOf } from "../storage";
import { add, Query } from "./float";
import { depthOf, GROUP, INT4, INT8, scaleStep } from "./layout";

// A query of `count` numbers, `step` bytes apart, as pairs of sixteen bits, each pair four times, or once against bytes; pairs
// go in fours. What is behind a pair is written over by the next. Returns their scale.
export function quantizeQuery(source: usize, step: usize, count: usize, target: usize, isOfBytes: bool): f32 {
  const largest = magnitudeOf(source, step, count), inverse: f32 = largest > 0 ? 32767 / largest : 0;
  const apart: usize = isOfBytes ? 4 : 16;
  for (let pair: usize = 0, end = (count + 7) & ~7; pair < end; pair += 2, target += apart) {
    const low: i32 = pair < count ? <i32>nearest(f32.load(source + pair * step) * inverse) : 0;
    const high: i32 = pair + 1 < count ? <i32>nearest(f32.load(source + (pair + 1) * step) * inverse) : 0;
    v128.store(target, i32x4.splat((low & 0xffff) | (high << 16)));
  }
  return largest / 32767;
}

// Four of a row of weights times the scales of their values. What stands behind the last key weighs nothing,
// and its scale may be anything.

// @ts-ignore: decorator
@inline
function scaledWeights(row: usize, scales: usize, at: usize, bytes: usize): v128 {
  // Nor does a key that is not seen, whatever its scale.
  const weights = v128.load(row + at), x = v128.and(
    f32x4.mul(weights, v128.load(scales + at)), f32x4.ne(weights, f32x4.splat(0)),
  );
  return at + 16 <= bytes ? x : v128.and(x, v128.load(FIRST_LANES + (bytes - min(at, bytes) << 2)));
}

// A row of weights times the scales of their values, as pairs of sixteen bits, each pair four times, or once against bytes,
// up to a multiple of eight. Returns the scale.
export function quantizeWeights(row: usize, scales: usize, keys: usize, target: usize, areOfBytes: bool): f32 {
  const bytes = keys << 2;
  let most = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) most = f32x4.max(most, scaledAbs(row, scales, at, bytes));
  const largest = max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  const inverse = f32x4.splat(largest > 0 ? 32767 / largest : 0);
  for (let at: usize = 0; at < bytes; at += 32, target += areOfBytes ? 16 : 64) {
    const x = f32x4.mul(scaledWeights(row, scales, at, bytes), inverse);
    const y = f32x4.mul(scaledWeights(row, scales, at + 16, bytes), inverse);
    const pairs = i16x8.narrow_i32x4_s(
      i32x4.trunc_sat_f32x4_s(f32x4.nearest(x)), i32x4.trunc_sat_f32x4_s(f32x4.nearest(y)),
    );
    v128.store(target, pairs);
    if (areOfBytes) continue;
    v128.store(target, v128.shuffle<i32>(pairs, pairs, 0, 0, 0, 0));
    v128.store(target, v128.shuffle<i32>(pairs, pairs, 1, 1, 1, 1), 16);
    v128.store(target, v128.shuffle<i32>(pairs, pairs, 2, 2, 2, 2), 32);
    v128.store(target, v128.shuffle<i32>(pairs, pairs, 3, 3, 3, 3), 48);
  }
  return largest / 32767;
}

// @ts-ignore: decorator
@inline
function scaledAbs(row: usize, scales: usize, at: usize, bytes: usize): v128 {
  return f32x4.abs(scaledWeights(row, scales, at, bytes));
}

// Masks of the first n lanes.
const FIRST_LANES: usize = memory.data<i32>([0, 0, 0, 0, -1, 0, 0, 0, -1, -1, 0, 0, -1, -1, -1, 0], 16);

// Sums of bytes x[count / 4][4 sums][4] times numbers of sixteen bits; count is a multiple of 8. Each is two sums at first,
// so that its bytes stay side by side.

// @ts-ignore: decorator
@inline
function sumBytes(x: usize, numbers: usize, count: usize, scratch: usize): v128 {
  let a = i32x4.splat(0), b = a, c = a, d = a;
  for (const end = numbers + (count << 1); numbers < end; numbers += 16, x += 32) {
    const four = v128.load64_splat(numbers), next = v128.load64_splat(numbers, 8);
    const first = v128.load(x), second = v128.load(x, 16);
    a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(first), four));
    b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(first), four));
    c = i32x4.add(c, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(second), next));
    d = i32x4.add(d, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(second), next));
  }
  if (WIDE) {
    // Stored side by side, or V8 joins a and c, whose bytes are not neighbours: that takes longer than both alone.
    v128.store(scratch, a);
    v128.store(scratch, b, 16);
    v128.store(scratch, c, 32);
    v128.store(scratch, d, 48);
    a = v128.load(scratch);
    b = v128.load(scratch, 16);
    c = v128.load(scratch, 32);
    d = v128.load(scratch, 48);
  }
  a = i32x4.add(a, c);
  b = i32x4.add(b, d);
  return f32x4.convert_i32x4_s(
    i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7)),
  );
}

// Scores of one query and four keys at a time, row[keys]: products times the query's factor and the keys'
// scales, plus its shift.
export function dotOneByte(
  layout: BlockLayout, k: usize, query: Query, scales: usize, row: usize, groups: usize,
): void {
  const depth = depthOf(INT8, layout.dim), q = query.numbers, factor = query.factor, shift = query.shift;
  for (const end = row + (groups << 4); row < end; row += 16, scales += 16, k += depth << 2) {
    let sum = f32x4.splat(0);
    // 512 products of seven and fifteen bits fit 31 bits.
    for (let d: usize = 0; d < depth; d += 512) {
      sum = f32x4.add(sum, sumBytes(k + (d << 2), q + (d << 1), min<usize>(512, depth - d), row));
    }
    const scale = f32x4.mul(v128.load(scales), f32x4.splat(factor));
    v128.store(row, f32x4.add(f32x4.mul(sum, scale), f32x4.splat(shift)));
  }
}

// o = o * alpha + factor * p v for one query of weights of sixteen bits.
export function accumulateOneByte(v: Columns, p: usize, factor: f32, to: Output): void {
  const count = (v.count + 7) & ~7;
  for (let column: usize = 0, at = v.at; column < to.columns; column += 4, at += v.columns) {
    add(to, column, f32x4.mul(sumBytes(at, p, count, p + (count << 1)), f32x4.splat(factor)));
  }
}

// The sum of numbers of four bits times pairs, likewise.

// @ts-ignore: decorator
@inline
function sumNibbles(x: usize, pairs: usize, count: usize): v128 {
  let a = i32x4.splat(0), b = a, c = a, d = a;
  for (const end = pairs + (count << 3); pairs < end; pairs += 64, x += 16) {
    const eight = v128.load(x);
    a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(eight, 12), 12), v128.load(pairs)));
    b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(eight, 8), 12), v128.load(pairs, 16)));
    c = i32x4.add(c, i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(eight, 4), 12), v128.load(pairs, 32)));
    d = i32x4.add(d, i32x4.dot_i16x8_s(i16x8.shr_s(eight, 12), v128.load(pairs, 48)));
  }
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)));
}

// Scores as above; each group has scales of its own.
export function dotOneNibble(
  layout: BlockLayout, k: usize, query: Query, scales: usize, row: usize, groups: usize,
): void {
  const depth = depthOf(INT4, layout.dim), step = scaleStep(layout);
  const q = query.numbers, factor = query.factor, shift = query.shift;
  for (const end = row + (groups << 4); row < end; row += 16, scales += 16, k += depth << 1) {
    let sum = f32x4.splat(0);
    for (let d: usize = 0, scale = scales; d < depth; d += GROUP, scale += step) {
      const part = sumNibbles(k + (d << 1), q + (d << 3), min(GROUP, depth - d));
      sum = f32x4.add(sum, f32x4.mul(part, v128.load(scale)));
    }
    v128.store(row, f32x4.add(f32x4.mul(sum, f32x4.splat(factor)), f32x4.splat(shift)));
  }
}

// o = o * alpha + p v for one query of weights row[keys], which are rounded into `weights` for each group of
// columns; its scales are `step` bytes from those of the next.
export function accumulateOneNibble(
  v: Columns, row: usize, weights: usize, scales: usize, step: usize, to: Output,
): void {
  const keys = v.count, count = (keys + 7) & ~7;
  let factor: f32 = 0;
  for (let column: usize = 0, at = v.at; column < to.columns; column += 4, at += v.columns) {
    if (column % GROUP == 0) {
      factor = quantizeWeights(row, scales, keys, weights, false);
      scales += step;
    }
    add(to, column, f32x4.mul(sumNibbles(at, weights, count), f32x4.splat(factor)));
  }
}

// Where number `index` of a lane is in its bits.

// @ts-ignore: decorator
@inline
function bitOf(index: usize): i32 {
  return <i32>((index >> 1 << 2) | (index & 1) << 4);
}

// Four numbers of four bits, number `index` of each lane.

// @ts-ignore: decorator
@inline
export function nibbles(x: v128, index: usize): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(x, 28 - bitOf(index)), 28));
}

export function loadNibble(lane: usize, index: usize): i32 {
  return <i32>((load<u32>(lane) >> <u32>bitOf(index)) & 15);
}

export function storeNibble(lane: usize, index: usize, x: i32): void {
  const shift = <u32>bitOf(index);
  store<u32>(lane, (load<u32>(lane) & ~(15 << shift)) | (<u32>(x & 15) << shift));
}

// Numbers below have no inverse; they become 0.
export const SMALLEST: f32 = 1.504632769052528e-36; // 2^-119

// The scale of a group: its largest magnitude becomes -8, which has no positive twin.
export function nibbleScale(x: usize, count: usize): f32 {
  let largest: f32 = 0;
  for (let at: usize = 0; at < count; at++) {
    const one = f32.load(x + (at << 2));
    if (one != one) return one;
    if (abs(one) > abs(largest)) largest = one;
  }
  return abs(largest) < SMALLEST ? 0 : largest / -8;
}

export function toNibble(x: f32, inverse: f32): i32 {
  return <i32>min<f32>(7, max<f32>(-8, nearest(x * inverse)));
}
