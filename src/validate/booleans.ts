/**
 * Booleans in arrays: a byte for each, or a bit.
 *
 * @module
 */

import { arrayKind, type HeldArray } from "../arrays.ts";
import { isGpuBuffer } from "../dtype.ts";
import type { BooleanDType } from "../options.ts";
import { sizeOf } from "../tensor.ts";
import type { Written } from "./tensors.ts";
import { cannot as cannotAttend } from "./words.ts";

/** How an array holds booleans; `undefined` where it holds none. */
export function booleansOf(data: unknown): BooleanDType | undefined {
  const kind = arrayKind(data);
  return kind === "Uint8Array" ? "u8" : kind === "Uint32Array" ? "bit" : undefined;
}

/**
 * Checks that words are meant as bits: as many of them as there are elements look like a word for each,
 * of which only the first few bits would be read.
 */
export function checkBits(
  name: string,
  { dtype, strides, offset }: Written,
  shape: readonly number[],
  data: HeldArray | GPUBuffer,
  cannot = cannotAttend,
): void {
  if (isGpuBuffer(data) || data.kind !== "Uint32Array" || data.length <= 1) return;
  if ((dtype ?? strides ?? offset) !== undefined || data.length !== sizeOf(shape)) return;
  throw new TypeError(
    `${cannot}: \`${name}.data\` is a Uint32Array of a word per element, and would be read as bits; ` +
      'give a Uint8Array, or `dtype: "bit"`',
  );
}
