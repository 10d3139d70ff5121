// Micro-kernels for few queries against a block of tokens: what decoding does. Keys side by side fill
// the lanes, so that nothing is computed for the queries that a panel has room for and does not hold;
// the block is read once, in the storage that it has, from its beginning to its end.
//
// Those for one query have its scores side by side, row[keys]; those for four have them as all others have,
// s[keys][8].

import { WIDE } from "../build";
import { fma } from "../fma";
import { firstHalves, high, low, secondHalves, storeTransposed } from "../layout";
import { firstRun, ONES, RUN } from "../products";
import { Columns, Output } from "../record";
import { bytesOf, evenOf, F16_BIAS, magnitudeOf, maskOf, oddOf, readFour } from "../storage";

// One query of decoding: its numbers stand behind what their products are multiplied by, and what is added then.
@unmanaged
export class Query {
  factor: f32;
  shift: f32;

  @inline
  get numbers(): usize {
    return changetype<usize>(this) + QUERY_HEADER;
  }
}

export const QUERY_HEADER: usize = 16;

// Two pairs of sums, side by side where V8 joins vectors: it looks for neighbours from stores on.

// @ts-ignore: decorator
@inline
function sumOfPairs(a: v128, b: v128, c: v128, d: v128, scratch: usize): v128 {
  a = f32x4.add(a, c);
  b = f32x4.add(b, d);
  if (!WIDE) return f32x4.add(a, b);
  v128.store(scratch, a);
  v128.store(scratch, b, 16);
  return f32x4.add(v128.load(scratch), v128.load(scratch, 16));
}

// The sum of `count` vectors of four, each times a factor: one stream of memory, and eight sums, since a
// multiply-add waits four cycles for the one before it. Factors are loaded as they are needed, and with
// constant offsets: V8 takes a further instruction for each that is splatted, and for each address that is
// added up. With f32 they are factors[count][4], each four times; with 16 bits factors[count / 2][4], two
// of them twice each, for eight elements at a time of which every second is in one sum. `scratch` has room for 64 bytes.

// @ts-ignore: decorator
@inline
function sumOf<T>(x: usize, factors: usize, count: usize, mask: v128, scratch: usize): v128 {
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  if (isFloat<T>()) {
    const end = factors + (count << 4);
    for (const whole = factors + ((count & ~7) << 4); factors < whole; factors += 128, x += 128) {
      a = fma(v128.load(factors, 0), v128.load(x, 0), a);
      b = fma(v128.load(factors, 16), v128.load(x, 16), b);
      c = fma(v128.load(factors, 32), v128.load(x, 32), c);
      d = fma(v128.load(factors, 48), v128.load(x, 48), d);
      e = fma(v128.load(factors, 64), v128.load(x, 64), e);
      f = fma(v128.load(factors, 80), v128.load(x, 80), f);
      g = fma(v128.load(factors, 96), v128.load(x, 96), g);
      h = fma(v128.load(factors, 112), v128.load(x, 112), h);
    }
    a = sumOfPairs(f32x4.add(a, e), f32x4.add(b, f), f32x4.add(c, g), f32x4.add(d, h), scratch);
    for (; factors < end; factors += 16, x += 16) a = fma(v128.load(factors), v128.load(x), a);
    return a;
  }
  const end = factors + (count >> 1 << 4);
  for (const whole = factors + (count >> 3 << 6); factors < whole; factors += 64, x += 64) {
    const x0 = v128.load(x), w0 = v128.load(factors);
    a = fma(w0, evenOf<T>(x0, mask), a);
    e = fma(w0, oddOf<T>(x0, mask), e);
    const x1 = v128.load(x, 16), w1 = v128.load(factors, 16);
    b = fma(w1, evenOf<T>(x1, mask), b);
    f = fma(w1, oddOf<T>(x1, mask), f);
    const x2 = v128.load(x, 32), w2 = v128.load(factors, 32);
    c = fma(w2, evenOf<T>(x2, mask), c);
    g = fma(w2, oddOf<T>(x2, mask), g);
    const x3 = v128.load(x, 48), w3 = v128.load(factors, 48);
    d = fma(w3, evenOf<T>(x3, mask), d);
    h = fma(w3, oddOf<T>(x3, mask), h);
  }
  let even = sumOfPairs(a, b, c, d, scratch), odd = sumOfPairs(e, f, g, h, scratch + 32);
  for (; factors < end; factors += 16, x += 16) {
    const y = v128.load(x), w = v128.load(factors);
    even = fma(w, evenOf<T>(y, mask), even);
    odd = fma(w, oddOf<T>(y, mask), odd);
  }
  if (count & 1) {
    const y = v128.load64_zero(x), w = v128.load64_zero(factors);
    even = fma(w, evenOf<T>(y, mask), even);
    odd = fma(w, oddOf<T>(y, mask), odd);
  }
  return f32x4.add(low(even, odd), high(even, odd));
}

// Copies numbers, `step` bytes apart, times a factor: as the sums above read them.
export function splat(source: usize, step: usize, count: usize, factor: f32, is16Bits: bool, target: usize): void {
  const size: usize = is16Bits ? 8 : 16;
  for (const end = target + count * size; target < end; target += size, source += step) {
    const x = f32x4.splat(f32.load(source) * factor);
    if (is16Bits) v128.store64_lane(target, x, 0);
    else v128.store(target, x);
  }
}

// Factors of the query and of the weights that keep sums of f16 minus its bias far from the ends of f32.
export function queryFactor(q: usize, dim: usize): f32 {
  const largest = magnitudeOf(q, 32, dim);
  return largest < 1.152921504606847e18 ? 1.099511627776e12 : 6.103515625e-5; // 2^60, 2^40, 2^-14
}

export const F16_WEIGHT: f32 = 1.2676506002282294e30; // 2^100

// Scores of one query, splatted, and `groups` times four keys [groups][dim][4]; those of f16 lack `factor`. The row has room
// for 64 bytes behind them.
export function dotOne<T>(k: usize, q: usize, row: usize, dim: usize, groups: usize, factor: f32): void {
  const mask = maskOf<T>();
  for (const end = row + (groups << 4); row < end; row += 16, k += dim * bytesOf<T>() << 2) {
    const sum = sumOf<T>(k, q, dim, mask, row);
    v128.store(row, sizeof<T>() == 1 ? f32x4.mul(sum, f32x4.splat(factor)) : sum);
  }
}

// The same for four queries. Eight keys at a time, four of the first half and four of the second: each number of a query
// is splatted once for both, and a multiply-add waits for the one before it, so that eight sums take as long as four. What
// lies beside one another is not read at once: two places of one page of memory look like no stream.
export function dotFour<T>(k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  const step = dim * bytesOf<T>() << 2, half = (groups + 1) >> 1, otherScores = half << 7;
  let others = half * step;
  for (const last = s + otherScores; s < last; s += 128) {
    // Of an odd number the last is by itself, and computed twice.
    if (s + 128 == last && (groups & 1) != 0) others = 0;
    let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    const end = k + step;
    for (let at = q; k < end; k += bytesOf<T>() << 2, at += 32) {
      const x = readFour<T>(k), y = readFour<T>(k + others);
      let w = v128.load_splat<f32>(at);
      a = fma(w, x, a);
      e = fma(w, y, e);
      w = v128.load_splat<f32>(at, 4);
      b = fma(w, x, b);
      f = fma(w, y, f);
      w = v128.load_splat<f32>(at, 8);
      c = fma(w, x, c);
      g = fma(w, y, g);
      w = v128.load_splat<f32>(at, 12);
      d = fma(w, x, d);
      h = fma(w, y, h);
    }
    storeTransposed(s, 32, a, b, c, d);
    if (others != 0) storeTransposed(s + otherScores, 32, e, f, g, h);
  }
}

// Four columns of o of one query, from `column` on, take in their sum.
export function add(to: Output, column: usize, sum: v128): void {
  const alpha = to.alpha;
  if (to.isOnly) {
    const o = to.o + (column << 2);
    v128.store(o, fma(v128.load(o), f32x4.splat(alpha), sum));
    return;
  }
  const o = to.o + (column << 5);
  f32.store(o, f32.load(o) * alpha + f32x4.extract_lane(sum, 0));
  f32.store(o, f32.load(o, 32) * alpha + f32x4.extract_lane(sum, 1), 32);
  f32.store(o, f32.load(o, 64) * alpha + f32x4.extract_lane(sum, 2), 64);
  f32.store(o, f32.load(o, 96) * alpha + f32x4.extract_lane(sum, 3), 96);
}

// Numbers side by side become a lane of a panel, also in place, and a lane becomes numbers side by side.
export function toLane(row: usize, lane: usize, count: usize): void {
  while (count-- > 0) f32.store(lane + (count << 5), f32.load(row + (count << 2)));
}

export function fromLane(lane: usize, row: usize, count: usize): void {
  for (let at: usize = 0; at < count; at++) f32.store(row + (at << 2), f32.load(lane + (at << 5)));
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

// o = o * alpha + p v for one query of weights, splatted; v[columns / 4][keys][4].
export function accumulateOne<T>(v: Columns, p: usize, to: Output): void {
  const mask = maskOf<T>(), factor = f32x4.splat(F16_BIAS / F16_WEIGHT), keys = v.count;
  for (let column: usize = 0, at = v.at; column < to.columns; column += 4, at += v.columns) {
    const sum = sumOf<T>(at, p, keys, mask, to.scratch);
    add(to, column, sizeof<T>() == 1 ? f32x4.mul(sum, factor) : sum);
  }
}

// Values of a key, with zeros where the byte that says who sees it lacks a query. Without bytes all see all.

// @ts-ignore: decorator
@inline
function seenBy(query: i32, lanes: usize, x: v128): v128 {
  return lanes == 0 ? x : v128.and(x, i32x4.splat(-(<i32>load<u8>(lanes) >> query & 1)));
}

// Eight columns of o of four queries, four from `at` on and the others: as those of keys they lie far apart.

// @ts-ignore: decorator
@inline
function sumEight<T>(v: Columns, at: usize, p: usize, o: usize, alpha: usize, lanes: usize): void {
  const others = v.others;
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  for (let w = p, last = p + (v.count << 5), seen = lanes; w < last; w += 32, at += bytesOf<T>() << 2) {
    const x = readFour<T>(at), y = readFour<T>(at + others);
    let z = v128.load_splat<f32>(w);
    a = fma(z, seenBy(0, seen, x), a);
    e = fma(z, seenBy(0, seen, y), e);
    z = v128.load_splat<f32>(w, 4);
    b = fma(z, seenBy(1, seen, x), b);
    f = fma(z, seenBy(1, seen, y), f);
    z = v128.load_splat<f32>(w, 8);
    c = fma(z, seenBy(2, seen, x), c);
    g = fma(z, seenBy(2, seen, y), g);
    z = v128.load_splat<f32>(w, 12);
    d = fma(z, seenBy(3, seen, x), d);
    h = fma(z, seenBy(3, seen, y), h);
    if (lanes != 0) seen++;
  }
  addFourRows(o, alpha, a, b, c, d);
  if (others != 0) addFourRows(o + v.otherSums, alpha, e, f, g, h);
}

// Called, not inlined: within the loops over runs and columns V8 has too few registers left, and takes a quarter longer.
function accumulateEight<T>(v: Columns, at: usize, p: usize, o: usize, alpha: usize): void {
  sumEight<T>(v, at, p, o, alpha, 0);
}

function accumulateSeenEight<T>(v: Columns, at: usize, p: usize, o: usize, alpha: usize, lanes: usize): void {
  sumEight<T>(v, at, p, o, alpha, lanes);
}

// The same for four queries, o up to `end`. Where `lanes` is not 0, values that a query does not see are taken for 0. Run by
// run of the same columns: these are read from their beginning to their end, which memory provides ahead.
export function accumulateFour<T>(v: Columns, p: usize, o: usize, end: usize, alpha: usize, lanes: usize): void {
  const count = v.count, first = min(firstRun(v.skipped, RUN), count), half = ((end - o >> 7) + 1) >> 1;
  v.others = half * v.columns;
  v.otherSums = half << 7;
  for (let column = v.at, last = o + v.otherSums; o < last; o += 128, column += v.columns) {
    // Of an odd number the last four are by themselves, and computed twice.
    if (o + v.otherSums == end) v.others = 0;
    for (let from: usize = 0, run = first, by = alpha; from < count; from += run, run = min(RUN, count - from), by = ONES) {
      const at = column + from * (bytesOf<T>() << 2), w = p + (from << 5);
      v.count = run;
      if (lanes == 0) accumulateEight<T>(v, at, w, o, by);
      else accumulateSeenEight<T>(v, at, w, o, by, lanes + from);
    }
  }
}
