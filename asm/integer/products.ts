// Both products of a panel and the keys of a tile that it looks at, by whichever micro-kernels are the fastest here.

import { blocksOf } from "../blocks/layout";
import { outputOf, Tile } from "../record";
import { Job } from "../records.gen";
import {
  accumulate_i16_4x8, accumulate_i16_4x8_splat1, accumulate_i16_4x8_splat4, accumulate_i8_4x8, accumulate_i8_4x8_splat1,
  accumulate_i8_4x8_splat4, accumulate_i8_fused_4x8_splat1, accumulate_i8_fused_4x8_splat4,
} from "./accumulate.gen";
import {
  dot_i16_4x8, dot_i16_4x8_splat1, dot_i16_4x8_splat4, dot_i16_level_4x8, dot_i16_level_4x8_splat1, dot_i16_level_4x8_splat4,
  dot_i8_4x8, dot_i8_4x8_splat1, dot_i8_4x8_splat4, dot_i8_fused_4x8_splat1, dot_i8_fused_4x8_splat4,
} from "./dot.gen";
import {
  columnBytes, columnsOf, groupBytes, hasFours, hasKeyBytes, hasStoredKeys, hasValueBytes, keysAt, keyScalesAt, keySteps,
  keySumsAt, valueMeansAt, valueScalesAt, valuesAt, valueSteps,
} from "./head";
import { weightsOf, wordsOf, Work } from "./work";

function dotShorts(splats: usize, work: Work): void {
  if (splats == 4) dot_i16_4x8_splat4(work);
  else if (splats == 1) dot_i16_4x8_splat1(work);
  else dot_i16_4x8(work);
}

// Bytes as 16 bits, whose queries are counted from their lowest number too.
function dotLevels(splats: usize, work: Work): void {
  if (splats == 4) dot_i16_level_4x8_splat4(work);
  else if (splats == 1) dot_i16_level_4x8_splat1(work);
  else dot_i16_level_4x8(work);
}

function dotBytes(splats: usize, work: Work): void {
  if (splats == 4) dot_i8_4x8_splat4(work);
  else if (splats == 1) dot_i8_4x8_splat1(work);
  else dot_i8_4x8(work);
}

function dotFused(splats: usize, work: Work): void {
  if (splats == 4) dot_i8_fused_4x8_splat4(work);
  else dot_i8_fused_4x8_splat1(work);
}

// Where the keys are that the panel looks at: among those that were made, or as a cache stores them.
function findKeys(job: Job, tile: Tile, work: Work): void {
  const begin = tile.begin, group = groupBytes(job);
  work.a = keysAt(job) + (begin >> 2) * group;
  work.scales = keyScalesAt(job) + (begin << 2);
  work.sums = keySumsAt(job) + (begin << 2);
  if (!hasStoredKeys(job)) return;
  const block = tile.block, slot = begin - tile.blockFirst;
  if (hasFours(true)) work.a = block + (slot >> 2) * group;
  work.scales = block + blocksOf(job).scales + (slot << 2);
}

// s[keys][8] = k q^T in steps of the queries' scales, and the maxima.
export function dot(job: Job, tile: Tile, panel: usize, work: Work): void {
  findKeys(job, tile, work);
  work.b = wordsOf(job, panel);
  work.to = tile.s;
  work.steps = keySteps(job);
  work.groups = tile.groups;
  if (!hasKeyBytes(job)) dotShorts(job.splats, work);
  else if (!ASC_FEATURE_RELAXED_SIMD) dotLevels(job.splats, work);
  else if (job.fused != 0) dotFused(job.splats, work);
  else dotBytes(job.splats, work);
}

function accumulateShorts(splats: usize, work: Work): void {
  if (splats == 4) accumulate_i16_4x8_splat4(work);
  else if (splats == 1) accumulate_i16_4x8_splat1(work);
  else accumulate_i16_4x8(work);
}

function accumulateBytes(splats: usize, work: Work): void {
  if (splats == 4) accumulate_i8_4x8_splat4(work);
  else if (splats == 1) accumulate_i8_4x8_splat1(work);
  else accumulate_i8_4x8(work);
}

function accumulateFused(splats: usize, work: Work): void {
  if (splats == 4) accumulate_i8_fused_4x8_splat4(work);
  else accumulate_i8_fused_4x8_splat1(work);
}

// o = diag(alpha) o + P V.
export function accumulate(job: Job, tile: Tile, panel: usize, work: Work): void {
  const index = work.index, steps = valueSteps(job);
  work.a = valuesAt(job, index) + (tile.begin - index * job.tileKeys) * (steps << 2);
  work.b = weightsOf(work);
  work.to = outputOf(job, panel);
  work.steps = tile.groups * steps;
  work.groups = columnsOf(job) >> 2;
  work.stride = columnBytes(job);
  work.scales = valueScalesAt(job, index);
  work.sums = valueMeansAt(job, index);
  if (!ASC_FEATURE_RELAXED_SIMD || !hasValueBytes(job)) accumulateShorts(job.splats, work);
  else if (job.fused != 0) accumulateFused(job.splats, work);
  else accumulateBytes(job.splats, work);
}
