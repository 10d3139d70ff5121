// Online softmax of one panel: eight queries side by side, one lane each, keys downwards, so that
// maxima and sums need no step across lanes. Milakov and Gimelshein, "Online normalizer calculation
// for softmax" (arXiv 1805.02867), algorithm 3, in base 2.

import { exp2, weights_f32_2x8 } from "./exp.gen";

// The running maximum of eight queries once the rows s[keys][8] are taken into m.
function takeMaxima(s: usize, keys: usize, m: usize): void {
  let max0 = v128.load(m), max1 = v128.load(m, 16);
  for (const end = s + (keys << 5); s < end; s += 32) {
    // pmax(a, b) keeps a where b is NaN: a NaN score reaches the sum, not the maximum.
    max0 = f32x4.pmax(max0, v128.load(s));
    max1 = f32x4.pmax(max1, v128.load(s, 16));
  }
  v128.store(m, max0);
  v128.store(m, max1, 16);
}

// A maximum that may be subtracted: a query that has seen no key yet has m = -inf, and
// -inf - -inf would be NaN.

// @ts-ignore: decorator
@inline
export function finiteMaximum(m: v128): v128 {
  return v128.andnot(m, f32x4.eq(m, f32x4.splat(-Infinity)));
}

// For the rows of scores s[keys][8], keys even: takes them into the running maximum m and sum l,
// turns them into weights 2^(s - m) in place, and leaves in `alpha` the factor for what was summed
// before. `shift` is scratch; each of the five holds eight lanes.
export function softmax(s: usize, keys: usize, m: usize, l: usize, alpha: usize, shift: usize): void {
  const old0 = v128.load(m), old1 = v128.load(m, 16);
  takeMaxima(s, keys, m);
  const shift0 = finiteMaximum(v128.load(m)), shift1 = finiteMaximum(v128.load(m, 16));
  v128.store(shift, shift0);
  v128.store(shift, shift1, 16);
  v128.store(alpha, exp2(f32x4.sub(old0, shift0)));
  v128.store(alpha, exp2(f32x4.sub(old1, shift1)), 16);
  weights_f32_2x8(s, keys, shift, l, alpha);
}
