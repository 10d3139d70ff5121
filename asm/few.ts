// Micro-kernels for few queries against a page of a cache: what decoding does. Keys side by side fill
// the lanes, so that nothing is computed for the queries that a panel has room for and does not hold;
// the page is read once, in the storage that it has, from its beginning to its end.
//
// R is the number of queries, 1 or 4; panels of fewer than four repeat the last one. Scores come out as
// s[keys][8] and go through the same softmax as all others.

import { fma } from "./fma";
import { firstHalves, high, low, secondHalves } from "./layout";
import { loadFour } from "./storage";

// @ts-ignore: decorator
@inline
function storeOne(s: usize, scores: v128): void {
  f32.store(s, f32x4.extract_lane(scores, 0));
  f32.store(s, f32x4.extract_lane(scores, 1), 32);
  f32.store(s, f32x4.extract_lane(scores, 2), 64);
  f32.store(s, f32x4.extract_lane(scores, 3), 96);
}

// Scores of four keys and four queries, turned into columns.

// @ts-ignore: decorator
@inline
function storeFourRows(s: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d);
  v128.store(s, firstHalves(ab, cd));
  v128.store(s, secondHalves(ab, cd), 32);
  v128.store(s, firstHalves(AB, CD), 64);
  v128.store(s, secondHalves(AB, CD), 96);
}

// Scores of one query, q[dim][8], and `groups` times four keys [groups][dim][4]: one stream of memory,
// four sums.
export function dotOne<T>(k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  const bytes = 4 * sizeof<T>(), whole = (dim & ~3) * bytes, rest = (dim & 3) * bytes;
  for (; groups > 0; groups--, s += 128) {
    let a = f32x4.splat(0), b = a, c = a, d = a, at = q;
    for (const end = k + whole; k < end; k += 4 * bytes, at += 128) {
      a = fma(v128.load_splat<f32>(at), loadFour<T>(k), a);
      b = fma(v128.load_splat<f32>(at, 32), loadFour<T>(k + bytes), b);
      c = fma(v128.load_splat<f32>(at, 64), loadFour<T>(k + 2 * bytes), c);
      d = fma(v128.load_splat<f32>(at, 96), loadFour<T>(k + 3 * bytes), d);
    }
    for (const end = k + rest; k < end; k += bytes, at += 32) {
      a = fma(v128.load_splat<f32>(at), loadFour<T>(k), a);
    }
    storeOne(s, f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  }
}

// The same for four queries.
export function dotFour<T>(k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  const step = dim * 4 * sizeof<T>();
  for (; groups > 0; groups--, s += 128) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    const end = k + step;
    for (let at = q; k < end; k += 4 * sizeof<T>(), at += 32) {
      const x = loadFour<T>(k);
      a = fma(v128.load_splat<f32>(at), x, a);
      b = fma(v128.load_splat<f32>(at, 4), x, b);
      c = fma(v128.load_splat<f32>(at, 8), x, c);
      d = fma(v128.load_splat<f32>(at, 12), x, d);
    }
    storeFourRows(s, a, b, c, d);
  }
}

// o[4 columns][8 queries] of one query.

// @ts-ignore: decorator
@inline
function addOne(o: usize, alpha: f32, sum: v128): void {
  f32.store(o, f32.load(o) * alpha + f32x4.extract_lane(sum, 0));
  f32.store(o, f32.load(o, 32) * alpha + f32x4.extract_lane(sum, 1), 32);
  f32.store(o, f32.load(o, 64) * alpha + f32x4.extract_lane(sum, 2), 64);
  f32.store(o, f32.load(o, 96) * alpha + f32x4.extract_lane(sum, 3), 96);
}

// o[4 columns][8 queries] of four queries, each of which has a sum of four columns.

// @ts-ignore: decorator
@inline
function addFourRows(o: usize, alpha: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = low(a, b), cd = low(c, d), AB = high(a, b), CD = high(c, d), factor = v128.load(alpha);
  v128.store(o, fma(v128.load(o), factor, firstHalves(ab, cd)));
  v128.store(o, fma(v128.load(o, 32), factor, secondHalves(ab, cd)), 32);
  v128.store(o, fma(v128.load(o, 64), factor, firstHalves(AB, CD)), 64);
  v128.store(o, fma(v128.load(o, 96), factor, secondHalves(AB, CD)), 96);
}

// o = o * alpha + p v for one query; v[columns / 4][keys][4], `stride` bytes from one group of columns
// to the next.
export function accumulateOne<T>(
  v: usize, stride: usize, p: usize, o: usize, end: usize, alpha: usize, keys: usize,
): void {
  const factor = f32.load(alpha), bytes = 4 * sizeof<T>();
  for (; o < end; o += 128, v += stride) {
    let a = f32x4.splat(0), b = a, c = a, d = a, at = v, left = keys, w = p;
    for (; left >= 4; left -= 4, at += 4 * bytes, w += 128) {
      a = fma(v128.load_splat<f32>(w), loadFour<T>(at), a);
      b = fma(v128.load_splat<f32>(w, 32), loadFour<T>(at + bytes), b);
      c = fma(v128.load_splat<f32>(w, 64), loadFour<T>(at + 2 * bytes), c);
      d = fma(v128.load_splat<f32>(w, 96), loadFour<T>(at + 3 * bytes), d);
    }
    for (; left > 0; left--, at += bytes, w += 32) {
      a = fma(v128.load_splat<f32>(w), loadFour<T>(at), a);
    }
    addOne(o, factor, f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  }
}

// The same for four queries.
export function accumulateFour<T>(
  v: usize, stride: usize, p: usize, o: usize, end: usize, alpha: usize, keys: usize,
): void {
  const bytes = 4 * sizeof<T>();
  for (; o < end; o += 128, v += stride) {
    let a = f32x4.splat(0), b = a, c = a, d = a, at = v;
    for (let w = p, last = p + (keys << 5); w < last; w += 32, at += bytes) {
      const x = loadFour<T>(at);
      a = fma(v128.load_splat<f32>(w), x, a);
      b = fma(v128.load_splat<f32>(w, 4), x, b);
      c = fma(v128.load_splat<f32>(w, 8), x, c);
      d = fma(v128.load_splat<f32>(w, 12), x, d);
    }
    addFourRows(o, alpha, a, b, c, d);
  }
}
