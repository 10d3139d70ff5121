// Products of panels: the micro-kernels over as many groups of four as there are.

import { accumulate_f32_4x8, accumulate_f32_4x8_splat1, accumulate_f32_4x8_splat4 } from "./accumulate.gen";
import { dot_f32_4x8, dot_f32_4x8_splat1, dot_f32_4x8_splat4 } from "./dot.gen";

// s[4 groups][8] = k[groups][dim][4] times q[dim][8].
export function dotPanels(splats: usize, k: usize, q: usize, s: usize, dim: usize, groups: usize): void {
  for (let group: usize = 0; group < groups; group++) {
    if (splats == 4) dot_f32_4x8_splat4(k, q, s, dim);
    else if (splats == 1) dot_f32_4x8_splat1(k, q, s, dim);
    else dot_f32_4x8(k, q, s, dim);
    k += dim << 4;
    s += 128;
  }
}

export const ONES: usize = memory.data<f32>([1, 1, 1, 1, 1, 1, 1, 1], 16);

// Terms that are summed before they are added to what there is: rounding's errors in a sum of equal terms all go
// one way, and grow with their number. Even.
export const RUN: usize = 96;

// o = o * alpha + v^T p for o up to `end`, four columns of v at a time: they are `columns` bytes apart, and
// their `count` rows `row` bytes. At least one row.
export function accumulateColumns(
  splats: usize, v: usize, row: usize, columns: usize, p: usize, o: usize, end: usize, alpha: usize, count: usize,
): void {
  for (; o < end; o += 128) {
    for (let from: usize = 0, by = alpha; from < count; from += RUN, by = ONES) {
      const x = v + from * row, w = p + (from << 5), run = min(RUN, count - from);
      if (splats == 4) accumulate_f32_4x8_splat4(x, row, w, o, by, run);
      else if (splats == 1) accumulate_f32_4x8_splat1(x, row, w, o, by, run);
      else accumulate_f32_4x8(x, row, w, o, by, run);
    }
    v += columns;
  }
}
