// The integers of one head: what is made of its keys and values once, for all its jobs. One behind the other:
//
//   means                 of the keys, f32 [dim]
//   flags                 of each tile of keys, whether it has integers
//   key scales, sums      f32 [keys]: what a step is, and of bytes their sum
//   value scales, means   f32 [tiles][columns]: the same of columns, and their mean in the tile
//   keys                  words [keys / 4][steps][4 keys]
//   values                words [tiles][columns / 4][tileKeys / n][4 columns], n keys in a word, two or four
//
// Whatever is read in fours is so many that there are whole fours. A tile is 128 keys, or a token block that has fewer;
// the values of a tile share scales. Keys that a cache stores as bytes are in its blocks (stored.ts).

import { depthOf, INT8 } from "../blocks/layout";
import { outputBytes } from "../record";
import { Job } from "../records.gen";

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

// Of longer keys the bytes must be smaller than those that caches have, so that sums stay within 31 bits.
const LONGEST: usize = 125952;

// Whether the bytes that a cache stores are the integers of its keys.

// @ts-ignore: decorator
@inline
export function hasStoredKeys(job: Job): bool {
  return hasKeyBytes(job) && job.tokenBlocks != 0 && job.blockStorage == INT8 && job.dim <= LONGEST;
}

// Bytes of a key, or of a query, with those that fill it up.
export function keyBytes(job: Job): usize {
  return hasStoredKeys(job) ? depthOf(INT8, job.dim) : fours(job.dim);
}

// Words of a key, or of a query.
export function keySteps(job: Job): usize {
  if (!hasKeyBytes(job)) return (job.dim + 1) >> 1;
  return keyBytes(job) >> (hasFours(true) ? 2 : 1);
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
  return valueSteps(job) * (job.tileKeys << 2);
}

// @ts-ignore: decorator
@inline
export function columnsOf(job: Job): usize {
  return outputBytes(job) >> 5;
}

export function tilesOf(job: Job): usize {
  return (job.keys + job.tileKeys - 1) / job.tileKeys;
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
  return keyScalesAt(job) + (hasStoredKeys(job) ? 0 : fours(job.keys) << 2);
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
  const keys: usize = hasStoredKeys(job) && hasFours(true) ? 0 : (fours(job.keys) >> 2) * groupBytes(job);
  return keysAt(job) + keys + tile * (columnsOf(job) >> 2) * columnBytes(job);
}

// Bytes of all of it.
export function integerBytes(job: Job): usize {
  return valuesAt(job, tilesOf(job)) - job.integers;
}
