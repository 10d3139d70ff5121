// Curves that score functions have, of four numbers.

import { fma } from "../fma";

// exp(x). Error: at most 2 ULP. x = n ln(2) + f, |f| <= ln(2) / 2, in two parts of ln(2), the first of which n times is
// exact; exp(f) is a polynomial of degree 7. 2^n is multiplied in two halves, so that the smallest and the largest are right.

// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const limited = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-104)), f32x4.splat(89)); // pmin and pmax with x first keep a NaN.
  const n = f32x4.nearest(f32x4.mul(limited, f32x4.splat(1.4426950408889634)));
  let f = fma(n, f32x4.splat(-0.693359375), limited);
  f = fma(n, f32x4.splat(0.00021219444005469057), f);
  let p = f32x4.splat(0.00019875691500);
  p = fma(p, f, f32x4.splat(0.0013981999507));
  p = fma(p, f, f32x4.splat(0.0083334519073));
  p = fma(p, f, f32x4.splat(0.041665795894));
  p = fma(p, f, f32x4.splat(0.16666665459));
  p = fma(p, f, f32x4.splat(0.50000001201));
  p = f32x4.add(fma(p, f32x4.mul(f, f), f), f32x4.splat(1));
  const whole = i32x4.trunc_sat_f32x4_s(n), half = i32x4.shr_s(whole, 1);
  const first = i32x4.shl(i32x4.add(half, i32x4.splat(127)), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(whole, half), i32x4.splat(127)), 23);
  return f32x4.mul(f32x4.mul(p, first), second);
}

// 1 / (1 + exp(-x)).

// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

// The natural logarithm. Error: at most 2 ULP but near 1, where it is 2^-24 of what is added. x = 2^n m, m in [sqrt(1/2), sqrt(2)); of m it is a polynomial
// of m - 1 (Cephes, logf). Numbers below 2^-126 are multiplied by 2^24 before.

// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const isSmall = f32x4.lt(x, f32x4.splat(1.1754943508222875e-38));
  const scaled = v128.bitselect(f32x4.mul(x, f32x4.splat(16777216)), x, isSmall);
  const root: u32 = 0x3f3504f3; // sqrt(1/2)
  const above = i32x4.sub(scaled, i32x4.splat(root));
  let n = f32x4.convert_i32x4_s(i32x4.shr_s(above, 23));
  n = f32x4.sub(n, v128.and(f32x4.splat(24), isSmall));
  const m = i32x4.add(v128.and(above, i32x4.splat(0x007fffff)), i32x4.splat(root));
  const f = f32x4.sub(m, f32x4.splat(1)), z = f32x4.mul(f, f);
  let p = f32x4.splat(0.070376836292);
  p = fma(p, f, f32x4.splat(-0.1151461031));
  p = fma(p, f, f32x4.splat(0.11676998740));
  p = fma(p, f, f32x4.splat(-0.12420140846));
  p = fma(p, f, f32x4.splat(0.14249322787));
  p = fma(p, f, f32x4.splat(-0.16668057665));
  p = fma(p, f, f32x4.splat(0.20000714765));
  p = fma(p, f, f32x4.splat(-0.24999993993));
  p = fma(p, f, f32x4.splat(0.33333331174));
  let y = f32x4.mul(f32x4.mul(p, f), z);
  y = fma(n, f32x4.splat(-0.00021219444005469057), y);
  y = fma(z, f32x4.splat(-0.5), y);
  y = fma(n, f32x4.splat(0.693359375), f32x4.add(f, y));
  // Infinity is its own; 0 is -Infinity, and NaN what is less.
  const infinity = f32x4.splat(Infinity), zero = f32x4.splat(0);
  y = v128.bitselect(x, y, f32x4.eq(x, infinity));
  y = v128.bitselect(f32x4.neg(infinity), y, f32x4.eq(x, zero));
  return v128.bitselect(y, f32x4.splat(NaN), f32x4.ge(x, zero));
}
