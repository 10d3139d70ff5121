/**
 * Tensors that live in linear memory.
 *
 * @module
 */

import type { EngineTensor } from "../backend.ts";
import { sizeOf } from "../tensor.ts";
import type { Arena } from "./arena.ts";

/** Allocates a contiguous f32 tensor of zeros in an arena. */
export function allocateTensor(arena: Arena, extents: readonly number[]): EngineTensor {
  const shape = Object.freeze([...extents]);
  const size = sizeOf(shape);
  let at: number | undefined = arena.allocate(size * 4);
  let view = new Float32Array(arena.memory.buffer, at, size).fill(0); // It may have been used.
  const free = () => {
    if (at !== undefined) arena.free(at);
    at = undefined;
  };
  return {
    shape,
    dtype: "f32",
    // A property of its own, so that `{ ...tensor, shape, strides }` is a view of it.
    get data(): Float32Array {
      if (at === undefined) {
        throw new TypeError(`Cannot use a tensor of shape [${shape}] after \`free()\``);
      }
      if (view.buffer !== arena.memory.buffer) {
        view = new Float32Array(arena.memory.buffer, at, size);
      }
      return view;
    },
    free,
    [Symbol.dispose]: free,
  };
}
