/**
 * Tensors of booleans are read: a byte or a bit each.
 *
 * @module
 */

import { arrayKind, type HeldArray } from "../tensor/arrays.ts";
import { isGpuBuffer, storedIn } from "../tensor/dtype.ts";
import { type BooleanDType, type MaskView, sizeOf } from "../tensor/tensor.ts";
import {
  checkBuffer,
  holdArray,
  type Placed,
  readExtentsOf,
  readLayout,
  readObject,
  type Written,
} from "./tensors.ts";
import { cannot, kindOf } from "./words.ts";

/** A tensor of booleans as it was read. */
export interface ReadBooleans extends Placed, Pick<MaskView, "data" | "dtype"> {}

const dtypes: readonly BooleanDType[] = ["u8", "bit"];

/** Reads one: kinds, extents, and that every element lies within `data`. */
export function readBooleans(name: string, value: unknown, doing = cannot): ReadBooleans {
  const written = readObject(name, value, "Uint8Array", doing);
  const { data, dtype } = readData(name, written, doing);
  const shape = readExtentsOf(name, written.shape, doing);
  const placed = readLayout(name, written, shape, data, dtype, doing);
  checkBits(name, written, shape, data, doing);
  return { ...placed, data, dtype };
}

/** How an array holds booleans; `undefined` where it holds none. */
export function booleansOf(data: unknown): BooleanDType | undefined {
  const kind = arrayKind(data);
  return kind === "Uint8Array" ? "u8" : kind === "Uint32Array" ? "bit" : undefined;
}

/** What floats are that are given as a mask of attention. */
function biasInstead(isFloat: boolean, doing: string): string {
  return isFloat && doing === cannot ? ", floats that are added to scores are a `bias`" : "";
}

/** Elements, and how they are stored. */
function readData(
  name: string,
  { data, dtype }: Written,
  doing: string,
): Pick<MaskView, "data" | "dtype"> {
  if (dtype !== undefined && !dtypes.includes(dtype as BooleanDType)) {
    throw new TypeError(
      `${doing}: \`${name}.dtype\` must be one of ${dtypes.join(", ")}, got ${kindOf(dtype)}${
        biasInstead(dtype === "f32", doing)
      }`,
    );
  }
  if (isGpuBuffer(data)) {
    checkBuffer(name, data, dtype, dtypes, doing);
    return { data, dtype: dtype as BooleanDType };
  }
  const inherent = booleansOf(data);
  if (inherent === undefined) {
    throw new TypeError(
      `${doing}: \`${name}.data\` must be a Uint8Array (a byte each), Uint32Array (bits) or ` +
        `GPUBuffer, got ${kindOf(data)}${biasInstead(storedIn(data) === "f32", doing)}`,
    );
  }
  if (dtype !== undefined && dtype !== inherent) {
    throw new TypeError(
      `${doing}: \`${name}\` has dtype ${dtype}, its data is a ${kindOf(data)}`,
    );
  }
  return {
    data: holdArray(`${name}.data`, data as Uint8Array | Uint32Array, doing),
    dtype: inherent,
  };
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
  doing = cannot,
): void {
  if (isGpuBuffer(data) || data.kind !== "Uint32Array" || data.length <= 1) return;
  if ((dtype ?? strides ?? offset) !== undefined || data.length !== sizeOf(shape)) return;
  throw new TypeError(
    `${doing}: \`${name}.data\` is a Uint32Array of a word per element, and would be read as bits; ` +
      'give a Uint8Array, or `dtype: "bit"`',
  );
}
