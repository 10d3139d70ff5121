/**
 * Staging: tensors that live in linear memory already are read where they are.
 *
 * @module
 */

import type { HeldArray } from "../arrays.ts";
import { bytesPerElement, type DType, type Elements } from "../dtype.ts";
import type { BroadcastView } from "../scores.ts";
import { reach, type View } from "../tensor.ts";
import type { Arena } from "./arena.ts";

/** Where a tensor lives in linear memory, and its strides in bytes. */
export interface Resident {
  readonly at: number;
  readonly strides: View["strides"];
}

/** Finds a tensor in linear memory; `undefined` when it lives elsewhere. */
export function locate(view: View, arena: Arena): Resident | undefined {
  if (view.data.lender !== arena) return undefined;
  const bytes = bytesPerElement(view.dtype);
  return {
    at: view.data.byteOffset + view.offset * bytes,
    strides: view.strides.map((n) => n * bytes) as unknown as View["strides"],
  };
}

/**
 * Finds a bias in linear memory, where the kernel can read it: keys side by side, and three numbers
 * behind the last that it may touch.
 */
export function locateBias(bias: BroadcastView, arena: Arena): Resident | undefined {
  const data = bias.data as HeldArray<Float32Array>, last = reach(bias)?.[1];
  if (data.lender !== arena || bias.strides[3] !== 1 || last === undefined) return undefined;
  const at = data.byteOffset + bias.offset * 4, end = data.byteOffset + (last + 4) * 4;
  if (at % 4 !== 0 || end > arena.reservedBytes) return undefined;
  return { at, strides: bias.strides.map((n) => n * 4) as unknown as View["strides"] };
}

/** A fresh array over linear memory: none may be kept where the memory could grow. */
export function elementsOver(arena: Arena, at: number, length: number, dtype: DType): Elements {
  const { buffer } = arena.memory;
  return dtype === "f32"
    ? new Float32Array(buffer, at, length)
    : new Uint16Array(buffer, at, length);
}
