// Panels of few rows against values that lie as rows: lanes that nobody reads are not computed. Each sum has its terms in
// the order that whole panels have them, so that a row has the same bits however many are beside it.

import { fma } from "../fma";
import { secondHalves } from "../layout";
import { firstRun, ONES, RUN } from "../products";
import { Columns } from "../record";
import { dotRows16, dotRows4, sumRows1x1, sumRows1x8, sumRows2x1, sumRows2x4 } from "./products.gen";

// Scores of four keys into a lane of s[keys][8], and those beside it.

// @ts-ignore: decorator
@inline
export function storeEach(s: usize, x: v128): void {
  v128.store(s, v128.shuffle<f32>(x, x, 0, 0, 0, 0));
  v128.store(s, v128.shuffle<f32>(x, x, 1, 1, 1, 1), 32);
  v128.store(s, v128.shuffle<f32>(x, x, 2, 2, 2, 2), 64);
  v128.store(s, v128.shuffle<f32>(x, x, 3, 3, 3, 3), 96);
}

// Scores of one query and rows of keys, `row` bytes apart, in the first lanes of s[keys][8].
export function dotRows(k: usize, row: usize, panel: usize, s: usize, dim: usize, count: usize): void {
  for (; count >= 16; count -= 16, k += row << 4, s += 512) dotRows16(k, row, panel, s, dim);
  for (; <isize>count > 0; count -= 4, k += row << 2, s += 128) dotRows4(k, row, panel, s, dim, count);
}

// Four columns of o of one query, in a lane of o[columns][8], take in their sums.

// @ts-ignore: decorator
@inline
export function addOne(o: usize, factor: v128, sums: v128): void {
  let x = v128.load32_zero(o);
  x = v128.load32_lane(o, x, 1, 32);
  x = v128.load32_lane(o, x, 2, 64);
  x = fma(v128.load32_lane(o, x, 3, 96), factor, sums);
  v128.store32_lane(o, x, 0);
  v128.store32_lane(o, x, 1, 32);
  v128.store32_lane(o, x, 2, 64);
  v128.store32_lane(o, x, 3, 96);
}

// Two columns of o of two queries, in lanes beside each other, take in their sums.

// @ts-ignore: decorator
@inline
export function addTwo(o: usize, factors: v128, sums: v128): void {
  v128.store64_lane(o, fma(v128.load64_zero(o), factors, sums), 0);
  v128.store64_lane(o, fma(v128.load64_zero(o, 32), factors, secondHalves(sums, sums)), 0, 32);
}

// o[width][8] of `rows` rows takes in values by the weights p[keys][8].
export function accumulateRows(v: Columns, width: usize, p: usize, o: usize, alpha: usize, rows: usize): void {
  const row = v.row, count = v.count, first = min(firstRun(v.skipped, RUN), count), isOne = rows == 1;
  const most: usize = isOne ? 32 : 16;
  for (let column: usize = 0, step: usize = 0; column < width; column += step) {
    const isWide = width - column >= most, at = v.at + (column << 2), to = o + (column << 5);
    step = isWide ? most : 4;
    for (let from: usize = 0, run = first, by = alpha; from < count; from += run, run = min(RUN, count - from), by = ONES) {
      const x = at + from * row, w = p + (from << 5);
      if (isOne) {
        if (isWide) sumRows1x8(x, row, w, run, to, by);
        else sumRows1x1(x, row, w, run, to, by);
        continue;
      }
      for (let lane: usize = 0; lane < rows << 2; lane += 8) {
        const factors = by == ONES ? ONES : by + lane;
        if (isWide) sumRows2x4(x, row, w + lane, run, to + lane, factors);
        else sumRows2x1(x, row, w + lane, run, to + lane, factors);
      }
    }
  }
}
