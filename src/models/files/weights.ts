/**
 * A file of named tensors, whatever its format: what models read.
 *
 * @module
 */

import { type ByteSource, cannot, exactly } from "./bytes.ts";

/**
 * How numbers of a file that can be read are stored: floats, bytes, or GGUF's blocks of 32, a scale in f16
 * before bytes or before pairs of four bits.
 */
export type StoredDType = "f32" | "f16" | "bf16" | "i8" | "q8_0" | "q4_0";

/** A tensor's numbers as they lie in its file: over the file's own bytes where these allow it. */
export interface StoredTensor {
  /** f32; bits of 16-bit floats; bytes; or blocks. */
  readonly data: Float32Array | Uint16Array | Int8Array | Uint8Array;
  /** Rows first: `[outputs, inputs]`, in blocks too. */
  readonly shape: readonly number[];
  readonly dtype: StoredDType;
}

/** What a file says of a tensor. */
export interface TensorEntry {
  readonly name: string;
  /** The last axis is the one whose elements are neighbours. */
  readonly shape: readonly number[];
  /** As the file calls it where it cannot be read: `"Q4_K"`, `"F64"`. */
  readonly dtype: StoredDType | Uppercase<string>;
  /** Bytes that it has in the file. */
  readonly bytes: number;
}

/** A file whose head was read and checked. Numbers are read when they are asked for, each time anew. */
export interface WeightFile {
  readonly format: "safetensors" | "gguf" | "llama2.c";
  /** By name, in the file's order. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /**
   * Reads a tensor.
   *
   * @throws {RangeError} When there is none of this name, its type cannot be read, or the file is cut off.
   */
  read(name: string): Promise<StoredTensor>;
}

/** A tensor and where it lies. */
export interface PlacedEntry extends TensorEntry {
  readonly source: ByteSource;
  readonly offset: number;
}

const elementBytes = { f32: 4, f16: 2, bf16: 2, i8: 1, q8_0: 1, q4_0: 1 } as const;

/** Kinds that numbers can be read in. */
export function isReadable(dtype: string): dtype is StoredDType {
  return Object.hasOwn(elementBytes, dtype);
}

/** An array over bytes, which are copied where it could not begin. */
function arrayOver(bytes: Uint8Array, dtype: StoredDType): StoredTensor["data"] {
  const each = elementBytes[dtype];
  const { buffer, byteOffset } = bytes.byteOffset % each === 0 ? bytes : new Uint8Array(bytes);
  const length = bytes.length / each;
  if (dtype === "f32") return new Float32Array(buffer, byteOffset, length);
  if (dtype === "i8") return new Int8Array(buffer, byteOffset, length);
  if (each === 2) return new Uint16Array(buffer, byteOffset, length);
  return new Uint8Array(buffer, byteOffset, length);
}

/** Refuses a name that no tensor has. */
export function noTensor(name: string): RangeError {
  return new RangeError(`${cannot}: there is no tensor ${JSON.stringify(name)}`);
}

/** A file of tensors that lie somewhere. */
export function weightFile(
  format: WeightFile["format"],
  entries: ReadonlyMap<string, PlacedEntry>,
): WeightFile {
  return {
    ...{ format, entries },
    async read(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw noTensor(name);
      const { dtype, shape, source, offset, bytes } = entry;
      if (!isReadable(dtype)) {
        throw new RangeError(
          `${cannot}: ${JSON.stringify(name)} is stored as ${dtype}; ` +
            `f32, f16, bf16, i8, Q8_0 and Q4_0 can be read`,
        );
      }
      const range = await exactly(source, offset, bytes, JSON.stringify(name));
      return { data: arrayOver(range, dtype), shape, dtype };
    },
  };
}

/** Elements of a shape; `undefined` where there are more than can be counted. */
export function countOf(shape: readonly number[]): number | undefined {
  const count = shape.includes(0) ? 0 : shape.reduce((a, b) => a * b, 1);
  return Number.isSafeInteger(count) ? count : undefined;
}
