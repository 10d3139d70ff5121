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

// o = o * alpha + v^T p for o up to `end`, four columns of v at a time: they are `columns` bytes apart, and
// their `count` rows `row` bytes.
export function accumulateColumns(
  splats: usize, v: usize, row: usize, columns: usize, p: usize, o: usize, end: usize, alpha: usize, count: usize,
): void {
  for (; o < end; o += 128) {
    if (splats == 4) accumulate_f32_4x8_splat4(v, row, p, o, alpha, count);
    else if (splats == 1) accumulate_f32_4x8_splat1(v, row, p, o, alpha, count);
    else accumulate_f32_4x8(v, row, p, o, alpha, count);
    v += columns;
  }
}
