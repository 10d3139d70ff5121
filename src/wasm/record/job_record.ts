/**
 * The job record: how TypeScript tells the Wasm kernel what to do. One table of fields; the
 * offsets on the AssemblyScript side (`asm/records.gen.ts`) are generated from it.
 *
 * Pointers and strides are bytes in linear memory. A job is one batch, one key/value head and a run
 * of query positions; its query rows are all query heads of the group at each position.
 *
 * @module
 */

import type { DType } from "../../tensor/dtype.ts";

/** How a field's four bytes are read. */
export type FieldType = "u32" | "i32" | "f32";

/** Numbers that stand for the element types in records; `asm/storage.ts` has the same. */
export const storageOf: Record<DType, number> = { f32: 0, f16: 1, bf16: 2 };

/** The same for those that caches have beside them. */
export const cacheStorageOf = { ...storageOf, int8: 3, int4: 4 } as const;

/** How few queries of a head are computed against blocks of tokens as they are stored. */
export const decoding = {
  /** A head's only query: its results are side by side, and not a lane of a panel. */
  one: 1,
  /** Four at once: floats. */
  four: 2,
  /** One after the other, each by itself: integers. */
  each: 3,
} as const;

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

/** A job as named numbers. */
export type Job = { readonly [Field in keyof typeof jobFields]: number };

/** Words of four bytes of a record. */
export const jobWords = Object.keys(jobFields).length;

/** Bytes of a record. */
export const jobBytes = jobWords * 4;

/**
 * Keys of a part: sums over more are formed part by part. The same whatever the number of threads, and however
 * rows are cut into calls, so that the bits are the same too.
 */
export const keysPerPart = 2048;

/** Query rows of a part of dK and dV: the same. */
export const rowsPerPart = 2048;

const names = Object.keys(jobFields) as (keyof Job)[];

/** Place of each field, in words of four bytes. */
const wordOf = Object.fromEntries(names.map((name, word) => [name, word])) as Job;

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

/** Bytes of what a thread knows of a tile: `LANES` of `asm/record.ts`. */
export const tileHeader = 240;

/** Words that the binary keeps for the record of a call. */
export const callWords = 16;

function writerOf<Name extends string>(table: { readonly [Field in Name]: FieldType }) {
  const fields = Object.keys(table) as Name[];
  return (words: Int32Array, at: number, values: { readonly [Field in Name]: number }): void => {
    for (let word = 0; word < fields.length; word++) words[at + word] = values[fields[word]];
  };
}

/** Writes a block's layout, and the tokens that are written into it, from word `at` on. */
export const writeBlockLayout = writerOf(blockFields);
export const writeTokenRecord = writerOf(tokenFields);

/** Words of a block's layout. */
export const blockWords = Object.keys(blockFields).length;

/** A key interval: a run of keys that a block of queries visits, as words of four bytes. */
export const intervalFields = {
  /** First key, and the one behind the last. */
  from: 0,
  to: 1,
  /** Address of the bits that say who sees what, row by row; 0 where all see all. */
  bits: 2,
  /** Bytes of a row of bits. */
  rowBytes: 3,
  /** Key that bit 0 is for. */
  origin: 4,
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

/** A job's gradients as named numbers. */
export type GradientJob = { readonly [Field in (typeof gradientFields)[number]]: number };

/** Words of a gradient record. */
export const gradientWords = gradientFields.length;

/** Writes the gradient record that begins at word `at`. */
export function writeGradientJob(words: Int32Array, at: number, fields: GradientJob): void {
  for (let word = 0; word < gradientFields.length; word++) {
    words[at + word] = fields[gradientFields[word]];
  }
}

/** Words of a key interval. */
export const intervalWords = 5;

/** Fields that are not whole numbers. */
export type FloatFields = Partial<Pick<Job, "unit" | "scale" | "softcap" | "capUnit" | "aligned">>;

/** Some of the fields that are whole numbers. */
export type IntegerFields = Partial<Omit<Job, keyof FloatFields>>;

/** A record's words, before they are put into linear memory. */
export type Words = Int32Array<ArrayBuffer>;

/** What all jobs of a call have in common, as a record's words. Fields that are not given are 0. */
export function encodeJob(fields: IntegerFields, floats: FloatFields): Words {
  const words = new Int32Array(jobWords);
  patchJob(words, 0, fields);
  patchFloats(words, 0, floats);
  return words;
}

const float = new Float32Array(1), floatBits = new Int32Array(float.buffer);

/** Whether some script has given all objects a field. Asked once for a record: it is rarely so. */
function inheritsFields(): boolean {
  for (const _ in Object.prototype) return true;
  return false;
}

/** Writes some fields of the record that begins at word `at` that are not whole numbers. */
export function patchFloats(words: Int32Array, at: number, fields: FloatFields): void {
  const inherits = inheritsFields();
  for (const name in fields) {
    if (inherits && !Object.hasOwn(fields, name)) continue;
    float[0] = fields[name as keyof FloatFields]!;
    words[at + wordOf[name as keyof Job]] = floatBits[0];
  }
}

/**
 * Writes some integer fields of the record that begins at word `at`. Small calls spend more time on
 * records than on kernels when each is made as a whole object.
 */
export function patchJob(words: Int32Array, at: number, fields: IntegerFields): void {
  const inherits = inheritsFields();
  for (const name in fields) {
    if (inherits && !Object.hasOwn(fields, name)) continue;
    words[at + wordOf[name as keyof Job]] = fields[name as keyof IntegerFields]!;
  }
}
