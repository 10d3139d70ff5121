// Eight-bit keys and values of a cache: symmetric, one scale per token and head. Keys are laid out as
// [keys / 4][dim / 2][4 keys][2], values as [columns / 4][keys / 2][4 columns][2 keys], so that one exact
// dot product of sixteen bits adds two of them to each of four sums; the queries, and the weights of the
// softmax with the values' scales in them, are rounded to sixteen bits for that.

import { fma } from "./fma";

// Rows of `count` numbers, `step` bytes apart, become whole numbers of at most `most`, in place for
// pairs: target[count / 2][2], `apart` bytes from one pair to the next. Returns the scale.
export function quantizeRow(
  source: usize, step: usize, count: usize, target: usize, apart: usize, most: f32,
): f32 {
  let largest: f32 = 0;
  for (let at: usize = 0; at < count; at++) largest = max(largest, abs(f32.load(source + at * step)));
  const inverse: f32 = largest > 0 ? most / largest : 0;
  for (let at: usize = 0; at < count; at++) {
    const x = <i32>nearest(f32.load(source + at * step) * inverse);
    store<i16>(target + (at >> 1) * apart + ((at & 1) << 1), <i16>x);
  }
  if (count & 1) store<i16>(target + (count >> 1) * apart + 2, 0);
  return largest / most;
}

// Scores of four keys at a time and one query of pairs q[dim / 2][2]: s[keys][8].
export function dotOneByte(
  k: usize, q: usize, apart: usize, factor: f32, scales: usize, s: usize, pairs: usize, groups: usize,
): void {
  for (; groups > 0; groups--, s += 128, scales += 16) {
    let a = i32x4.splat(0), b = a, at = q;
    for (let pair = pairs; pair > 0; pair -= 2, k += 16, at += 2 * apart) {
      const x = v128.load(k);
      a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(x), v128.load_splat<i32>(at)));
      b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(x), v128.load_splat<i32>(at + apart)));
    }
    const sum = f32x4.convert_i32x4_s(i32x4.add(a, b));
    const scores = f32x4.mul(f32x4.mul(sum, v128.load(scales)), f32x4.splat(factor));
    f32.store(s, f32x4.extract_lane(scores, 0));
    f32.store(s, f32x4.extract_lane(scores, 1), 32);
    f32.store(s, f32x4.extract_lane(scores, 2), 64);
    f32.store(s, f32x4.extract_lane(scores, 3), 96);
  }
}

// o = o * alpha + scale * p v for one query, p[keys / 2][2] of sixteen bits, o[columns][8].
export function accumulateOneByte(
  v: usize, stride: usize, p: usize, apart: usize, factor: f32, o: usize, end: usize, alpha: f32,
  keys: usize,
): void {
  for (; o < end; o += 128, v += stride) {
    let a = i32x4.splat(0), b = a, at = v, w = p;
    for (let left: isize = <isize>keys; left > 0; left -= 4, at += 16, w += 2 * apart) {
      const x = v128.load(at);
      a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(x), v128.load_splat<i32>(w)));
      b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(x), v128.load_splat<i32>(w + apart)));
    }
    const sum = f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(a, b)), f32x4.splat(factor));
    f32.store(o, f32.load(o) * alpha + f32x4.extract_lane(sum, 0));
    f32.store(o, f32.load(o, 32) * alpha + f32x4.extract_lane(sum, 1), 32);
    f32.store(o, f32.load(o, 64) * alpha + f32x4.extract_lane(sum, 2), 64);
    f32.store(o, f32.load(o, 96) * alpha + f32x4.extract_lane(sum, 3), 96);
  }
}
