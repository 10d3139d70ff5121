/**
 * Element types: how numbers are stored. Whatever the storage, products, sums, maxima and exponents
 * are computed in f32.
 *
 * @module
 */

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

/** Whether an array is a `Float16Array`; runtimes before Node 24 have none. */
export function isFloat16Array(data: unknown): data is Float16Array {
  return typeof Float16Array !== "undefined" && data instanceof Float16Array;
}

/** Whether an array can hold elements of some type. */
export function isHostData(data: unknown): data is HostData {
  return data instanceof Float32Array || data instanceof Uint16Array || isFloat16Array(data);
}

/** Whether data is on the GPU. By shape: outside browsers and Deno the class has no global name. */
export function isGpuBuffer(data: unknown): data is GPUBuffer {
  return typeof data === "object" && data !== null && "mapAsync" in data && "usage" in data;
}

/** Element type of data by itself; a `Uint16Array` and a buffer do not say. */
export function inherentDType(data: TensorData): DType | undefined {
  if (data instanceof Float32Array) return "f32";
  return isFloat16Array(data) ? "f16" : undefined;
}

/** The elements as f32, or as the bits of 16-bit ones: what kernels and copies work on. */
export function bitsOf(data: HostData): Elements {
  if (!isFloat16Array(data)) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.length);
}

/** A new array of zeros of the same kind as another. */
export function zerosLike(data: HostData, length: number): HostData {
  if (data instanceof Float32Array) return new Float32Array(length);
  return isFloat16Array(data) ? new Float16Array(length) : new Uint16Array(length);
}
