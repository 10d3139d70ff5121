/**
 * Element types: how numbers are stored. Whatever the storage, products, sums, maxima and exponents
 * are computed in f32.
 *
 * @module
 */

/** How an element is stored: IEEE single, IEEE half, or the upper half of a single. */
export type DType = "f32" | "f16" | "bf16";

/** Arrays that hold elements: a `Uint16Array` holds the bits of f16 or bf16. */
export type TensorData = Float32Array | Float16Array | Uint16Array;

/** Every element type, as messages list them. */
export const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return dtype === "f32" ? 4 : 2;
}

/** Whether an array is a `Float16Array`; runtimes before Node 24 have none. */
export function isFloat16Array(data: unknown): data is Float16Array {
  return typeof Float16Array !== "undefined" && data instanceof Float16Array;
}

/** Whether an array can hold elements of some type. */
export function isTensorData(data: unknown): data is TensorData {
  return data instanceof Float32Array || data instanceof Uint16Array || isFloat16Array(data);
}

/** Element type of an array by itself; a `Uint16Array` does not say. */
export function inherentDType(data: TensorData): DType | undefined {
  if (data instanceof Float32Array) return "f32";
  return data instanceof Uint16Array ? undefined : "f16";
}

/** The elements as f32, or as the bits of 16-bit ones: what kernels and copies work on. */
export function bitsOf(data: TensorData): Float32Array | Uint16Array {
  if (!isFloat16Array(data)) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.length);
}

/** A new array of zeros of the same kind as another. */
export function zerosLike(data: TensorData, length: number): TensorData {
  if (data instanceof Float32Array) return new Float32Array(length);
  return isFloat16Array(data) ? new Float16Array(length) : new Uint16Array(length);
}
