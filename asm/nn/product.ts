// What the micro-kernels of linear layers work with.

import { addPairs } from "../integer/multiply";

// Outputs of a panel, rows of a tile, and panels that one row is multiplied with at once.
export const OUTPUTS: usize = 8;
export const ROWS: usize = 4;
export const PANELS: usize = 4;

// Inputs that share a scale where weights are bytes.
export const BLOCK: usize = 32;

// Rows times a panel of weights, or one row times PANELS of them.
@unmanaged
export class Product {
  a: usize; // packed rows
  row: usize; // bytes of one
  b: usize; // the panel
  panel: usize; // bytes from it to the next
  out: usize;
  outRow: usize; // bytes from one row of results to the next
  tiles: usize; // of four rows
  bias: usize; // eight numbers a panel
  scales: usize; // of the panel's weights
  scaleStep: usize; // bytes from them to those of the next panel
  rowScales: usize; // of packed rows, if these are integers
  sums: usize; // where sums wait
}

export const ONES: usize = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16);

// Bytes of four outputs as products by bytes take them, of pairs of all eight: those of two inputs, and of the next two.

// @ts-ignore: decorator
@inline
export function lowFours(pairs: v128, next: v128): v128 {
  return v128.shuffle<i16>(pairs, next, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
export function highFours(pairs: v128, next: v128): v128 {
  return v128.shuffle<i16>(pairs, next, 4, 12, 5, 13, 6, 14, 7, 15);
}

// c + a b of four and four bytes, those of `b` from 0 to 127. Without relaxed SIMD products of 16 bits are put side by
// side as the one instruction has them.

// @ts-ignore: decorator
@inline
export function addFours(a: v128, b: v128, c: v128, ones: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return addPairs(i16x8.relaxed_dot_i8x16_i7x16_s(a, b), ones, c);
  const x = i16x8.extmul_low_i8x16_s(a, b), y = i16x8.extmul_high_i8x16_s(a, b);
  const even = v128.shuffle<i16>(x, y, 0, 2, 4, 6, 8, 10, 12, 14);
  const odd = v128.shuffle<i16>(x, y, 1, 3, 5, 7, 9, 11, 13, 15);
  return addPairs(i16x8.add(even, odd), ones, c);
}

// The first and the second of pairs of 16 bits, as floats.

// @ts-ignore: decorator
@inline
export function firstOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(pairs, 16), 16));
}

// @ts-ignore: decorator
@inline
export function secondOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(pairs, 16));
}
