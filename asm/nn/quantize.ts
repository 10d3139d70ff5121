// Rows become integers. A row is f32, padded to a multiple of 32 with what changes nothing.

import { fma } from "../fma";
import { greatestLane, sumOfLanes } from "../rows/softmax";

// No product of two rows may leave 31 bits, whatever their length: by the inequality of Cauchy and Schwarz none does where
// both have a norm of at most 2^15.5; rounding adds sqrt(2^20) / 2 at most.
const MOST_NORM: f32 = 45800;
const MOST: f32 = 32767;

// 1.5 * 2^23: added, it rounds, and the lower bits are those of the integer.
const ROUND: f32 = 12582912;

const LEAST: f32 = 1e-30;

// Bits of an exponent that is all ones, of what is not finite.
const SPECIAL: i32 = 0x7f800000;

// The greatest bits of some magnitudes.

// @ts-ignore: decorator
@inline
function magnitude(x: v128): v128 {
  return v128.and(x, i32x4.splat(0x7fffffff));
}

// @ts-ignore: decorator
@inline
function isFinite4(bits: v128): bool {
  return !v128.any_true(i32x4.ge_u(bits, i32x4.splat(SPECIAL)));
}

// What a row is multiplied by to become integers of 16 bits; NaN where it is not finite.
export function factorOf(x: usize, bytes: usize): f32 {
  let big = i32x4.splat(0), big1 = big, sum = f32x4.splat(0), sum1 = sum;
  for (const end = x + bytes; x < end; x += 32) {
    const v = v128.load(x), w = v128.load(x, 16);
    big = i32x4.max_u(big, magnitude(v));
    big1 = i32x4.max_u(big1, magnitude(w));
    sum = fma(v, v, sum);
    sum1 = fma(w, w, sum1);
  }
  const bits = i32x4.max_u(big, big1);
  if (!isFinite4(bits)) return NaN;
  const most = max(f32x4.extract_lane(greatestLane(bits), 0), LEAST);
  const squares = f32x4.extract_lane(sumOfLanes(f32x4.add(sum, sum1)), 0);
  // Of numbers whose squares are too large or too small for f32, the norm is at most as if all were the greatest.
  const norm = squares < Infinity && squares > LEAST ? sqrt<f32>(squares) : most * sqrt<f32>(<f32>(bytes >> 2));
  return min(MOST / most, MOST_NORM / norm);
}

// Integers of 16 bits, and what they are to be multiplied by.
export function quantize16(x: usize, bytes: usize, to: usize, scale: usize): void {
  const by = factorOf(x, bytes), f = f32x4.splat(by), round = f32x4.splat(ROUND);
  store<f32>(scale, <f32>1 / by);
  for (const end = x + bytes; x < end; x += 32, to += 16) {
    const v = fma(v128.load(x), f, round), w = fma(v128.load(x, 16), f, round);
    v128.store(to, v128.shuffle<i16>(v, w, 0, 2, 4, 6, 8, 10, 12, 14));
  }
}

// @ts-ignore: decorator
@inline
function lowBytes(v: v128, w: v128): v128 {
  return v128.shuffle<i8>(v, w, 0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0);
}

// Bytes from 0 to 127, and for each 32 a scale, `step` bytes from one to the next, and the least number, `second` bytes
// behind the scale.
export function quantize8(x: usize, bytes: usize, to: usize, scale: usize, step: usize, second: usize): void {
  const round = f32x4.splat(ROUND), from = scale, first = x;
  let bits = i32x4.splat(0);
  for (const end = x + bytes; x < end; x += 128, to += 32, scale += step) {
    const a = v128.load(x), b = v128.load(x, 16), c = v128.load(x, 32), d = v128.load(x, 48);
    const e = v128.load(x, 64), g = v128.load(x, 80), h = v128.load(x, 96), i = v128.load(x, 112);
    const most = f32x4.pmax(
      f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)),
      f32x4.pmax(f32x4.pmax(e, g), f32x4.pmax(h, i)),
    );
    const least4 = f32x4.pmin(
      f32x4.pmin(f32x4.pmin(a, b), f32x4.pmin(c, d)),
      f32x4.pmin(f32x4.pmin(e, g), f32x4.pmin(h, i)),
    );
    const least: f32 = -f32x4.extract_lane(greatestLane(f32x4.neg(least4)), 0);
    const range = max(f32x4.extract_lane(greatestLane(most), 0) - least, LEAST);
    const f = f32x4.splat(<f32>127 / range), low = f32x4.splat(least);
    store<f32>(scale, range / <f32>127);
    store<f32>(scale + second, least);
    const n = lowBytes(fma(f32x4.sub(a, low), f, round), fma(f32x4.sub(b, low), f, round));
    const o = lowBytes(fma(f32x4.sub(c, low), f, round), fma(f32x4.sub(d, low), f, round));
    const p = lowBytes(fma(f32x4.sub(e, low), f, round), fma(f32x4.sub(g, low), f, round));
    const q = lowBytes(fma(f32x4.sub(h, low), f, round), fma(f32x4.sub(i, low), f, round));
    v128.store(to, v128.shuffle<i64>(n, o, 0, 2));
    v128.store(to, v128.shuffle<i64>(p, q, 0, 2), 16);
    bits = i32x4.max_u(bits, i32x4.max_u(i32x4.max_u(magnitude(a), magnitude(b)), i32x4.max_u(magnitude(c), magnitude(d))));
    bits = i32x4.max_u(bits, i32x4.max_u(i32x4.max_u(magnitude(e), magnitude(g)), i32x4.max_u(magnitude(h), magnitude(i))));
  }
  if (!isFinite4(bits)) {
    for (let at = from; at < scale; at += step) store<f32>(at, NaN);
  }
}

// Bytes of a row of weights, a scale for each 32, and the scale times their sum: as pairs of eight outputs, of which this is
// one; `scales` is that of the first block.
export function quantizeWeights8(x: usize, blocks: usize, to: usize, scales: usize): void {
  for (; blocks > 0; blocks--, x += 128, to += 256, scales += 64) {
    let bits = i32x4.splat(0), total: i32 = 0;
    for (let at: usize = 0; at < 128; at += 16) bits = i32x4.max_u(bits, magnitude(v128.load(x + at)));
    const isRight = isFinite4(bits);
    const scale: f32 = isRight ? max(f32x4.extract_lane(greatestLane(bits), 0), LEAST) / <f32>127 : NaN;
    for (let k: usize = 0; k < 32; k++) {
      const q = isRight ? <i32>nearest<f32>(load<f32>(x + (k << 2)) / scale) : 0;
      store<i8>(to + (k >> 1 << 4) + (k & 1), <i8>q);
      total += q;
    }
    store<f32>(scales, scale);
    store<f32>(scales + 32, scale * <f32>total);
  }
}
