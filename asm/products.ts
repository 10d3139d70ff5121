// Products of panels: the micro-kernels over as many groups of four as there are.

import { accumulate_f32_4x8, accumulate_f32_4x8_splat1, accumulate_f32_4x8_splat4 } from "./accumulate.gen";
import { dot_f32_4x8, dot_f32_4x8_splat1, dot_f32_4x8_splat4 } from "./dot.gen";
import { fma } from "./fma";
import { seenHigh, seenLow } from "./mask";
import { Columns } from "./record";
import { accumulate_f32_8x8_splat4 } from "./wide/accumulate.gen";
import { dot_f32_8x8_splat4 } from "./wide/dot.gen";
import { WIDE } from "./build";

// s[4 groups][8] = k[groups][dim][4] times q[dim][8].
export function dotPanels(splats: usize, k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  let group: usize = 0;
  if (WIDE) {
    for (const others = dim << 4; group + 2 <= groups; group += 2, k += others << 1, s += 256) {
      dot_f32_8x8_splat4(k, others, q, s, dim);
    }
  }
  if (splats == 4) dot_f32_4x8_splat4(k, q, s, dim, groups - group);
  else if (splats == 1) dot_f32_4x8_splat1(k, q, s, dim, groups - group);
  else dot_f32_4x8(k, q, s, dim, groups - group);
}

export const ONES: usize = memory.data<f32>([1, 1, 1, 1, 1, 1, 1, 1], 16);

// Terms that are summed before they are added to what there is: rounding's errors in a sum of equal terms all go
// one way, and grow with their number. Even.
export const RUN: usize = 96;

// Where the first run ends that begins with row `skipped` of a tile: runs are counted from the tile's first row, so
// that no sum depends on where the rows beside in a panel begin to see.

// @ts-ignore: decorator
@inline
export function firstRun(skipped: usize, run: usize): usize {
  return run - skipped % run;
}

// o = o * alpha + v^T p for o up to `end`, four columns of v at a time; at least one row.
export function accumulateColumns(splats: usize, v: Columns, p: usize, o: usize, end: usize, alpha: usize): void {
  const begin = v.at;
  if (WIDE) {
    const row = v.row, columns = v.columns, count = v.count, first = min(firstRun(v.skipped, RUN), count);
    let at = begin;
    for (; o + 256 <= end; o += 256, at += columns << 1) {
      for (let from: usize = 0, run = first, by = alpha; from < count; from += run, run = min(RUN, count - from), by = ONES) {
        accumulate_f32_8x8_splat4(v, at + from * row, p + (from << 5), o, by, run);
      }
    }
    v.at = at;
  }
  if (splats == 4) accumulate_f32_4x8_splat4(v, p, o, end, alpha);
  else if (splats == 1) accumulate_f32_4x8_splat1(v, p, o, end, alpha);
  else accumulate_f32_4x8(v, p, o, end, alpha);
  if (WIDE) v.at = begin;
}

// The same, value by value, where keys that some row must not see have values that are not all finite: 0 * NaN would
// leave a trace.
export function accumulateSeen(v: Columns, width: usize, p: usize, o: usize, alpha: usize, lanes: usize): void {
  const row = v.row, columns = v.columns, count = v.count;
  for (let column: usize = 0; column < width; column++) {
    const values = v.at + (column >> 2) * columns + ((column & 3) << 2);
    for (let key: usize = 0, end = firstRun(v.skipped, RUN), by = alpha; key < count; end += RUN, by = ONES) {
      let c0 = f32x4.splat(0), c1 = c0;
      for (const to = min(end, count); key < to; key++) {
        const x = v128.load_splat<f32>(values + key * row), weights = p + (key << 5);
        c0 = fma(v128.and(x, seenLow(lanes, key)), v128.load(weights), c0);
        c1 = fma(v128.and(x, seenHigh(lanes, key)), v128.load(weights, 16), c1);
      }
      v128.store(o, fma(v128.load(o), v128.load(by), c0));
      v128.store(o, fma(v128.load(o, 16), v128.load(by, 16), c1), 16);
    }
    o += 32;
  }
}

// The same with a factor of 1, where a weight of 0 must leave no trace, whatever its value.
export function accumulateWeighted(v: Columns, width: usize, p: usize, o: usize): void {
  const row = v.row, columns = v.columns, count = v.count, zero = f32x4.splat(0);
  for (let column: usize = 0; column < width; column++) {
    const values = v.at + (column >> 2) * columns + ((column & 3) << 2);
    for (let at: usize = 0, end = firstRun(v.skipped, RUN); at < count; end += RUN) {
      let c0 = zero, c1 = zero;
      for (const to = min(end, count); at < to; at++) {
        const x = v128.load_splat<f32>(values + at * row);
        const p0 = v128.load(p + (at << 5)), p1 = v128.load(p + (at << 5), 16);
        c0 = fma(v128.and(x, f32x4.ne(p0, zero)), p0, c0);
        c1 = fma(v128.and(x, f32x4.ne(p1, zero)), p1, c1);
      }
      v128.store(o, f32x4.add(v128.load(o), c0));
      v128.store(o, f32x4.add(v128.load(o, 16), c1), 16);
    }
    o += 32;
  }
}
