/**
 * The records of a job, of its gradients and of tokens on their way into a cache: how TypeScript tells the Wasm kernels what to do. Where each
 * field is, is generated from here for both: classes for AssemblyScript (`asm/records.gen.ts`), and words for
 * TypeScript (`src/wasm/record/*.gen.ts`), which is constants alone, so that nobody downloads their names.
 *
 * Pointers and strides are bytes in linear memory. A job is one batch, one key/value head and a run
 * of query positions; its query rows are all query heads of the group at each position.
 *
 * @module
 */

import type { FieldType } from "../src/wasm/record/job_record.ts";

/** Every field in order, each four bytes. */
export const jobFields = {
  // Queries: position p of group member g begins at q + p * qPosition + g * qHead. In the order of `groupRowsFields`.
  q: "u32",
  qElement: "i32",
  qStorage: "i32",
  qPosition: "i32",
  qHead: "i32",
  // Keys, packed in panels [ceil(keys / 4)][dim][4].
  k: "u32",
  // Values: four columns from 4c on of key j begin at v + j * vKey + c * vColumns.
  v: "u32",
  vKey: "i32",
  vColumns: "i32",
  // Token blocks of a cache instead of keys and values: the address of a list with those of this head's blocks, 0 for
  // none.
  tokenBlocks: "u32",
  // Their layout, and the sizes of keys and values, whether these are in blocks or not; in the order of `blockFields`.
  blockTokens: "i32",
  blockStorage: "i32",
  blockValues: "i32",
  blockScales: "i32",
  dim: "u32",
  valueDim: "u32",
  // Mean of the sequence's keys, which they are stored less; 0 for none.
  means: "u32",
  // Which of `decoding` reads the blocks as they are stored; 0 where they become f32 and panels are filled. By
  // all rows of the head, not of the job: how jobs are cut changes no bit.
  decode: "u32",
  // Output rows, addressed like queries.
  out: "u32",
  outElement: "i32",
  outStorage: "i32",
  outPosition: "i32",
  outHead: "i32",
  // Log-sum-exp per row; 0 where it is not asked for.
  lse: "u32",
  lsePosition: "i32",
  lseHead: "i32",
  // What rounding took from it, likewise.
  lseRest: "u32",
  // Sizes.
  group: "u32",
  positions: "u32",
  keys: "u32",
  // Tiles: query rows (a multiple of 8), keys (a multiple of 4).
  tileRows: "u32",
  tileKeys: "u32",
  // Which micro-kernels: how many of four elements they splat while loading, 0, 1 or 4.
  splats: "u32",
  // Where the panels are kept for merging; 0 where the job sees all keys and ends by itself.
  panels: "u32",
  // Scores are logarithms to base 2^unit, unit being a power of two. A query's factor is at most 1, so that
  // none becomes infinite by it; position p of the job sees the keys from p + bandFirst to p + bandLast.
  unit: "f32",
  scale: "f32",
  bandFirst: "i32",
  bandLast: "i32",
  // Cap as scores are, and a power of two that scores lack before they are capped; 0 for none.
  softcap: "f32",
  capUnit: "f32",
  // ALiBi: a slope for each group member, 0 for none; the first position's aligned key once more, as
  // distances are computed from it.
  slopes: "u32",
  aligned: "f32",
  // A sink for each group member; 0 for none.
  sinks: "u32",
  // Bias, addressed like queries, keys side by side; 0 for none.
  bias: "u32",
  biasPosition: "i32",
  biasHead: "i32",
  // Mask, likewise; its bytes, or its bits from the lowest of each byte on.
  mask: "u32",
  maskPosition: "i32",
  maskHead: "i32",
  maskIsBits: "i32",
  // Block mask: for each block of queries, from that of the first position on, the address of its
  // first interval and, behind the last, where they end; 0 for none. Positions of a block, and which of
  // them the first position is.
  keyIntervals: "u32",
  maskBlockRows: "u32",
  maskBlockPhase: "u32",
  // Where its gradient record is, if gradients are asked for; 0 for attention.
  gradient: "u32",
} as const satisfies Record<string, FieldType>;

/** Rows of whatever order: the address of the first, bytes between elements, and their storage. */
export const rowsFields = { at: "u32", element: "i32", storage: "i32" } as const;

/** Rows of one head: `row` bytes from one to the next. */
export const headRowsFields = { at: "u32", element: "i32", storage: "i32", row: "i32" } as const;

/** Rows of all heads of a group: bytes from one position to the next, and from one head. */
export const groupRowsFields = {
  at: "u32",
  element: "i32",
  storage: "i32",
  position: "i32",
  head: "i32",
} as const;

/** Words that the binary keeps for a record of any other call, and for a job that is measured: a multiple of four. */
export const callWords = Math.ceil(Object.keys(jobFields).length / 4) * 4;

/** A block of tokens of a cache: how many it holds, and where in it values and scales begin. */
export const blockFields = {
  tokens: "i32",
  storage: "i32",
  values: "i32",
  scales: "i32",
  dim: "u32",
  valueDim: "u32",
} as const;

/** Tokens of one head that are written into a block, behind the block's layout. */
export const tokenFields = {
  // The block, the slot of the first token, and how many they are.
  block: "u32",
  slot: "u32",
  count: "u32",
  // Contiguous rows.
  k: "u32",
  kStorage: "i32",
  v: "u32",
  vStorage: "i32",
  // Room for one key and one value in f32, and the mean that keys are stored less; 0 for none.
  row: "u32",
  mean: "u32",
} as const;

/**
 * What a job of gradients has beside: `lse` is read there, and `out` is where dQ goes. Words of four
 * bytes, addresses and strides in bytes.
 */
export const gradientFields = [
  // Gradients by the output, addressed like queries.
  "dOut",
  "dOutElement",
  "dOutStorage",
  "dOutPosition",
  "dOutHead",
  // What is subtracted from each row's gradients, addressed like `lse`.
  "delta",
  // What its gradients by the output are multiplied by, likewise.
  "factor",
  // Rows of keys and values, from the segment's first on; in the order of `headRowsFields`.
  "k",
  "kElement",
  "kStorage",
  "kRow",
  "v",
  "vElement",
  "vStorage",
  "vRow",
  // The chunk of keys that the job is against.
  "from",
  "to",
  // Panels [width up to a multiple of 4][8] that the job leaves of dQ, and adds to of the chunk's dK and dV.
  "dq",
  "dk",
  "dv",
  // Bytes from there to where earlier rows' parts of dK and dV are summed; 0 where there are none.
  "sums",
  // Rows that tiles end with, and the job's first row, counted from the segment's.
  "unit",
  "firstRow",
  // Gradients of a bias, addressed like it, keys `dBiasKey` bytes apart; 0 for none.
  "dBias",
  "dBiasPosition",
  "dBiasHead",
  "dBiasKey",
  // Bytes from there to what roundings took from its sums; 0 where these are short.
  "dBiasRest",
  // The record of the job that follows on the same thread; 0 for none.
  "next",
] as const;
