/**
 * Records: how TypeScript tells the Wasm kernels what to do, and what both sides count alike.
 *
 * @module
 */

import type { DType } from "../../tensor/dtype.ts";

/** Words of a record, before they are put into linear memory. */
export type Words = Int32Array<ArrayBuffer>;

/** How a field's four bytes are read. */
export type FieldType = "u32" | "i32" | "f32";

/** Numbers that stand for the element types in records; `asm/storage.ts` has the same. */
export const storageOf: Record<DType, number> = { f32: 0, f16: 1, bf16: 2 };

/** The same for those that caches have in addition. */
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

/**
 * Keys of a part: sums over more are formed part by part. The same whatever the number of threads, and however
 * rows are cut into calls, so that the bits are the same too.
 */
export const keysPerPart = 2048;

/** Query rows of a part of dK and dV: the same. */
export const rowsPerPart = 2048;

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

/** Words of a key interval. */
export const intervalWords = 5;

const float = new Float32Array(1), floatBits = new Int32Array(float.buffer);

/** A record in memory; which words its fields are say the generated modules here. */
export class JobRecord {
  readonly #words: Int32Array;
  readonly #at: number;

  /** The one that begins at word `at`. */
  constructor(words: Int32Array, at = 0) {
    this.#words = words;
    this.#at = at;
  }

  /** Writes a field that is a whole number. */
  set(field: number, value: number): void {
    this.#words[this.#at + field] = value;
  }

  /** Writes one that is not. */
  setFloat(field: number, value: number): void {
    float[0] = value;
    this.#words[this.#at + field] = floatBits[0];
  }
}
