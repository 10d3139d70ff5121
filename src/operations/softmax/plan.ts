/**
 * What a call of softmax, or of one of its logarithms, means: read once, checked.
 *
 * @module
 */

import type { ReadBooleans } from "../../check/booleans.ts";
import { checkShapeOf, checkWritable, type Placed } from "../../check/tensors.ts";
import { isWhole, kindOf } from "../../check/words.ts";
import type { Control } from "../../contract/backend.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { DType } from "../../tensor/dtype.ts";
import {
  type AnyTensor,
  contiguousStrides,
  type ReadData,
  type ReadTensor,
  sizeOf,
} from "../../tensor/tensor.ts";
import { checkApart } from "../apart.ts";
import { cannotOf, type SoftmaxOptions, type SoftmaxResult } from "./options.ts";

/** A tensor of any rank as it was read, and where its elements are. */
export interface PlacedTensor extends Placed {
  readonly data: ReadData;
  readonly dtype: DType;
}

/** A call as it was read: nothing of it is read from the caller's objects again. */
export interface SoftmaxCall {
  readonly what: SoftmaxResult;
  readonly x: PlacedTensor;
  readonly mask: ReadBooleans | null;
  readonly axis: number;
  readonly scale: number;
  /** The caller's tensor for the result; `null` for one of its own. */
  readonly out: PlacedTensor | null;
  /** The same, to be handed back. */
  readonly given: AnyTensor | null;
  /** Shape of the result as the caller sees it. */
  readonly outShape: readonly number[];
  /** How a result is stored that has a tensor of its own. */
  readonly resultType: DType;
  readonly control: Control;
}

/** The tensors of a call, each as it was read by itself. */
export interface SoftmaxTensors {
  readonly x: ReadTensor;
  readonly mask: ReadBooleans | null;
  readonly out: ReadTensor | null;
}

/** Where the elements of a tensor are. */
export function placedFrom({ data, dtype, shape, strides, offset = 0 }: ReadTensor): PlacedTensor {
  return { data, dtype, shape, strides: strides ?? contiguousStrides(shape), offset };
}

function readAxis(axis: unknown, rank: number, doing: string): number {
  if (isWhole(axis) && axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
  throw new RangeError(
    `${doing}: \`axis\` must be ${
      rank === 0 ? "one of `x`'s, which has none" : `whole, from ${-rank} to ${rank - 1}`
    }, got ${kindOf(axis)}`,
  );
}

function readScale(scale: unknown, doing: string): number {
  if (typeof scale === "number" && Number.isFinite(Math.fround(scale))) return scale;
  throw new RangeError(`${doing}: \`scale\` must be finite in f32, got ${kindOf(scale)}`);
}

function checkMask(mask: ReadBooleans, shape: readonly number[], doing: string): void {
  const missing = shape.length - mask.shape.length;
  const fits = missing >= 0 &&
    mask.shape.every((extent, axis) => extent === 1 || extent === shape[missing + axis]);
  if (fits) return;
  throw new RangeError(
    `${doing}: \`mask\` must have each axis of [${shape}] full or 1, leading ones may be missing, ` +
      `got [${mask.shape}]`,
  );
}

/** Checks a call of a function whose tensors and options were read. */
export function readSoftmax(
  what: SoftmaxResult,
  tensors: SoftmaxTensors,
  { axis = -1, scale = 1, out: given, signal }: SoftmaxOptions,
  name: string = what,
): SoftmaxCall {
  const doing = cannotOf(name);
  const x = placedFrom(tensors.x), { shape } = x, { mask } = tensors;
  const along = readAxis(axis, shape.length, doing);
  const outShape = what === "logSumExp" ? shape.filter((_, at) => at !== along) : shape;
  const out = tensors.out === null ? null : placedFrom(tensors.out);
  if (mask !== null) checkMask(mask, shape, doing);
  if (out !== null) {
    checkShapeOf("out", out.shape, outShape, doing);
    checkApart(out, { x, mask }, doing);
    checkWritable(out, doing);
  }
  return {
    ...{ what, x, axis: along, outShape, mask, out, given: given ?? null },
    scale: readScale(scale, doing),
    resultType: what === "logSumExp" ? "f32" : x.dtype,
    control: { signal },
  };
}

/** Rows of a call. */
export function countRows({ x: { shape }, axis }: SoftmaxCall): number {
  return sizeOf(shape.filter((_, at) => at !== axis));
}

/** Whether a row may be written where it was read: both have the same places. */
export function isInPlace(out: PlacedTensor, x: PlacedTensor): boolean {
  return HeldArray.is(out.data) && HeldArray.is(x.data) && out.dtype === x.dtype &&
    out.data.buffer === x.data.buffer && out.data.byteOffset === x.data.byteOffset &&
    out.offset === x.offset && `${out.shape}` === `${x.shape}` &&
    `${out.strides}` === `${x.strides}`;
}
