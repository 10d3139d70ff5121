// Online softmax of one panel: eight queries side by side, one lane each, keys downwards, so that
// maxima and sums need no step across lanes. Milakov and Gimelshein, "Online normalizer calculation
// for softmax" (arXiv 1805.02867), algorithm 3, in base 2^unit.

import { exp4, powers_f32_4x4 } from "./exp.gen";
import { firstRun, ONES } from "./products";
import { State, Tile } from "./record";
import { powers_f32_4x8 } from "./wide/exp.gen";
import { SCORED, WIDE } from "./build";

// Keys whose weights are summed before they are added to what there is.
export const RUN: usize = 128;

// The running maxima of queries once the rows s[keys][8], of which `width` bytes count, are taken into m; keys is a
// multiple of four. In two chains, since each step waits for the one before it.
function takeMaxima(s: usize, keys: usize, m: usize, width: usize): void {
  if (WIDE && width == 32) {
    takePairs(s, keys, m);
    return;
  }
  for (let half: usize = 0; half < width; half += 16, s += 16) {
    let a = v128.load(m + half), b = a;
    // pmax(a, b) keeps a where b is NaN: a NaN score reaches the sum, not the maximum.
    for (const end = s + (keys << 5); s < end; s += 128) {
      a = f32x4.pmax(a, v128.load(s));
      b = f32x4.pmax(b, v128.load(s, 32));
      a = f32x4.pmax(a, v128.load(s, 64));
      b = f32x4.pmax(b, v128.load(s, 96));
    }
    s -= keys << 5;
    v128.store(m + half, f32x4.pmax(a, b));
  }
}

// The same of eight queries, pair by pair.
function takePairs(s: usize, keys: usize, m: usize): void {
  let a0 = v128.load(m), a1 = v128.load(m, 16), b0 = a0, b1 = a1;
  for (const end = s + (keys << 5); s < end; s += 128) {
    a0 = f32x4.pmax(a0, v128.load(s));
    a1 = f32x4.pmax(a1, v128.load(s, 16));
    b0 = f32x4.pmax(b0, v128.load(s, 32));
    b1 = f32x4.pmax(b1, v128.load(s, 48));
    a0 = f32x4.pmax(a0, v128.load(s, 64));
    a1 = f32x4.pmax(a1, v128.load(s, 80));
    b0 = f32x4.pmax(b0, v128.load(s, 96));
    b1 = f32x4.pmax(b1, v128.load(s, 112));
  }
  v128.store(m, f32x4.pmax(a0, b0));
  v128.store(m, f32x4.pmax(a1, b1), 16);
}

// What is subtracted once `next` is the maximum: it stays until a weight would be above 2. What was summed
// before is then worth half at most, and so is what rounding has done to it; a maximum that crept would have
// it rounded with every step.

// @ts-ignore: decorator
@inline
export function raised(m: v128, next: v128, unit: f32): v128 {
  return v128.bitselect(next, m, f32x4.gt(next, f32x4.add(m, f32x4.splat(1 / unit))));
}

// Two to the power of units.

// @ts-ignore: decorator
@inline
export function powerOf(x: v128, unit: f32): v128 {
  return exp4(f32x4.mul(x, f32x4.splat(unit / 2)));
}

const ZEROS: usize = memory.data<f32>([0, 0, 0, 0, 0, 0, 0, 0], 16);

// Brings the rows s[keys][8] minus a shift per query to base 4, as weights are computed from, where their unit is
// another than 2, and returns what is left to subtract of them.
export function toBaseFour(s: usize, keys: usize, shift: usize, unit: f32): usize {
  if (unit == 2) return shift;
  const units = f32x4.splat(unit / 2), shift0 = v128.load(shift), shift1 = v128.load(shift, 16);
  for (const end = s + (keys << 5); s < end; s += 32) {
    v128.store(s, f32x4.mul(f32x4.sub(v128.load(s), shift0), units));
    v128.store(s, f32x4.mul(f32x4.sub(v128.load(s, 16), shift1), units), 16);
  }
  return ZEROS;
}

// A maximum that may be subtracted: a query that has seen no key yet has m = -inf, and
// -inf - -inf would be NaN.

// @ts-ignore: decorator
@inline
export function finiteMaximum(m: v128): v128 {
  return v128.andnot(m, f32x4.eq(m, f32x4.splat(-Infinity)));
}

// The rows s[keys][8] come into the running maxima m; alpha is what was summed before then has to be multiplied by.

// @ts-ignore: decorator
@inline
export function raiseMaxima(state: State, s: usize, keys: usize, width: usize, unit: f32): void {
  const m = state.m, alpha = state.alpha;
  v128.store(alpha, v128.load(m));
  v128.store(alpha, v128.load(m, 16), 16);
  takeMaxima(s, keys, m, width);
  for (let half: usize = 0; half < width; half += 16) {
    const old = v128.load(alpha + half), next = raised(old, v128.load(m + half), unit), safe = finiteMaximum(next);
    v128.store(m + half, next);
    v128.store(state.shift + half, safe);
    v128.store(alpha + half, powerOf(f32x4.sub(old, safe), unit));
  }
}

// Scores of a panel and the keys that it looks at: takes them into the running maximum m and sum l, turns them
// into weights 2^(unit (s - m)) in place, and leaves in alpha the factor for what was summed before.
export function softmax(tile: Tile, state: State, unit: f32): void {
  const width = tile.width, pass = tile.powers;
  let s = tile.s, keys = tile.groups << 2;
  raiseMaxima(state, s, keys, width, unit);
  const shift = SCORED ? state.shift : toBaseFour(s, keys, state.shift, unit);
  if (SCORED) pass.units = unit / 2;
  pass.alpha = state.alpha;
  pass.width = width;
  for (let run = firstRun(tile.skipped, RUN); keys > 0; run = RUN, pass.alpha = ONES) {
    run = min(keys, run);
    if (WIDE && width == 32) powers_f32_4x8(s, run, shift, state.l, pass.alpha);
    else powers_f32_4x4(s, run, shift, state.l, pass);
    keys -= run;
    s += run << 5;
  }
}

// The same for one query whose scores lie side by side, row[keys]: the lanes of eight are eight of its
// keys, and its sums come together at the end. `scratch` has room for 16 numbers. Up to a multiple of 32
// the row is filled with weights of 0. Returns the factor for what was summed before.
export function softmaxOne(tile: Tile, row: usize, state: State, scratch: usize, unit: f32): f32 {
  const keys = tile.count, pass = tile.powers;
  const groups = (keys + 31) >> 5 << 2, m = state.m, l = state.l, old = f32.load(m);
  for (let at = keys; at < groups << 3; at++) f32.store(row + (at << 2), -Infinity);
  v128.store(scratch, f32x4.splat(old));
  v128.store(scratch, f32x4.splat(old), 16);
  takeMaxima(row, groups, scratch, 32);
  let largest = old;
  for (let lane: usize = 0; lane < 32; lane += 4) largest = max(largest, f32.load(scratch + lane));
  const next = raised(f32x4.splat(old), f32x4.splat(largest), unit), shift = finiteMaximum(next);
  f32.store(m, f32x4.extract_lane(next, 0));
  const alpha = f32x4.extract_lane(powerOf(f32x4.sub(f32x4.splat(old), shift), unit), 0);
  v128.store(scratch, shift);
  v128.store(scratch, shift, 16);
  v128.store(scratch, f32x4.splat(0), 32);
  v128.store(scratch, f32x4.splat(0), 48);
  // Where nothing was summed before, any number will do for what that is multiplied by.
  pass.alpha = scratch;
  pass.width = 32;
  powers_f32_4x4(row, groups, toBaseFour(row, groups, scratch, unit), scratch + 32, pass);
  let sum = f32.load(l) * alpha;
  for (let lane: usize = 32; lane < 64; lane += 4) sum += f32.load(scratch + lane);
  f32.store(l, sum);
  return alpha;
}
