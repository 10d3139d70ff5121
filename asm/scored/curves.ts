// Curves that score functions have, of four numbers. Constants are loaded, by one instruction: V8 makes a vector of a number
// anew at each use, by three.

import { fma } from "../fma";

// @ts-ignore: decorator
@lazy
const REALS: usize = memory.data<f32>([
  // exp: the least and the greatest that is computed, log2(e), ln(2) in two parts, the polynomial, 1.
  -104,
  89,
  1.4426950408889634,
  -0.693359375,
  0.00021219444005469057,
  0.00019875691500,
  0.0013981999507,
  0.0083334519073,
  0.041665795894,
  0.16666665459,
  0.50000001201,
  1,
  // log: the least normal number, what is multiplied below it, the polynomial, ln(2) in two parts, -1/2, infinity.
  1.1754943508222875e-38,
  16777216,
  0.070376836292,
  -0.1151461031,
  0.11676998740,
  -0.12420140846,
  0.14249322787,
  -0.16668057665,
  0.20000714765,
  -0.24999993993,
  0.33333331174,
  -0.00021219444005469057,
  -0.5,
  0.693359375,
  Infinity,
  24,
  // exp: 1.5 * 2^23, added and subtracted again it rounds to a whole number, which it has in its low bits.
  12582912,
], 4);

// The exponent of 1; the bits of sqrt(1/2), and those of a fraction.

// @ts-ignore: decorator
@lazy
const WHOLES: usize = memory.data<u32>([
  127,
  0x3f3504f3,
  0x007fffff,
], 4);

// @ts-ignore: decorator
@inline
function real(at: usize): v128 {
  return v128.load32_splat(REALS + (at << 2));
}

// @ts-ignore: decorator
@inline
function whole(at: usize): v128 {
  return v128.load32_splat(WHOLES + (at << 2));
}

// exp(x). Error: at most 2 ULP. x = n ln(2) + f, |f| <= ln(2) / 2, in two parts of ln(2), the first of which n times is
// exact; exp(f) is a polynomial of degree 7. 2^n is multiplied in two halves, so that the smallest and the largest are right.

// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const limited = f32x4.pmin(f32x4.pmax(x, real(0)), real(1)); // pmin and pmax with x first keep a NaN.
  const t = fma(limited, real(2), real(28)), n = f32x4.sub(t, real(28));
  let f = fma(n, real(3), limited);
  f = fma(n, real(4), f);
  let p = real(5);
  p = fma(p, f, real(6));
  p = fma(p, f, real(7));
  p = fma(p, f, real(8));
  p = fma(p, f, real(9));
  p = fma(p, f, real(10));
  p = f32x4.add(fma(p, f32x4.mul(f, f), f), real(11));
  const power = i32x4.sub(t, real(28)), half = i32x4.shr_s(power, 1), exponent = whole(0);
  const first = i32x4.shl(i32x4.add(half, exponent), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(power, half), exponent), 23);
  return f32x4.mul(f32x4.mul(p, first), second);
}

// 1 / (1 + exp(-x)).

// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return f32x4.div(real(11), f32x4.add(real(11), exp(f32x4.neg(x))));
}

// The natural logarithm. Error: at most 2 ULP but near 1, where it is 2^-24 of what is added. x = 2^n m, m in [sqrt(1/2), sqrt(2)); of m it is a polynomial
// of m - 1 (Cephes, logf). Numbers below 2^-126 are multiplied by 2^24 before.

// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const isSmall = f32x4.lt(x, real(12)), scaled = v128.bitselect(f32x4.mul(x, real(13)), x, isSmall);
  const root = whole(1), above = i32x4.sub(scaled, root);
  let n = f32x4.convert_i32x4_s(i32x4.shr_s(above, 23));
  n = f32x4.sub(n, v128.and(real(27), isSmall));
  const m = i32x4.add(v128.and(above, whole(2)), root);
  const f = f32x4.sub(m, real(11)), z = f32x4.mul(f, f);
  let p = real(14);
  p = fma(p, f, real(15));
  p = fma(p, f, real(16));
  p = fma(p, f, real(17));
  p = fma(p, f, real(18));
  p = fma(p, f, real(19));
  p = fma(p, f, real(20));
  p = fma(p, f, real(21));
  p = fma(p, f, real(22));
  let y = f32x4.mul(f32x4.mul(p, f), z);
  y = fma(n, real(23), y);
  y = fma(z, real(24), y);
  y = fma(n, real(25), f32x4.add(f, y));
  // Infinity is its own; 0 is -Infinity, and NaN what is less.
  const infinity = real(26), zero = f32x4.splat(0);
  y = v128.bitselect(x, y, f32x4.eq(x, infinity));
  const isZero = f32x4.eq(x, zero);
  y = v128.bitselect(f32x4.neg(infinity), y, isZero);
  // What is NaN or below 0 gives NaN: all bits set.
  return v128.or(y, v128.not(f32x4.ge(x, zero)));
}
