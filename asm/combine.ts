// Combining: panels that saw disjoint sets of keys become the panel that saw them all. Exact: sums
// that belong to smaller maxima are scaled as the online softmax scales them
// (Flash-Decoding; Dao et al. 2023).

import { fma } from "./fma";
import { outputBytes, outputOf, PANEL, panelBytes, sumBytes, Tile } from "./record";
import { Job } from "./records.gen";
import { sumsAt } from "./scratch";
import { finiteMaximum, powerOf, raised } from "./softmax";

// Takes the sums o[depth][8], m[8] and l[8] of another panel into those of `sum`; m and l stand one behind the
// other, `bytes` from where o begins. `rest` is laid out as they are and keeps what rounding takes from the sums
// (Kahan, "Further remarks on reducing truncation errors", 1965): hundreds of parts are as exact as one.
function combineSums(sum: usize, rest: usize, other: usize, bytes: usize, unit: f32): void {
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
function addRest(sum: usize, rest: usize, to: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes + 64; at += 16) {
    const isMaximum = at - bytes < 32;
    v128.store(to + at, isMaximum ? v128.load(sum + at) : f32x4.add(v128.load(sum + at), v128.load(rest + at)));
  }
}

// o, m and l of a panel that has seen nothing.
function clearSums(o: usize, bytes: usize): void {
  memory.fill(o, 0, bytes + 64);
  v128.store(o + bytes, f32x4.splat(-Infinity));
  v128.store(o + bytes, f32x4.splat(-Infinity), 16);
}

// Takes the panels of a part of the keys into the sums, and begins them anew.
export function endPart(job: Job, tile: Tile): void {
  const bytes = outputBytes(job), size = sumBytes(job), stride = panelBytes(job);
  let sum = tile.s + sumsAt(job), panel = tile.panels;
  for (let row = tile.firstRow; row < tile.endRow; row += PANEL, panel += stride, sum += 2 * size) {
    const o = outputOf(job, panel);
    if (!tile.hasSums) {
      memory.fill(sum, 0, 2 * size);
      clearSums(sum, bytes);
    }
    combineSums(sum, sum + size, o, bytes, job.unit);
    clearSums(o, bytes);
  }
  tile.hasSums = true;
}

// The sums of all parts become the panels'.
export function endParts(job: Job, tile: Tile): void {
  endPart(job, tile);
  const bytes = outputBytes(job), size = sumBytes(job), stride = panelBytes(job);
  let sum = tile.s + sumsAt(job), panel = tile.panels;
  for (let row = tile.firstRow; row < tile.endRow; row += PANEL, panel += stride, sum += 2 * size) {
    addRest(sum, sum + size, outputOf(job, panel), bytes);
  }
}

// The splits of a panel, each `one` bytes behind the one before, in ascending order, whoever computed them, as parts of
// a job that was not split. Behind the last there is room for one more.
export function combineSplits(job: Job, panel: usize, splits: usize, one: usize): void {
  const o = outputOf(job, panel), bytes = outputBytes(job), rest = o + splits * one;
  memory.fill(rest, 0, sumBytes(job));
  for (let split = one; split < splits * one; split += one) combineSums(o, rest, o + split, bytes, job.unit);
  addRest(o, rest, o, bytes);
}
