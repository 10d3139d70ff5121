// Token blocks of a cache: where a head's keys and values of some tokens are.
//
// A block holds at most 256 tokens, a multiple of 16. Keys lie as [tokens / 4][dim][4], values as
// [columns / 4][tokens][4], so that a block of f32 is read as packed heads are; integers as
// asm/blocks/integer.ts says, with the scales of keys and those of values behind them, [groups][tokens] each.
// Behind f16 stands whether there is an infinity or a NaN among them.

import { BlockLayout, Job } from "../records.gen";
import { F32 } from "../storage";

// Storages in addition to those of tensors.
export const INT8: i32 = 3;
export const INT4: i32 = 4;

// Numbers that share a scale where there are four bits.
export const GROUP: usize = 32;

// The layout of the blocks that a job reads.

// @ts-ignore: decorator
@inline
export function blocksOf(job: Job): BlockLayout {
  return changetype<BlockLayout>(changetype<usize>(job) + offsetof<Job>("blockTokens"));
}

// @ts-ignore: decorator
@inline
export function columnsOf(valueDim: usize): usize {
  return (valueDim + 3) & ~3;
}

// Bytes of four elements.

// @ts-ignore: decorator
@inline
export function bytesOfFour(storage: i32): usize {
  return storage == INT4 ? 2 : storage == INT8 ? 4 : storage == F32 ? 16 : 8;
}

// Elements that a key of `dim` takes: eight bits are multiplied eight at a time, and eight numbers of four
// bits share a lane.

// @ts-ignore: decorator
@inline
export function depthOf(storage: i32, dim: usize): usize {
  return storage == INT4 || storage == INT8 ? (dim + 7) & ~7 : dim;
}

// Scales of a token's key or value.

// @ts-ignore: decorator
@inline
export function scalesOf(storage: i32, dim: usize): usize {
  return storage == INT4 ? (dim + GROUP - 1) / GROUP : 1;
}

// Bytes from one group's scales to the next one's.

// @ts-ignore: decorator
@inline
export function scaleStep(layout: BlockLayout): usize {
  return layout.tokens << 2;
}

// Bytes of scales of keys, which those of values stand behind.

// @ts-ignore: decorator
@inline
export function keyScaleBytes(layout: BlockLayout): usize {
  return scalesOf(layout.storage, layout.dim) * scaleStep(layout);
}
