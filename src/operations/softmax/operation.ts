/**
 * softmax(), logSoftmax() and logSumExp(): calls become results.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { type Elements, isGpuBuffer } from "../../tensor/dtype.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  copyView,
  mayOverlapAny,
  type View,
} from "../../tensor/tensor.ts";
import { type Call, type Made, type NewTensor, runUsed } from "../call.ts";
import { cutPieces, type Piece, type Spread, withAxis } from "./pieces.ts";
import type { SoftmaxOptions, SoftmaxResult } from "./options.ts";
import {
  countRows,
  isInPlace,
  type PlacedTensor,
  readSoftmax,
  type SoftmaxCall,
  type SoftmaxTensors,
} from "./plan.ts";
import { softmaxOperations, type SoftmaxPiece, type SoftmaxPlan } from "./tokens.ts";

/** A tensor that was made, as it is read. */
export function placedOf({ data, shape, dtype = "f32" }: AnyTensor): PlacedTensor {
  const held = isGpuBuffer(data) ? data : new HeldArray<Elements>(data);
  return { data: held, dtype, shape, strides: contiguousStrides(shape), offset: 0 };
}

/** What a call makes for its result; `apart` where `out` cannot be written while `x` is read. */
function resultsOf(call: SoftmaxCall): Record<string, NewTensor> {
  const { x, mask, out, outShape, resultType } = call;
  if (out === null) return { out: { like: x.data, shape: outShape, dtype: resultType } };
  const overlaps = mayOverlapAny(out, [x, mask]) && !isInPlace(out, x);
  return overlaps ? { apart: { like: out.data, shape: outShape, dtype: out.dtype } } : {};
}

/** Every piece of some tensors over the shape of a call's `x`. */
export function piecesOf<T extends PlacedTensor>(
  { x, axis }: Pick<SoftmaxCall, "x" | "axis">,
  tensors: readonly (T & Spread)[],
): AnyView[][] {
  const pieces = cutPieces(x.shape, axis, tensors);
  return pieces.map((piece) =>
    piece.map((place: Piece, at) => ({
      ...place,
      data: tensors[at].data,
      dtype: tensors[at].dtype,
    } as AnyView))
  );
}

/** The rows of a call whose result goes to `out`. */
function targetOf(call: SoftmaxCall, out: PlacedTensor): readonly SoftmaxPiece[] {
  const { what, x, mask, axis } = call, written = what === "logSumExp" ? withAxis(out, axis) : out;
  const all = [x, written, ...(mask === null ? [] : [mask as unknown as PlacedTensor])];
  return piecesOf(call, all).map(([x, out, mask = null]) => ({ x, out, mask } as SoftmaxPiece));
}

/** What backends know of a call. */
function planOf(call: SoftmaxCall): SoftmaxPlan {
  const { what, scale, x, mask, out } = call;
  return { what, scale, used: { x, mask, out }, rows: countRows(call) };
}

/** Copies a result to where the caller wants it. */
function copyTo(call: SoftmaxCall, apart: AnyTensor): void {
  const { out, what, axis } = call,
    spread = (tensor: PlacedTensor) => what === "logSumExp" ? withAxis(tensor, axis) : tensor;
  for (const [from, to] of piecesOf(call, [spread(placedOf(apart)), spread(out!)])) {
    copyView(from as View, to as View);
  }
}

/** What becomes of a call. */
function placed(call: SoftmaxCall): Call<SoftmaxPlan, readonly SoftmaxPiece[], AnyTensor> {
  return {
    operation: softmaxOperations[call.what] as Operation<SoftmaxPlan, readonly SoftmaxPiece[]>,
    plan: planOf(call),
    control: call.control,
    results: resultsOf(call),
    target({ out, apart }: Made) {
      const made = out ?? apart;
      return targetOf(call, made === undefined ? call.out! : placedOf(made));
    },
    finish({ out, apart }: Made) {
      if (apart !== undefined) copyTo(call, apart);
      return out ?? call.given!;
    },
  };
}

/** Computes what is asked of tensors that were read, and are in use until it settles. */
export async function runSoftmax(
  asked: Machinery | Promise<Machinery>,
  what: SoftmaxResult,
  tensors: SoftmaxTensors,
  options: SoftmaxOptions,
): Promise<{ readonly out: AnyTensor }> {
  return { out: await runCall(asked, readSoftmax(what, tensors, options)) };
}

/** The same of a call that was checked. */
export function runCall(
  asked: Machinery | Promise<Machinery>,
  call: SoftmaxCall,
): Promise<AnyTensor> {
  return runUsed(asked, placed(call));
}
