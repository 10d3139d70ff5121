// Keys that a cache stores as bytes, [keys / 4][dim / 4][4 keys][4] with a scale each: these are their integers, as they lie
// in its blocks. Nothing is made of them but the sums of their bytes, and, without relaxed SIMD, words of two.

import { blocksOf, columnsOf, keyScaleBytes } from "../blocks/layout";
import { widenTileValues } from "../blocks/widen";
import { Tile } from "../record";
import { Job } from "../records.gen";
import { groupBytes, hasFours, keyBytes, keysAt, keySumsAt, meansAt } from "./head";
import { areWithin, firstLanes, GREATEST } from "./quantize";

// The mean that the keys are stored less: where they are smooth.
export function takeStoredMean(job: Job): void {
  const bytes = job.dim << 2;
  if (job.means != 0) memory.copy(meansAt(job), job.means, bytes);
  else memory.fill(meansAt(job), 0, bytes);
}

// Whether it is small enough for products in f32.
export function isMeanWithin(job: Job): bool {
  const mean = meansAt(job), most = f32x4.splat(GREATEST);
  for (let d: usize = 0; d < job.dim; d++) {
    if (!i32x4.all_true(areWithin(v128.load32_splat(mean + (d << 2)), most))) return false;
  }
  return true;
}

// Whether so many scales are those of numbers within bounds.
function areScalesWithin(scales: usize, count: usize): bool {
  const most = f32x4.splat(GREATEST / 127);
  let all = i32x4.splat(-1);
  for (; count > 4; count -= 4, scales += 16) all = v128.and(all, areWithin(v128.load(scales), most));
  return i32x4.all_true(v128.and(all, areWithin(v128.and(v128.load(scales), firstLanes(count)), most)));
}

// Whether a tile, of so many keys, can be integers.
export function areStoredWithin(job: Job, tile: Tile, keys: usize): bool {
  const scales = tile.scales;
  return areScalesWithin(scales, keys) && areScalesWithin(scales + keyScaleBytes(blocksOf(job)), keys);
}

// Sums of the bytes of four keys.
function sumsOf(k: usize, bytes: usize): v128 {
  let sums = i32x4.splat(0);
  for (const end = k + (bytes << 2); k < end; k += 16) {
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v128.load(k))));
  }
  return f32x4.convert_i32x4_s(sums);
}

// Words of four bytes become two of two numbers.
function widenWords(k: usize, bytes: usize, to: usize): void {
  for (const end = k + (bytes << 2); k < end; k += 16, to += 32) {
    const x = v128.load(k), even = i16x8.shr_s(i16x8.shl(x, 8), 8), odd = i16x8.shr_s(x, 8);
    v128.store(to, v128.or(v128.and(even, i32x4.splat(0xffff)), i32x4.shl(odd, 16)));
    v128.store(to, v128.or(i32x4.shr_u(even, 16), v128.and(odd, i32x4.splat(0xffff0000))), 16);
  }
}

// What products need of a tile's keys beside their bytes; and its values in f32.
export function prepareStored(job: Job, tile: Tile, groups: usize): void {
  const first = tile.first, bytes = keyBytes(job), words = groupBytes(job);
  let k = tile.k, to = keysAt(job) + (first >> 2) * words, sums = keySumsAt(job) + (first << 2);
  for (const end = k + groups * (bytes << 2); k < end; k += bytes << 2, to += words, sums += 16) {
    v128.store(sums, sumsOf(k, bytes));
    if (!hasFours(true)) widenWords(k, bytes, to);
  }
  widenTileValues(job, tile, columnsOf(job.valueDim));
}
