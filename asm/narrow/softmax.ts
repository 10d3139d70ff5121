// The softmax of ../softmax.ts where a panel has one row: its weights are made of four keys side by side. Every operation
// is one that a lane of a panel has, in its order: the bits are the same.

import { exp4 } from "../exp.gen";
import { fma } from "../fma";
import { firstRun, ONES } from "../products";
import { State, Tile } from "../record";
import { raiseMaxima, RUN, softmax } from "../softmax";

// Scores in the first lane of s[keys][8], keys a multiple of four, become weights 4^(s - shift); their sum is added to
// that at `sum` after that was multiplied by alpha.
function powersOfRow(s: usize, keys: usize, shift: v128, sum: usize, alpha: usize): void {
  let c = f32x4.splat(0);
  for (const end = s + (keys << 5); s < end; s += 128) {
    let x = v128.load32_zero(s);
    x = v128.load32_lane(s, x, 1, 32);
    x = v128.load32_lane(s, x, 2, 64);
    x = exp4(f32x4.sub(v128.load32_lane(s, x, 3, 96), shift));
    v128.store32_lane(s, x, 0);
    v128.store32_lane(s, x, 1, 32);
    v128.store32_lane(s, x, 2, 64);
    v128.store32_lane(s, x, 3, 96);
    x = f32x4.add(x, v128.shuffle<f32>(x, x, 1, 1, 3, 3));
    c = f32x4.add(c, x);
    c = f32x4.add(c, v128.shuffle<f32>(x, x, 2, 2, 2, 2));
  }
  v128.store32_lane(sum, fma(v128.load32_zero(sum), v128.load32_zero(alpha), c), 0);
}

// Scores of a panel of `rows` rows become weights.
export function softmaxOf(rows: usize, tile: Tile, state: State, unit: f32): void {
  if (rows > 1 || unit != 2) {
    softmax(tile, state, unit);
    return;
  }
  let s = tile.s, keys = tile.groups << 2, alpha = state.alpha;
  raiseMaxima(state, s, keys, 16, unit);
  const shift = v128.load_splat<f32>(state.shift);
  for (let run = firstRun(tile.skipped, RUN); keys > 0; run = RUN, alpha = ONES) {
    run = min(keys, run);
    powersOfRow(s, run, shift, state.l, alpha);
    keys -= run;
    s += run << 5;
  }
}
