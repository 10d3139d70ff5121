// Merging: panels that saw disjoint sets of keys become the panel that saw them all. Exact: sums
// that belong to smaller maxima are scaled as the online softmax scales them
// (Flash-Decoding; Dao et al. 2023).

import { fma } from "./fma";
import { finiteMaximum, powerOf, raised } from "./softmax";

// Takes the sums o[depth][8], m[8] and l[8] of another panel into those of `sum`; m and l stand one behind the
// other, `bytes` from where o begins. `rest` is laid out as they are and keeps what rounding takes from the sums
// (Kahan, "Further remarks on reducing truncation errors", 1965): hundreds of parts are as exact as one.
export function mergePanel(sum: usize, rest: usize, other: usize, bytes: usize, unit: f32): void {
  for (let lane: usize = 0; lane < 32; lane += 16) {
    const m0 = v128.load(sum + bytes + lane), m1 = v128.load(other + bytes + lane);
    const m = raised(m0, m1, unit), safe = finiteMaximum(m);
    const factor0 = powerOf(f32x4.sub(m0, safe), unit), factor1 = powerOf(f32x4.sub(m1, safe), unit);
    for (let at = lane; at < bytes + 64; at += 32) {
      const before = f32x4.mul(v128.load(sum + at), factor0);
      const added = fma(v128.load(other + at), factor1, f32x4.mul(v128.load(rest + at), factor0));
      const after = f32x4.add(before, added), taken = f32x4.sub(added, f32x4.sub(after, before));
      v128.store(sum + at, after);
      // Of infinities nothing is left to keep.
      v128.store(rest + at, v128.and(taken, f32x4.eq(taken, taken)));
    }
    v128.store(sum + bytes + lane, m);
  }
}

// The sums with what rounding took from them, into `to`, laid out as they are.
export function settlePanel(sum: usize, rest: usize, to: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes + 64; at += 16) {
    const isMaximum = at - bytes < 32;
    v128.store(to + at, isMaximum ? v128.load(sum + at) : f32x4.add(v128.load(sum + at), v128.load(rest + at)));
  }
}
