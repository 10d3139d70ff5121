// The error of exp4() against float64, over every f32 of a range.

import { exp4 } from "../../asm/exp.gen";

const SIGN: u32 = 0x80000000;

// Units in the last place of f32 by which `y` differs from `exact`, a normal number of f32.
function ulps(y: f32, exact: f64): f64 {
  const exponent = <i64>(reinterpret<u64>(exact) >> 52) - 1023;
  const ulp = reinterpret<f64>(<u64>(exponent - 23 + 1023) << 52);
  return abs(<f64>y - exact) / ulp;
}

// @ts-ignore: decorator
@inline
function worse(worst: f64, lane: f32, bits: u32): f64 {
  const exact = NativeMath.exp2(2 * <f64>reinterpret<f32>(bits));
  return max(worst, ulps(lane, exact));
}

// The largest error, in ULP, over the negative numbers whose bits without the sign are from..to;
// both are multiples of 4.
export function worstError(from: u32, to: u32): f64 {
  let worst: f64 = 0;
  for (let bits = from; bits < to; bits += 4) {
    const first = bits | SIGN;
    const y = exp4(i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3)));
    worst = worse(worst, f32x4.extract_lane(y, 0), first);
    worst = worse(worst, f32x4.extract_lane(y, 1), first + 1);
    worst = worse(worst, f32x4.extract_lane(y, 2), first + 2);
    worst = worse(worst, f32x4.extract_lane(y, 3), first + 3);
  }
  return worst;
}

// 4^x of one number.
export function exp4Of(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}
