// Online softmax of integers: weights are rounded against the maximum of their row in the tile, so that each tile has all
// bits, and `beta` brings its sums to the running maximum. Against the running one int16 has thirteen times the error.
// The sum of the weights is taken before they are rounded.

import { State, Tile } from "../record";
import { Job } from "../records.gen";
import { finiteMaximum, powerOf } from "../softmax";
import { fma } from "../fma";
import { hasValueBytes } from "./head";
import { LARGEST_I16, LARGEST_I8, weights_i16_2x8, weights_i8_2x8, weights_i8_4x8 } from "./weights.gen";
import { Levels } from "./work";

// Scores and their maxima, still in steps of their queries, become what they are.
export function scaleScores(s: usize, keys: usize, levels: Levels): void {
  const scale0 = v128.load(levels.scale), scale1 = v128.load(levels.scale, 16);
  const shift0 = v128.load(levels.shift), shift1 = v128.load(levels.shift, 16);
  for (const end = s + (keys << 5); s < end; s += 32) {
    v128.store(s, fma(v128.load(s), scale0, shift0));
    v128.store(s, fma(v128.load(s, 16), scale1, shift1), 16);
  }
}

// The maxima of scores anew, once some are masked.
export function takeTops(s: usize, keys: usize, levels: Levels): void {
  let a = f32x4.splat(-Infinity), b = a;
  for (const end = s + (keys << 5); s < end; s += 32) {
    a = f32x4.pmax(a, v128.load(s));
    b = f32x4.pmax(b, v128.load(s, 16));
  }
  v128.store(levels.top, a);
  v128.store(levels.top, b, 16);
}

// Adds rows that have scores which are NaN or infinite; what is masked has minus infinity.
export function findExact(s: usize, keys: usize, levels: Levels): void {
  const infinity = f32x4.splat(Infinity);
  let a = i32x4.splat(-1), b = a;
  for (const end = s + (keys << 5); s < end; s += 32) {
    a = v128.and(a, f32x4.lt(v128.load(s), infinity));
    b = v128.and(b, f32x4.lt(v128.load(s, 16), infinity));
  }
  v128.store(levels.exact, v128.or(v128.load(levels.exact), v128.not(a)));
  v128.store(levels.exact, v128.or(v128.load(levels.exact, 16), v128.not(b)), 16);
}

// The running maximum, the factors of what was summed before and of the tile's sums, and that of scores, which lack their
// scale unless they were scaled.
function raise(job: Job, state: State, levels: Levels, isScaled: bool, largest: f32): void {
  const unit = job.unit, one = f32x4.splat(1);
  for (let half: usize = 0; half < 32; half += 16) {
    const scale = isScaled ? one : v128.load(levels.scale + half), old = v128.load(state.m + half);
    const found = v128.load(levels.top + half);
    const top = isScaled ? found : fma(found, scale, v128.load(levels.shift + half));
    const next = f32x4.pmax(old, top), safe = finiteMaximum(next);
    const power = powerOf(f32x4.sub(top, safe), unit);
    v128.store(state.m + half, next);
    v128.store(levels.top + half, finiteMaximum(found));
    v128.store(levels.by + half, f32x4.mul(scale, f32x4.splat(unit)));
    v128.store(levels.alpha + half, powerOf(f32x4.sub(old, safe), unit));
    v128.store(levels.beta + half, f32x4.mul(power, f32x4.splat(1 / largest)));
  }
}

// Scores of a panel become integers at `weights`; takes them into the running maximum m and sum l.
export function softmax(job: Job, tile: Tile, state: State, levels: Levels, weights: usize, isScaled: bool): void {
  const keys = tile.groups << 2, isBytes = hasValueBytes(job);
  raise(job, state, levels, isScaled, isBytes ? LARGEST_I8 : LARGEST_I16);
  if (ASC_FEATURE_RELAXED_SIMD && isBytes) weights_i8_4x8(tile.s, weights, keys, levels);
  else if (isBytes) weights_i8_2x8(tile.s, weights, keys, levels);
  else weights_i16_2x8(tile.s, weights, keys, levels);
  for (let half: usize = 0; half < 32; half += 16) {
    const weight = f32x4.mul(v128.load(levels.weight + half), v128.load(levels.beta + half));
    const l = f32x4.mul(v128.load(state.l + half), v128.load(levels.alpha + half));
    v128.store(levels.weight + half, weight);
    v128.store(state.l + half, f32x4.add(l, weight));
  }
}
