/**
 * Staging: tensors that live in linear memory already are read where they are.
 *
 * @module
 */

import { bytesPerElement, type DType, type Elements } from "../dtype.ts";
import type { View } from "../tensor.ts";
import type { Arena } from "./arena.ts";

/** Where a tensor lives in linear memory, and its strides in bytes. */
export interface Resident {
  readonly at: number;
  readonly strides: View["strides"];
}

/** Finds a tensor in linear memory; `undefined` when it lives elsewhere. */
export function locate(view: View, arena: Arena): Resident | undefined {
  if (!arena.owns(view.data.buffer)) return undefined;
  const bytes = bytesPerElement(view.dtype);
  return {
    at: view.data.byteOffset + view.offset * bytes,
    strides: view.strides.map((n) => n * bytes) as unknown as View["strides"],
  };
}

/**
 * A view as it is whenever it is asked for: where the memory under it grows, its array is made anew.
 */
export function follow(view: View, arena: Arena): () => View {
  const { byteOffset, buffer, length } = view.data;
  if (!arena.owns(buffer)) return () => view;
  return () => ({ ...view, data: elementsOver(arena, byteOffset, length, view.dtype) });
}

/** A fresh array over linear memory: none may be kept where the memory could grow. */
export function elementsOver(arena: Arena, at: number, length: number, dtype: DType): Elements {
  const { buffer } = arena.memory;
  return dtype === "f32"
    ? new Float32Array(buffer, at, length)
    : new Uint16Array(buffer, at, length);
}
