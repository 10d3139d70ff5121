/**
 * Tensors of any rank as backends see them: rows along the last axis, in pieces of which each has its rows at equal
 * distances.
 *
 * @module
 */

import { checkShapeOf, readTensor } from "../../check/tensors.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { type DType, type Elements, isGpuBuffer } from "../../tensor/dtype.ts";
import {
  type AnyTensor,
  contiguousStrides,
  type ReadData,
  type ReadTensor,
  sizeOf,
  type View,
} from "../../tensor/tensor.ts";

/** A tensor as it was read, and where its elements are. */
export interface PlacedTensor {
  readonly data: ReadData;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** Where the elements of a tensor are. */
export function placedFrom({ data, dtype, shape, strides, offset = 0 }: ReadTensor): PlacedTensor {
  return { data, dtype, shape, strides: strides ?? contiguousStrides(shape), offset };
}

/** Reads a tensor that has at least one axis, along which rows lie. */
export function readPlaced(name: string, given: unknown, doing: string): PlacedTensor {
  const placed = placedFrom(readTensor(name, given, doing, true));
  if (placed.shape.length > 0) return placed;
  throw new RangeError(`${doing}: \`${name}\` must have at least one axis, got shape []`);
}

/** Reads one of a shape that is expected. */
export function readShaped(
  name: string,
  given: unknown,
  shape: readonly number[],
  doing: string,
): PlacedTensor {
  const placed = placedFrom(readTensor(name, given, doing, true));
  checkShapeOf(name, placed.shape, shape, doing);
  return placed;
}

/** A tensor that was made, as it is read. */
export function placedOf({ data, shape, dtype = "f32" }: AnyTensor): PlacedTensor {
  const held = isGpuBuffer(data) ? data : new HeldArray<Elements>(data as Elements);
  return { data: held, dtype, shape, strides: contiguousStrides(shape), offset: 0 };
}

/** An axis of all tensors at once: its extent, and what a step along it is in each. */
interface Axis {
  readonly extent: number;
  readonly steps: readonly number[];
}

/** Neighbours that are one axis in every tensor are joined; axes of one element go. */
function joinAxes(leading: readonly number[], tensors: readonly PlacedTensor[]): Axis[] {
  const joined: Axis[] = [];
  for (const [axis, extent] of leading.entries()) {
    if (extent === 1) continue;
    const last = joined.at(-1), steps = tensors.map(({ strides }) => strides[axis]);
    const follows = last?.steps.every((step, tensor) => step === steps[tensor] * extent);
    if (follows) joined.pop();
    joined.push({ extent: follows ? extent * last!.extent : extent, steps });
  }
  return joined;
}

/** Every index of some axes. */
function* indices(axes: readonly Axis[]): Generator<readonly number[]> {
  const [first, ...rest] = axes;
  if (first === undefined) return yield [];
  for (let at = 0; at < first.extent; at++) for (const inner of indices(rest)) yield [at, ...inner];
}

/** Rows of a tensor, so many of them `step` elements apart. */
function viewOf(tensor: PlacedTensor, offset: number, rows: number, step: number): View {
  const { data, dtype, shape, strides } = tensor, last = shape.length - 1;
  return {
    ...{ data: data as View["data"], dtype, offset },
    shape: [1, 1, rows, shape[last]],
    strides: [0, 0, step, strides[last]],
  };
}

/** Whether the rows of a tensor follow one another. */
function isDense({ shape, strides }: PlacedTensor): boolean {
  let step = shape[shape.length - 1];
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    if (strides[axis] !== step && shape[axis] !== 1) return false;
    step *= shape[axis];
  }
  return true;
}

/**
 * Cuts tensors into pieces: all have the axes `leading`, and each a last one of its own. Views of a piece are in the order
 * of the tensors.
 */
export function piecesOf(
  leading: readonly number[],
  tensors: readonly (PlacedTensor | null)[],
): (View | null)[][] {
  const all = tensors.filter((tensor) => tensor !== null);
  if (all.every(isDense)) {
    const rows = sizeOf(leading); // Most calls: small ones would spend half their time below.
    return [
      tensors.map((tensor) =>
        tensor && viewOf(tensor, tensor.offset, rows, tensor.shape[tensor.shape.length - 1])
      ),
    ];
  }
  const axes = joinAxes(leading, all), inner = axes.pop() ?? { extent: 1, steps: all.map(() => 0) };
  return Array.from(indices(axes), (index) =>
    tensors.map((tensor) => {
      if (tensor === null) return null;
      const own = all.indexOf(tensor);
      const offset = index.reduce((sum, at, axis) => sum + at * axes[axis].steps[own], 0);
      return viewOf(tensor, tensor.offset + offset, inner.extent, inner.steps[own]);
    }));
}

/** A tensor of one axis as a row; `null` for none. */
export function rowOf(vector: PlacedTensor | null): View | null {
  return vector && viewOf(vector, vector.offset, 1, 0);
}
