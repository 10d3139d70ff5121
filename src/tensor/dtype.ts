/**
 * Element types: how numbers are stored. Whatever the storage, products, sums, maxima and exponents
 * are computed in f32.
 *
 * @module
 */

import { type ArrayKind, arrayKind } from "./arrays.ts";

/** How an element is stored: IEEE single, IEEE half, or the upper half of a single. */
export type DType = "f32" | "f16" | "bf16";

/** Arrays that hold elements: a `Uint16Array` holds the bits of f16 or bf16. */
export type HostData = Float32Array | Float16Array | Uint16Array;

/** What holds the elements of a tensor: an array, or a buffer on the GPU. */
export type TensorData = HostData | GPUBuffer;

/** Elements as they are copied: f32, or the bits of 16-bit ones. */
export type Elements = Float32Array | Uint16Array;

/** Every element type, as messages list them. */
export const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

/** How anything is stored: numbers, or booleans as bytes or as bits. */
export type StorageType = DType | "u8" | "bit";

const storageBytes: Readonly<Record<StorageType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  u8: 1,
  bit: 1 / 8,
};

/** Bytes of one element. */
export function bytesPerElement(dtype: StorageType): number {
  return storageBytes[dtype];
}

/** Kinds of arrays that hold elements, and how each stores them by itself. */
const storages: { readonly [Kind in ArrayKind]?: DType | null } = {
  Float32Array: "f32",
  Float16Array: "f16",
  Uint16Array: null,
};

/**
 * How an array stores elements by itself; `null` for a `Uint16Array`, which does not say, `undefined`
 * for what holds none.
 */
export function storedIn(data: unknown): DType | null | undefined {
  const kind = arrayKind(data);
  return kind && storages[kind];
}

/** Whether data is on the GPU. By shape: outside browsers and Deno the class has no global name. */
export function isGpuBuffer(data: unknown): data is GPUBuffer {
  return typeof data === "object" && data !== null && "mapAsync" in data && "usage" in data;
}
