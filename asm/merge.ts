// Merging: panels that saw disjoint sets of keys become the panel that saw them all. Exact: sums
// that belong to smaller maxima are scaled as the online softmax scales them
// (Flash-Decoding; Dao et al. 2023).

import { exp2 } from "./exp.gen";
import { fma } from "./fma";
import { finiteMaximum } from "./softmax";

// Takes the sums o[depth][8], m[8] and l[8] of another panel into those of this one; m and l stand
// behind one another at `state`.
export function mergePanel(o: usize, state: usize, other: usize, otherState: usize): void {
  for (let lane: usize = 0; lane < 32; lane += 16) {
    const m0 = v128.load(state + lane), m1 = v128.load(otherState + lane);
    const m = f32x4.pmax(m0, m1), safe = finiteMaximum(m);
    const factor0 = exp2(f32x4.sub(m0, safe)), factor1 = exp2(f32x4.sub(m1, safe));
    const l0 = v128.load(state + 32 + lane), l1 = v128.load(otherState + 32 + lane);
    v128.store(state + lane, m);
    v128.store(state + 32 + lane, fma(l1, factor1, f32x4.mul(l0, factor0)));
    for (let at = lane; o + at < state; at += 32) {
      const scaled = f32x4.mul(v128.load(o + at), factor0);
      v128.store(o + at, fma(v128.load(other + at), factor1, scaled));
    }
  }
}
