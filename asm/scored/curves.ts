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
  0.5,
], 4);

// Where each is; of polynomials by the power that it is the factor of.
const LEAST: usize = 0;
const GREATEST: usize = 1;
const LOG2_E: usize = 2;
const MINUS_LN2_HIGH: usize = 3;
const MINUS_LN2_LOW: usize = 4;
const EXP_7: usize = 5;
const EXP_6: usize = 6;
const EXP_5: usize = 7;
const EXP_4: usize = 8;
const EXP_3: usize = 9;
const EXP_2: usize = 10;
const ONE: usize = 11;
const LEAST_NORMAL: usize = 12;
const TO_NORMAL: usize = 13;
const LOG_11: usize = 14;
const LOG_10: usize = 15;
const LOG_9: usize = 16;
const LOG_8: usize = 17;
const LOG_7: usize = 18;
const LOG_6: usize = 19;
const LOG_5: usize = 20;
const LOG_4: usize = 21;
const LOG_3: usize = 22;
const LN2_LOW: usize = 23;
const OF_SQUARE: usize = 24;
const LN2_HIGH: usize = 25;
const INFINITE: usize = 26;
const NORMAL_POWERS: usize = 27;
const ROUND: usize = 28;
const SHARE: usize = 29;

// The exponent of 1; the bits of sqrt(1/2), and those of a fraction.

// @ts-ignore: decorator
@lazy
const WHOLES: usize = memory.data<u32>([
  127,
  0x3f3504f3,
  0x007fffff,
], 4);

const EXPONENT_OF_ONE: usize = 0;
const ROOT: usize = 1;
const FRACTION: usize = 2;

// @ts-ignore: decorator
@inline
function real(at: usize): v128 {
  return v128.load32_splat(REALS + (at << 2));
}

// @ts-ignore: decorator
@inline
export function equalShare(): v128 {
  return real(SHARE);
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
  const limited = f32x4.pmin(f32x4.pmax(x, real(LEAST)), real(GREATEST)); // pmin and pmax with x first keep a NaN.
  const t = fma(limited, real(LOG2_E), real(ROUND)), n = f32x4.sub(t, real(ROUND));
  let f = fma(n, real(MINUS_LN2_HIGH), limited);
  f = fma(n, real(MINUS_LN2_LOW), f);
  let p = real(EXP_7);
  p = fma(p, f, real(EXP_6));
  p = fma(p, f, real(EXP_5));
  p = fma(p, f, real(EXP_4));
  p = fma(p, f, real(EXP_3));
  p = fma(p, f, real(EXP_2));
  p = f32x4.add(fma(p, f32x4.mul(f, f), f), real(ONE));
  const power = i32x4.sub(t, real(ROUND)), half = i32x4.shr_s(power, 1), exponent = whole(EXPONENT_OF_ONE);
  const first = i32x4.shl(i32x4.add(half, exponent), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(power, half), exponent), 23);
  return f32x4.mul(f32x4.mul(p, first), second);
}

// 1 / (1 + exp(-x)).

// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return f32x4.div(real(ONE), f32x4.add(real(ONE), exp(f32x4.neg(x))));
}

// The natural logarithm. Error: at most 2 ULP but near 1, where it is 2^-24 of what is added. x = 2^n m, m in [sqrt(1/2),
// sqrt(2)); of m it is a polynomial of m - 1 (Cephes, logf). Numbers below 2^-126 are multiplied by 2^24 before.

// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const isSmall = f32x4.lt(x, real(LEAST_NORMAL)), scaled = v128.bitselect(f32x4.mul(x, real(TO_NORMAL)), x, isSmall);
  const root = whole(ROOT), above = i32x4.sub(scaled, root);
  let n = f32x4.convert_i32x4_s(i32x4.shr_s(above, 23));
  n = f32x4.sub(n, v128.and(real(NORMAL_POWERS), isSmall));
  const m = i32x4.add(v128.and(above, whole(FRACTION)), root);
  const f = f32x4.sub(m, real(ONE)), z = f32x4.mul(f, f);
  let p = real(LOG_11);
  p = fma(p, f, real(LOG_10));
  p = fma(p, f, real(LOG_9));
  p = fma(p, f, real(LOG_8));
  p = fma(p, f, real(LOG_7));
  p = fma(p, f, real(LOG_6));
  p = fma(p, f, real(LOG_5));
  p = fma(p, f, real(LOG_4));
  p = fma(p, f, real(LOG_3));
  let y = f32x4.mul(f32x4.mul(p, f), z);
  y = fma(n, real(LN2_LOW), y);
  y = fma(z, real(OF_SQUARE), y);
  y = fma(n, real(LN2_HIGH), f32x4.add(f, y));
  // Infinity is its own; 0 is -Infinity, and NaN what is less.
  const infinity = real(INFINITE), zero = f32x4.splat(0);
  y = v128.bitselect(x, y, f32x4.eq(x, infinity));
  const isZero = f32x4.eq(x, zero);
  y = v128.bitselect(f32x4.neg(infinity), y, isZero);
  // What is NaN or below 0 gives NaN: all bits set.
  return v128.or(y, v128.not(f32x4.ge(x, zero)));
}
