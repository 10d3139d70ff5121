// 2^x of four lanes.
//
// Range: any x <= 0 (larger up to 127 is right as well). Error: at most 1.3 ULP, 1.0 with fused
// multiply-add. Below -127 the result is exactly 0, so that a masked score (-inf) leaves nothing
// behind; between -127 and -126, where the true value is no longer a normal number, it is some
// number below 2^-126. NaN gives NaN.
//
// Method: x = n + f with n the nearest integer, |f| <= 1/2. Adding 1.5 * 2^23 rounds to an integer
// and leaves n in the low bits, so shifting those bits left by 23 puts n where the exponent stands:
// no conversion, which without relaxed SIMD costs V8 some ten instructions. 2^f is a polynomial of
// degree 6, minimax in relative error (2.6e-9) with the constant term held at exactly 1: that is
// what makes the clamped -127 come out as bits(1.0) - 127 * 2^23 = 0.

import { fma } from "./fma";

const ROUND: f32 = 12582912.0; // 1.5 * 2^23
const LOWEST: f32 = -127.0;

// @ts-ignore: decorator
@inline
export function exp2(score: v128): v128 {
  const x = f32x4.max(score, f32x4.splat(LOWEST));
  const t = f32x4.add(x, f32x4.splat(ROUND));
  const f = f32x4.sub(x, f32x4.sub(t, f32x4.splat(ROUND)));
  let p = f32x4.splat(0.00015594677824992687);
  p = fma(p, f, f32x4.splat(0.0013406643411144614));
  p = fma(p, f, f32x4.splat(0.009617692790925503));
  p = fma(p, f, f32x4.splat(0.055503103882074356));
  p = fma(p, f, f32x4.splat(0.24022652208805084));
  p = fma(p, f, f32x4.splat(0.6931472420692444));
  p = fma(p, f, f32x4.splat(1));
  return i32x4.add(p, i32x4.shl(t, 23));
}
