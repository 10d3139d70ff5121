/**
 * Rows of masks on their way into linear memory, as kernels read them: side by side from the first byte, or its
 * lowest bit, on.
 *
 * @module
 */

import type { MaskView } from "../../tensor/tensor.ts";

/** Elements of a mask. */
type MaskData = Uint8Array | Uint32Array;

/** Bytes of a row: kernels read sixteen elements at a time, and whole words of bits. */
export function maskRowBytes({ dtype }: Pick<MaskView, "dtype">, columns: number): number {
  return dtype === "u8" ? columns + 16 : Math.ceil(columns / 8) + 8;
}

/** Copies the row of a mask that begins at an element. */
export function copyMaskRow(
  { dtype, strides }: Pick<MaskView, "dtype" | "strides">,
  data: MaskData,
  element: number,
  columns: number,
  target: Uint8Array,
): void {
  const copy = dtype === "u8" ? copyBytes : copyBits;
  copy(data, strides[3], element, columns, target);
}

function copyBytes(
  data: MaskData,
  step: number,
  element: number,
  columns: number,
  target: Uint8Array,
): void {
  if (step === 1) target.set(data.subarray(element, element + columns));
  else if (step === 0) target.fill(data[element], 0, columns);
  else {for (let column = 0; column < columns; column++) {
      target[column] = data[element + column * step];
    }}
}

/** Bits come to lie from the lowest of the first byte on, wherever they are in their words. */
function copyBits(
  words: MaskData,
  step: number,
  element: number,
  columns: number,
  target: Uint8Array,
): void {
  if (step === 0) {
    target.fill(words[Math.floor(element / 32)] >>> (element % 32) & 1 ? 0xff : 0);
    return;
  }
  if (step === 1) {
    // Words are little-endian wherever Wasm runs: bit e is in byte e / 8.
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    const first = Math.floor(element / 8), count = Math.ceil(columns / 8), shift = element % 8;
    if (shift === 0) target.set(bytes.subarray(first, first + count));
    else {
      for (let at = 0; at < count; at++) {
        target[at] = (bytes[first + at] | bytes[first + at + 1] << 8) >> shift;
      }
    }
    return;
  }
  target.fill(0);
  for (let column = 0; column < columns; column++) {
    const at = element + column * step;
    target[column >> 3] |= (words[Math.floor(at / 32)] >>> (at % 32) & 1) << (column & 7);
  }
}
