/**
 * Tensors that live in linear memory.
 *
 * @module
 */

import type { EngineTensor } from "../backend.ts";
import { bytesPerElement, type DType, type HostData } from "../dtype.ts";
import { sizeOf } from "../tensor.ts";
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
  return {
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
  };
}
