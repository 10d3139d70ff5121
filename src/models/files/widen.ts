/**
 * Stored numbers as f32: exactly, since every kind of them fits.
 *
 * @module
 */

import type { StoredTensor } from "./weights.ts";

/** Elements of a block of GGUF, and its bytes. */
export const blockElements = 32;
const q8Bytes = 34, q4Bytes = 18;

/** The number that 16 bits of f16 stand for. */
export function f16At(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** All numbers of f16, made when first asked for: twice as fast as computing each. */
let f16Numbers: Float32Array | undefined;

function widenF16(data: ArrayLike<number>): Float32Array {
  f16Numbers ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => f16At(bits));
  const numbers = new Float32Array(data.length);
  for (let at = 0; at < data.length; at++) numbers[at] = f16Numbers[data[at]];
  return numbers;
}

function widenBf16(data: ArrayLike<number>): Float32Array {
  const words = new Uint32Array(data.length);
  for (let at = 0; at < data.length; at++) words[at] = data[at] << 16;
  return new Float32Array(words.buffer);
}

/** A scale in f16, then 32 signed bytes. */
function widenQ8(data: Uint8Array): Float32Array {
  const numbers = new Float32Array(data.length / q8Bytes * blockElements);
  for (let block = 0, at = 0; block < data.length; block += q8Bytes) {
    const scale = f16At(data[block] | data[block + 1] << 8);
    for (let byte = block + 2; byte < block + q8Bytes; byte++) {
      numbers[at++] = scale * (data[byte] << 24 >> 24);
    }
  }
  return numbers;
}

/** A scale in f16, then 16 bytes: the low fours are the first 16 numbers, the high ones the others; 8 is zero. */
function widenQ4(data: Uint8Array): Float32Array {
  const numbers = new Float32Array(data.length / q4Bytes * blockElements);
  for (let block = 0, at = 0; block < data.length; block += q4Bytes, at += blockElements) {
    const scale = f16At(data[block] | data[block + 1] << 8);
    for (let pair = 0; pair < 16; pair++) {
      const byte = data[block + 2 + pair];
      numbers[at + pair] = scale * ((byte & 15) - 8);
      numbers[at + 16 + pair] = scale * ((byte >> 4) - 8);
    }
  }
  return numbers;
}

/** A tensor's numbers in f32: those of f32 as they are, of all others a copy. */
export function widened({ data, dtype }: StoredTensor): Float32Array {
  switch (dtype) {
    case "f32":
      return data as Float32Array;
    case "f16":
      return widenF16(data);
    case "bf16":
      return widenBf16(data);
    case "i8":
      return Float32Array.from(data);
    case "q8_0":
      return widenQ8(data as Uint8Array);
    case "q4_0":
      return widenQ4(data as Uint8Array);
  }
}
