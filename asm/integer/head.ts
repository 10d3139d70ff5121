// The integers of one head: what is made of its keys and values once, for all its jobs. One behind the other:
//
//   means                 of the keys, f32 [dim]
//   flags                 of each tile of TILE keys, whether it has integers
//   key scales, sums      f32 [keys]: what a step is, and of bytes their sum
//   value scales, means   f32 [tiles][columns]: the same of columns, and their mean in the tile
//   keys                  words [keys / 4][steps][4 keys]
//   values                words [tiles][columns / 4][TILE / n][4 columns], n keys in a word, two or four
//
// Whatever is read in fours is so many that there are whole fours.

import { outputBytes } from "../record";
import { Job } from "../records.gen";

// Keys whose values share a scale.
export const TILE: usize = 128;

const KEY_BYTES: u32 = 1;
const VALUE_BYTES: u32 = 2;

// Whether keys are bytes; else they have 16 bits.

// @ts-ignore: decorator
@inline
export function hasKeyBytes(job: Job): bool {
  return (job.precision & KEY_BYTES) != 0;
}

// @ts-ignore: decorator
@inline
export function hasValueBytes(job: Job): bool {
  return (job.precision & VALUE_BYTES) != 0;
}

// @ts-ignore: decorator
@inline
function fours(count: usize): usize {
  return (count + 3) & ~3;
}

// Whether words hold four bytes.

// @ts-ignore: decorator
@inline
export function hasFours(isBytes: bool): bool {
  return ASC_FEATURE_RELAXED_SIMD && isBytes;
}

// Words of a key, or of a query.
export function keySteps(job: Job): usize {
  if (!hasKeyBytes(job)) return (job.dim + 1) >> 1;
  const words = (job.dim + 3) >> 2;
  return hasFours(true) ? words : 2 * words;
}

// Bytes of eight queries.

// @ts-ignore: decorator
@inline
export function queryBytes(job: Job): usize {
  return keySteps(job) << 5;
}

// Bytes of four keys.

// @ts-ignore: decorator
@inline
export function groupBytes(job: Job): usize {
  return keySteps(job) << 4;
}

// Words of a column of four keys.

// @ts-ignore: decorator
@inline
export function valueSteps(job: Job): usize {
  return hasFours(hasValueBytes(job)) ? 1 : 2;
}

// Bytes of four columns of a tile.

// @ts-ignore: decorator
@inline
export function columnBytes(job: Job): usize {
  return valueSteps(job) * (TILE << 2);
}

// @ts-ignore: decorator
@inline
export function columnsOf(job: Job): usize {
  return outputBytes(job) >> 5;
}

export function tilesOf(job: Job): usize {
  return (job.keys + TILE - 1) / TILE;
}

// @ts-ignore: decorator
@inline
export function meansAt(job: Job): usize {
  return job.integers;
}

export function flagsAt(job: Job): usize {
  return meansAt(job) + (fours(job.dim) << 2);
}

export function keyScalesAt(job: Job): usize {
  return flagsAt(job) + (fours(tilesOf(job)) << 2);
}

export function keySumsAt(job: Job): usize {
  return keyScalesAt(job) + (fours(job.keys) << 2);
}

export function valueScalesAt(job: Job, tile: usize): usize {
  return keySumsAt(job) + (fours(job.keys) << 2) + tile * (columnsOf(job) << 2);
}

export function valueMeansAt(job: Job, tile: usize): usize {
  return valueScalesAt(job, tilesOf(job) + tile);
}

export function keysAt(job: Job): usize {
  return valueMeansAt(job, tilesOf(job));
}

export function valuesAt(job: Job, tile: usize): usize {
  return keysAt(job) + (fours(job.keys) >> 2) * groupBytes(job) + tile * (columnsOf(job) >> 2) * columnBytes(job);
}

// Bytes of all of it.
export function integerBytes(job: Job): usize {
  return valuesAt(job, tilesOf(job)) - job.integers;
}
