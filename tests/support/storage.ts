/**
 * 16-bit storage as the formats define it: decoded and encoded one number at a time, in float64.
 *
 * @module
 */

import type { DType, HostData, Tensor } from "@flashtile/attention";

/** The element types of 16 bits. */
export type Storage = Exclude<DType, "f32">;

/** Both of them. */
export const storages: readonly Storage[] = ["f16", "bf16"];

/** Bits of exponent and mantissa of each. */
const formats = { f16: { exponent: 5, mantissa: 10 }, bf16: { exponent: 8, mantissa: 7 } };

/** Half the distance from a number to the next that the element type has. */
export function halfUlpOf(dtype: DType, x: number): number {
  const { exponent, mantissa } = dtype === "f32" ? { exponent: 8, mantissa: 23 } : formats[dtype];
  const least = 2 - 2 ** (exponent - 1);
  const own = Math.max(least, Math.floor(Math.log2(Math.abs(x) || Number.MIN_VALUE)));
  return 2 ** (own - mantissa - 1);
}

/** The number that 16 bits stand for. */
export function decode(bits: number, storage: Storage): number {
  const format = formats[storage];
  const bias = 2 ** (format.exponent - 1) - 1, ones = 2 ** format.exponent - 1;
  const sign = bits >> 15 ? -1 : 1;
  const exponent = bits >> format.mantissa & ones;
  const fraction = (bits & (2 ** format.mantissa - 1)) / 2 ** format.mantissa;
  if (exponent === ones) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias)
    : sign * (1 + fraction) * 2 ** (exponent - bias);
}

const magnitudes = {
  f16: Float64Array.from({ length: 0x7c01 }, (_, bits) => decode(bits, "f16")),
  bf16: Float64Array.from({ length: 0x7f81 }, (_, bits) => decode(bits, "bf16")),
};

/** The largest magnitude that does not exceed `x`, by its bits. */
function below(x: number, storage: Storage): number {
  const table = magnitudes[storage];
  let from = 0, to = table.length;
  while (to - from > 1) {
    const middle = (from + to) >> 1;
    if (table[middle] <= x) from = middle;
    else to = middle;
  }
  return from;
}

/** The 16 bits nearest to a number, ties to even; NaN is any NaN. */
export function encode(x: number, storage: Storage): number {
  if (Number.isNaN(x)) return 0x7fff;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const table = magnitudes[storage], size = Math.abs(x);
  const low = below(size, storage);
  if (table[low] === size) return sign | low;
  // Infinity takes part as the number that would follow the largest one.
  const infinity = table.length - 1, step = table[infinity - 1] - table[infinity - 2];
  const next = low + 1 === infinity ? table[low] + step : table[low + 1];
  const middle = (table[low] + next) / 2;
  const up = size > middle || (size === middle && low % 2 === 1);
  return sign | (up ? low + 1 : low);
}

/** Numbers rounded to a storage, as f32. */
export function rounded(data: ArrayLike<number>, dtype: DType): Float32Array {
  if (dtype === "f32") return Float32Array.from(data);
  return Float32Array.from(data, (x) => decode(encode(x, dtype), dtype));
}

/** The bits of numbers in a storage. */
export function bitsIn(data: ArrayLike<number>, storage: Storage): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(data, (x) => encode(x, storage));
}

/** A tensor as it is stored in another element type; f16 also as a `Float16Array` where it exists. */
export function stored(tensor: Tensor, dtype: DType, asFloats = false): Tensor<HostData> {
  if (dtype === "f32") return tensor;
  const bits = bitsIn(tensor.data, dtype);
  const floats = asFloats && dtype === "f16" && typeof Float16Array !== "undefined";
  return { ...tensor, data: floats ? new Float16Array(bits.buffer) : bits, dtype };
}

/** The elements of a tensor's data as numbers. */
export function numbersIn(data: HostData, dtype: DType | undefined): Float32Array {
  if (!(data instanceof Uint16Array)) return Float32Array.from(data);
  return Float32Array.from(data, (bits) => decode(bits, dtype as Storage));
}

/** f32 by its bits. */
export function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

/** The bits of an f32. */
export function wordOf(x: number): number {
  return new Uint32Array(Float32Array.of(x).buffer)[0];
}
