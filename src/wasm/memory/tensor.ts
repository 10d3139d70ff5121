/**
 * Tensors that live in linear memory: made there, or found there and read where they are.
 *
 * @module
 */

import type { EngineTensor } from "../../contract/backend.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { bytesPerElement, type DType, type Elements, type HostData } from "../../tensor/dtype.ts";
import { sayOf, tensorInWords } from "../../tensor/inspect.ts";
import { type BroadcastView, reach, sizeOf, type View } from "../../tensor/tensor.ts";
import type { Arena } from "./arena.ts";

/** An array over linear memory; f16 is a `Float16Array` where the runtime has it. */
function arrayOver(arena: Arena, at: number, size: number, dtype: DType): HostData {
  const { buffer } = arena.memory;
  if (dtype === "f32") return new Float32Array(buffer, at, size);
  const half = dtype === "f16" && typeof Float16Array !== "undefined";
  return half ? new Float16Array(buffer, at, size) : new Uint16Array(buffer, at, size);
}

/** Allocates a contiguous tensor of zeros in an arena. */
export function allocateTensor(
  arena: Arena,
  extents: readonly number[],
  dtype: DType,
): EngineTensor<HostData> {
  const shape = Object.freeze([...extents]);
  const size = sizeOf(shape);
  const { at, lent } = arena.lend(size * bytesPerElement(dtype));
  let view: HostData | undefined = arrayOver(arena, at, size, dtype);
  const free = () => {
    view = undefined;
    lent.free();
  };
  return sayOf({
    shape,
    dtype,
    // A property of its own, so that `{ ...tensor, shape, strides }` is a view of it.
    get data(): HostData {
      if (view === undefined) {
        throw new TypeError(`Cannot use a tensor of shape [${shape}] after \`free()\``);
      }
      if (view.buffer !== arena.memory.buffer) view = arrayOver(arena, at, size, dtype);
      return view;
    },
    free,
    [Symbol.dispose]: free,
  }, () => tensorInWords("Wasm memory", shape, dtype, view === undefined));
}

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
