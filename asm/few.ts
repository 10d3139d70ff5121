// Micro-kernels for few queries against a page of a cache: what decoding does. Keys side by side fill
// the lanes, so that nothing is computed for the queries that a panel has room for and does not hold;
// the page is read once, in the storage that it has, from its beginning to its end.
//
// Those for one query have its scores side by side, row[keys]; those for four have them as all others have,
// s[keys][8].

import { fma } from "./fma";
import { firstHalves, high, low, secondHalves } from "./layout";
import { bytesOf, firstFour, HALF_BIAS, halfMask, readFour, secondFour } from "./storage";

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

// The sum of `count` vectors of four, each times a factor that stands four times in factors[count][4]: one
// stream of memory, and eight sums, since a multiply-add waits four cycles for the one before it. Factors
// are loaded whole, and with constant offsets: V8 takes a further instruction for each that is splatted, and
// for each address that is added up.

// @ts-ignore: decorator
@inline
function sumOf<T>(x: usize, factors: usize, count: usize, mask: v128): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  const end = factors + (count << 4);
  for (const whole = factors + ((count & ~7) << 4); factors < whole; factors += 128, x += bytesOf<T>() << 5) {
    if (isFloat<T>()) {
      a = fma(v128.load(factors, 0), v128.load(x, 0), a);
      b = fma(v128.load(factors, 16), v128.load(x, 16), b);
    } else {
      const y = v128.load(x, 0);
      a = fma(v128.load(factors, 0), firstFour<T>(y, mask), a);
      b = fma(v128.load(factors, 16), secondFour<T>(y, mask), b);
    }
    if (isFloat<T>()) {
      c = fma(v128.load(factors, 32), v128.load(x, 32), c);
      d = fma(v128.load(factors, 48), v128.load(x, 48), d);
    } else {
      const y = v128.load(x, 16);
      c = fma(v128.load(factors, 32), firstFour<T>(y, mask), c);
      d = fma(v128.load(factors, 48), secondFour<T>(y, mask), d);
    }
    if (isFloat<T>()) {
      e = fma(v128.load(factors, 64), v128.load(x, 64), e);
      f = fma(v128.load(factors, 80), v128.load(x, 80), f);
    } else {
      const y = v128.load(x, 32);
      e = fma(v128.load(factors, 64), firstFour<T>(y, mask), e);
      f = fma(v128.load(factors, 80), secondFour<T>(y, mask), f);
    }
    if (isFloat<T>()) {
      g = fma(v128.load(factors, 96), v128.load(x, 96), g);
      h = fma(v128.load(factors, 112), v128.load(x, 112), h);
    } else {
      const y = v128.load(x, 48);
      g = fma(v128.load(factors, 96), firstFour<T>(y, mask), g);
      h = fma(v128.load(factors, 112), secondFour<T>(y, mask), h);
    }
  }
  for (; factors < end; factors += 16, x += bytesOf<T>() << 2) {
    // As halves of eight, so that all of a sum lack the same bias.
    const y = isFloat<T>() ? v128.load(x) : v128.load64_zero(x);
    a = fma(v128.load(factors), isFloat<T>() ? y : firstFour<T>(y, mask), a);
  }
  const first = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
  return f32x4.add(first, f32x4.add(f32x4.add(e, f), f32x4.add(g, h)));
}

// Copies numbers, `step` bytes apart, four times each and times a factor.
export function splat(source: usize, step: usize, count: usize, factor: f32, target: usize): void {
  for (const end = target + (count << 4); target < end; target += 16, source += step) {
    v128.store(target, f32x4.splat(f32.load(source) * factor));
  }
}

// Factors of the query and of the weights that keep sums of f16 less its bias far from the ends of f32.
export const HALF_QUERY: f32 = 1.099511627776e12; // 2^40
export const HALF_WEIGHT: f32 = 1.2676506002282294e30; // 2^100

// Scores of one query, q[dim][4] of one number four times each, and `groups` times four keys
// [groups][dim][4].
export function dotOne<T>(k: usize, q: usize, row: usize, dim: usize, groups: usize): void {
  const mask = halfMask(), factor = f32x4.splat(isFloat<T>() || !isSigned<T>() ? 1 : backFrom<T>(HALF_QUERY));
  for (const end = row + (groups << 4); row < end; row += 16, k += dim * bytesOf<T>() << 2) {
    const sum = sumOf<T>(k, q, dim, mask);
    v128.store(row, isFloat<T>() || !isSigned<T>() ? sum : f32x4.mul(sum, factor));
  }
}

// @ts-ignore: decorator
@inline
function backFrom<T>(factor: f32): f32 {
  return sizeof<T>() == 1 ? HALF_BIAS / factor : 1 / factor;
}

// The same for four queries.
export function dotFour<T>(k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  const step = dim * bytesOf<T>() << 2;
  for (; groups > 0; groups--, s += 128) {
    let a = f32x4.splat(0), b = a, c = a, d = a;
    const end = k + step;
    for (let at = q; k < end; k += bytesOf<T>() << 2, at += 32) {
      const x = readFour<T>(k);
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
export function addOne(o: usize, alpha: f32, sum: v128): void {
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

// o = o * alpha + p v for one query of weights p[keys][4], one number four times each;
// v[columns / 4][keys][4], `stride` bytes from one group of columns to the next.
export function accumulateOne<T>(
  v: usize, stride: usize, p: usize, o: usize, end: usize, alpha: f32, keys: usize,
): void {
  const mask = halfMask(), factor = f32x4.splat(isFloat<T>() || !isSigned<T>() ? 1 : backFrom<T>(HALF_WEIGHT));
  for (; o < end; o += 128, v += stride) {
    const sum = sumOf<T>(v, p, keys, mask);
    addOne(o, alpha, isFloat<T>() || !isSigned<T>() ? sum : f32x4.mul(sum, factor));
  }
}

// The same for four queries.
export function accumulateFour<T>(
  v: usize, stride: usize, p: usize, o: usize, end: usize, alpha: usize, keys: usize,
): void {
  const bytes = bytesOf<T>() << 2;
  for (; o < end; o += 128, v += stride) {
    let a = f32x4.splat(0), b = a, c = a, d = a, at = v;
    for (let w = p, last = p + (keys << 5); w < last; w += 32, at += bytes) {
      const x = readFour<T>(at);
      a = fma(v128.load_splat<f32>(w), x, a);
      b = fma(v128.load_splat<f32>(w, 4), x, b);
      c = fma(v128.load_splat<f32>(w, 8), x, c);
      d = fma(v128.load_splat<f32>(w, 12), x, d);
    }
    addFourRows(o, alpha, a, b, c, d);
  }
}
