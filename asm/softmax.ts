// Online softmax of one panel: eight queries side by side, one lane each, keys downwards, so that
// maxima and sums need no step across lanes. Milakov and Gimelshein, "Online normalizer calculation
// for softmax" (arXiv 1805.02867), algorithm 3, in base 2.

import { exp2 } from "./exp";

// For the `keys` rows of scores s[keys][8]: takes them into the running maximum m and sum l, turns
// them into weights 2^(s - m) in place, and leaves in `alpha` the factor for what was summed before.
export function softmax(s: usize, keys: usize, m: usize, l: usize, alpha: usize): void {
  const end = s + (keys << 5);
  const old0 = v128.load(m), old1 = v128.load(m, 16);
  let max0 = old0, max1 = old1;
  for (let at = s; at < end; at += 32) {
    // pmax(a, b) keeps a where b is NaN: a NaN score reaches the sum below, not the maximum.
    max0 = f32x4.pmax(max0, v128.load(at));
    max1 = f32x4.pmax(max1, v128.load(at, 16));
  }
  v128.store(m, max0);
  v128.store(m, max1, 16);
  // A query that has seen no key yet has m = -inf, and -inf - -inf would be NaN.
  const none = f32x4.splat(-Infinity);
  const safe0 = v128.andnot(max0, f32x4.eq(max0, none));
  const safe1 = v128.andnot(max1, f32x4.eq(max1, none));
  const alpha0 = exp2(f32x4.sub(old0, safe0));
  const alpha1 = exp2(f32x4.sub(old1, safe1));
  v128.store(alpha, alpha0);
  v128.store(alpha, alpha1, 16);
  let sum0 = f32x4.splat(0), sum1 = sum0;
  for (let at = s; at < end; at += 32) {
    const p0 = exp2(f32x4.sub(v128.load(at), safe0));
    const p1 = exp2(f32x4.sub(v128.load(at, 16), safe1));
    v128.store(at, p0);
    v128.store(at, p1, 16);
    sum0 = f32x4.add(sum0, p0);
    sum1 = f32x4.add(sum1, p1);
  }
  v128.store(l, f32x4.add(f32x4.mul(v128.load(l), alpha0), sum0));
  v128.store(l, f32x4.add(f32x4.mul(v128.load(l, 16), alpha1), sum1), 16);
}
