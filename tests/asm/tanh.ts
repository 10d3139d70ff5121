// The error of tanh() against float64, and what else holds for every f32 of a range.

import { tanh } from "../../asm/tanh.gen";

export { cap_f32_2x8 } from "../../asm/tanh.gen";

const SCORES: usize = memory.data(4096, 16);

// Where the test puts scores: 128 rows of eight.
export function scores(): usize {
  return SCORES;
}

// Units in the last place of f32 by which `y` differs from `exact`, a normal number of f32.
function ulps(y: f32, exact: f64): f64 {
  const exponent = <i64> (reinterpret<u64>(exact) >> 52) - 1023;
  const ulp = reinterpret<f64>(<u64> (exponent - 23 + 1023) << 52);
  return abs(<f64> y - exact) / ulp;
}

// @ts-ignore: decorator

function worse(worst: f64, lane: f32, bits: u32): f64 {
  const exact = NativeMath.tanh(<f64> reinterpret<f32>(bits));
  return max(worst, ulps(lane, exact));
}

// Four numbers whose bits follow one another.

// @ts-ignore: decorator

function four(bits: u32): v128 {
  return i32x4.add(i32x4.splat(bits), i32x4(0, 1, 2, 3));
}

// The largest error, in ULP, over the positive numbers whose bits are from..to; both are multiples
// of 4, as below.
export function worstError(from: u32, to: u32): f64 {
  let worst: f64 = 0;
  for (let bits = from; bits < to; bits += 4) {
    const y = tanh(four(bits));
    worst = worse(worst, f32x4.extract_lane(y, 0), bits);
    worst = worse(worst, f32x4.extract_lane(y, 1), bits + 1);
    worst = worse(worst, f32x4.extract_lane(y, 2), bits + 2);
    worst = worse(worst, f32x4.extract_lane(y, 3), bits + 3);
  }
  return worst;
}

// Whether tanh(-x) has the bits of -tanh(x), and tanh(x) is at most 1, for these numbers x.
export function oddAndAtMostOne(from: u32, to: u32): bool {
  let wrong = i32x4.splat(0);
  const one = f32x4.splat(1);
  for (let bits = from; bits < to; bits += 4) {
    const x = four(bits), y = tanh(x);
    wrong = v128.or(wrong, v128.xor(f32x4.neg(y), tanh(f32x4.neg(x))));
    wrong = v128.or(wrong, f32x4.gt(y, one));
  }
  return !v128.any_true(wrong);
}

// Whether tanh(x) is x, for these numbers x.
export function same(from: u32, to: u32): bool {
  let wrong = i32x4.splat(0);
  for (let bits = from; bits < to; bits += 4) {
    const x = four(bits);
    wrong = v128.or(wrong, v128.xor(x, tanh(x)));
  }
  return !v128.any_true(wrong);
}

// tanh(x) of one number.
export function tanhOf(x: f32): f32 {
  return f32x4.extract_lane(tanh(f32x4.splat(x)), 0);
}
