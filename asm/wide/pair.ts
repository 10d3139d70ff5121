// Two panels at once: sixteen queries are two vectors of 256 bits, which each element that is splatted meets. Panels stay
// as they are, each behind the one before it, and their sums have the same order: no bit differs.

import { firstRun, ONES, RUN } from "../products";
import { Columns, outputOf, panelBytes, PANEL, stateOf, Tile } from "../record";
import { Job } from "../records.gen";
import { accumulate_f32_4x16_splat4, accumulate_f32_6x16_splat4 } from "./accumulate.gen";
import { dot_f32_4x16_splat4, dot_f32_6x16_splat4 } from "./dot.gen";

// What both panels have: queries or weights, factors of what was summed before, the bytes from what is computed of the
// one to that of the other, and those from one row of values to the next.
@unmanaged
export class Pair {
  left: usize;
  right: usize;
  leftAlpha: usize;
  rightAlpha: usize;
  apart: usize;
  stride: usize;
}

// Of the record, in whole vectors.
export const PAIR_BYTES: usize = 32;

// Scores of the second panel, and the record: behind everything else in tile memory.
export function pairBytes(job: Job): usize {
  return (job.tileKeys << 5) + PAIR_BYTES;
}

// Scores of two panels and `groups` times four keys, which are three fours of keys in two sixes.
export function dotPairs(k: usize, s: usize, dim: usize, groups: usize, pair: Pair): void {
  const step = dim << 4;
  for (; groups >= 3; groups -= 3, k += 3 * step, s += 384) {
    dot_f32_6x16_splat4(k, k + step, s, s + 128, dim, pair);
    dot_f32_6x16_splat4(k + 2 * step, k + step + 8, s + 256, s + 192, dim, pair);
  }
  for (; groups > 0; groups--, k += step, s += 128) dot_f32_4x16_splat4(k, s, dim, pair);
}

// o = o * alpha + v^T p of both panels, for the first one's o up to `end`.
export function accumulatePairs(v: Columns, p: usize, o: usize, end: usize, pair: Pair): void {
  const count = v.count, first = min(firstRun(v.skipped, RUN), count), columns = v.columns, apart = pair.right - p;
  const leftAlpha = pair.leftAlpha, rightAlpha = pair.rightAlpha, row = v.row;
  pair.stride = row;
  for (let at = v.at; o < end;) {
    const isLong = o + 384 <= end;
    pair.leftAlpha = leftAlpha;
    pair.rightAlpha = rightAlpha;
    for (let from: usize = 0, run = first; from < count; from += run, run = min(RUN, count - from)) {
      const x = at + from * row;
      pair.left = p + (from << 5);
      pair.right = pair.left + apart;
      if (isLong) {
        accumulate_f32_6x16_splat4(x, x + columns, o, o + 128, run, pair);
        accumulate_f32_6x16_splat4(x + 2 * columns, x + columns + 8, o + 256, o + 192, run, pair);
      } else accumulate_f32_4x16_splat4(x, o, run, pair);
      pair.leftAlpha = pair.rightAlpha = ONES;
    }
    o += isLong ? 384 : 128;
    at += isLong ? columns * 3 : columns;
  }
}
