/**
 * Arrangements: the same elements laid out in memory in other ways, told by strides and an offset.
 *
 * @module
 */

import type { Layout, Tensor } from "@flashtile/attention";
import { count, type Extents, placesOf, written } from "./problem.ts";

/** How a tensor `[B, H, N, D]` is laid out. */
export interface Arrangement {
  /** The axes from the one that moves fastest to the slowest. */
  readonly order: readonly number[];
  /** Elements left out behind each step of the fastest axis, and then behind each whole axis. */
  readonly gaps: readonly number[];
  /** Elements before the first one. */
  readonly offset: number;
  /** Axes of stride 0: every index reads the elements of index 0. */
  readonly broadcast: readonly boolean[];
}

/** Contiguous in the order that the caller writes, told without strides. */
export const dense = "dense";

/** Rank and order of axes in which a caller writes a tensor. */
export interface Presentation {
  readonly rank: number;
  readonly layout: Layout;
  readonly arrangement: Arrangement | typeof dense;
}

/** What `dense` means in a layout. */
function denseIn(layout: Layout): Arrangement {
  return {
    order: layout === "bhnd" ? [3, 2, 1, 0] : [3, 1, 2, 0],
    gaps: [0, 0, 0, 0],
    offset: 0,
    broadcast: [false, false, false, false],
  };
}

/** Strides of a shape `[B, H, N, D]` in an arrangement, and the elements that `data` needs. */
export function stridesOf(
  shape: Extents,
  { order, gaps, offset, broadcast }: Arrangement,
): { strides: number[]; length: number } {
  const strides = [0, 0, 0, 0];
  let unit = 1;
  order.forEach((axis, index) => {
    unit += gaps[index];
    strides[axis] = broadcast[axis] ? 0 : unit;
    if (!broadcast[axis]) unit *= Math.max(1, shape[axis]);
  });
  const places = placesOf({ shape, strides, offset });
  return { strides, length: places.reduce((most, place) => Math.max(most, place + 1), offset) };
}

/**
 * Presents dense elements `[B, H, N, D]` as a tensor. What lies between the elements is NaN: it
 * must not be read.
 */
export function present(
  elements: Float32Array,
  shape: Extents,
  { rank, layout, arrangement }: Presentation,
): Tensor {
  const laidOut = arrangement === dense ? denseIn(layout) : arrangement;
  const { strides, length } = stridesOf(shape, laidOut);
  const { offset } = laidOut;
  const data = new Float32Array(length).fill(NaN);
  placesOf({ shape, strides, offset }).forEach((place, index) => data[place] = elements[index]);
  return {
    data,
    shape: written(shape, rank, layout),
    ...(arrangement !== dense && { strides: written(strides, rank, layout), offset }),
  };
}

/** The elements of a tensor that a caller wrote with this rank and layout, dense `[B, H, N, D]`. */
export function retrieve(tensor: Tensor, shape: Extents, layout: Layout): Float32Array {
  const rank = tensor.shape.length;
  const strides = tensor.strides ??
    tensor.shape.map((_, axis) => count(tensor.shape.slice(axis + 1)));
  const padded = [...new Array<number>(4 - rank).fill(0), ...strides];
  if (layout === "bnhd" && rank > 2) [padded[1], padded[2]] = [padded[2], padded[1]];
  const { data, offset } = tensor;
  return Float32Array.from(placesOf({ shape, strides: padded, offset }), (place) => data[place]);
}

/** Makes elements equal along the axes that an arrangement broadcasts. */
export function broadcastElements(
  elements: Float32Array,
  shape: Extents,
  arrangement: Arrangement | typeof dense,
): Float32Array {
  if (arrangement === dense) return elements;
  const { broadcast } = arrangement;
  const strides = shape.map((_, axis) => broadcast[axis] ? 0 : count(shape.slice(axis + 1)));
  return Float32Array.from(placesOf({ shape, strides }), (place) => elements[place]);
}
