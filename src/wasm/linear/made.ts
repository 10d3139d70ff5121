/**
 * Keys and values that a call makes for itself: f32, in linear memory until it ends.
 *
 * @module
 */

import { HeldArray } from "../../tensor/arrays.ts";
import type { Elements } from "../../tensor/dtype.ts";
import { contiguousStrides, type Extents, sizeOf, type View } from "../../tensor/tensor.ts";
import { Placer } from "../memory/placer.ts";
import type { Arena } from "../memory/arena.ts";
import type { Step } from "../team/steps.ts";

/** A tensor of f32 at an address. */
export function floatsAt({ memory: { buffer } }: Arena, at: number, shape: Extents): View {
  return {
    data: new HeldArray<Elements>(new Float32Array(buffer, at, sizeOf(shape))),
    ...{ dtype: "f32", offset: 0, shape },
    strides: contiguousStrides(shape) as unknown as Extents,
  };
}

/** Does something with tensors of zeros, whose memory is free again whatever ends it. */
export function* withFloats(
  arena: Arena,
  shapes: readonly Extents[],
  act: (...views: View[]) => Iterable<Step>,
): Generator<Step> {
  const space = new Placer(0), places = shapes.map((shape) => space.place(sizeOf(shape) * 4));
  const block = arena.allocateZeroed(space.end);
  try {
    yield* act(...shapes.map((shape, index) => floatsAt(arena, block + places[index], shape)));
  } finally {
    arena.free(block);
  }
}
