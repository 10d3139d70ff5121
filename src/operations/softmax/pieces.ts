/**
 * Tensors of any rank as backends see them: pieces of four axes, the last of which is the one that a softmax
 * goes along.
 *
 * @module
 */

import type { Placed } from "../../check/tensors.ts";
import { type Extents, sizeOf, type View } from "../../tensor/tensor.ts";

/** A tensor over the axes of a call: leading ones may be missing, and those of one element are repeated. */
export interface Spread extends Placed {
  /** Whether it has one element where others have all those along the axis. */
  readonly isByRow?: boolean;
}

/** Where a part of a tensor is. */
export type Piece = Pick<View, "shape" | "strides" | "offset">;

/** An axis of all tensors at once: its extent, and what a step along it is in each. */
interface Axis {
  readonly extent: number;
  readonly steps: readonly number[];
}

/** Steps of a tensor along so many axes, 0 along those that it has one element of, or lacks. */
function stepsOver({ shape, strides }: Placed, rank: number): number[] {
  const missing = rank - shape.length;
  return Array.from({ length: rank }, (_, axis) => {
    const own = axis - missing;
    return own < 0 || shape[own] === 1 ? 0 : strides[own];
  });
}

/** Neighbours that are one axis in every tensor are joined; axes of one element go. */
function joinAxes(axes: readonly Axis[]): Axis[] {
  const joined: Axis[] = [];
  for (const axis of axes) {
    if (axis.extent === 1) continue;
    const last = joined.at(-1);
    const follows = last?.steps.every((step, tensor) => step === axis.steps[tensor] * axis.extent);
    if (follows) joined.pop();
    joined.push(follows ? { ...axis, extent: last!.extent * axis.extent } : axis);
  }
  return joined;
}

/** Every index of some axes. */
function* indices(axes: readonly Axis[]): Generator<readonly number[]> {
  const [first, ...rest] = axes;
  if (first === undefined) return yield [];
  for (let at = 0; at < first.extent; at++) for (const inner of indices(rest)) yield [at, ...inner];
}

/** A tensor without an axis as one that has one element along it. */
export function withAxis<T extends Placed>(tensor: T, axis: number): T & Spread {
  const insert = (list: readonly number[]) => [...list.slice(0, axis), 1, ...list.slice(axis)];
  const { shape, strides } = tensor;
  return { ...tensor, shape: insert(shape), strides: insert(strides), isByRow: true };
}

/** Whether a tensor's elements are side by side in the order of its axes, all of `shape`. */
function isDense({ shape, strides }: Spread, like: readonly number[]): boolean {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== like[axis] || strides[axis] !== step) return false;
    step *= shape[axis];
  }
  return shape.length === like.length;
}

/** Pieces of tensors over `shape`: in each, where every tensor is. */
export function cutPieces(
  shape: readonly number[],
  axis: number,
  tensors: readonly Spread[],
): readonly Piece[][] {
  if (axis === shape.length - 1 && tensors.every((tensor) => isDense(tensor, shape))) {
    // Most calls: small ones spend half their time below.
    const columns = shape[axis], rows = sizeOf(shape) / Math.max(1, columns);
    const place = { shape: [1, 1, rows, columns], strides: [0, 0, columns, 1] } as const;
    return [tensors.map(({ offset }): Piece => ({ ...place, offset }))];
  }
  const steps = tensors.map((tensor) => stepsOver(tensor, shape.length));
  const axes = shape.map((extent, at): Axis => ({ extent, steps: steps.map((one) => one[at]) }));
  const [along] = axes.splice(axis, 1), joined = joinAxes(axes);
  const outer = joined.splice(0, Math.max(0, joined.length - 3));
  while (joined.length < 3) joined.unshift({ extent: 1, steps: steps.map(() => 0) });
  const inner = joined.map(({ extent }) => extent);
  return Array.from(
    indices(outer),
    (index) =>
      tensors.map(({ offset, isByRow }, tensor): Piece => ({
        offset: index.reduce((sum, at, axis) => sum + at * outer[axis].steps[tensor], offset),
        shape: [...inner, isByRow ? 1 : along.extent] as unknown as Extents,
        strides: [...joined, along].map(({ steps }) => steps[tensor]) as unknown as Extents,
      })),
  );
}
