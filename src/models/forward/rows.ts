/**
 * Rows of a pass as backends see them: who made the rows knows that they fit, so that nothing of them is read and checked
 * at every call.
 *
 * @module
 */

import type { Operation } from "../../contract/operation.ts";
import type { Call } from "../../operations/call.ts";
import type { RowsPiece, RowsPlan } from "../../operations/nn/tokens.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { type Elements, isGpuBuffer } from "../../tensor/dtype.ts";
import type { AnyTensor, ReadData, View } from "../../tensor/tensor.ts";

/** Arrays over an engine's memory are the same ones until it grows. */
const held = /* @__PURE__ */ new WeakMap<object, HeldArray<Elements>>();

function dataOf({ data }: AnyTensor): ReadData {
  if (isGpuBuffer(data)) return data;
  const known = held.get(data);
  if (known !== undefined) return known;
  const made = new HeldArray<Elements>(data as Elements);
  held.set(data, made);
  return made;
}

/** Rows `[rows, columns]`, or the only one. */
export function viewOf(tensor: AnyTensor): View {
  const { dtype = "f32", shape, strides, offset = 0 } = tensor, isRow = shape.length === 1;
  const [rows, columns] = isRow ? [1, shape[0]] : shape;
  const [row, element] = isRow ? [0, strides?.[0] ?? 1] : strides ?? [columns, 1];
  return {
    data: dataOf(tensor) as View["data"],
    ...{ dtype, offset, shape: [1, 1, rows, columns], strides: [0, 0, row, element] },
  };
}

/** The same of what may be none. */
export function viewOrNone(tensor: AnyTensor | null | undefined): View | null {
  return tensor ? viewOf(tensor) : null;
}

/** A call on one piece whose result has its place. */
export function callOn<Plan extends RowsPlan>(
  operation: Operation<Plan, readonly RowsPiece[]>,
  plan: Omit<Plan, "used" | "rows">,
  piece: Omit<RowsPiece, "sum">,
  also: RowsPlan["used"],
): Call<Plan, readonly RowsPiece[], void> {
  const { x, y, out } = piece, used = { x, y, out, ...also }, [, , rows] = x.shape;
  return {
    ...{ operation, plan: { ...plan, used, rows } as unknown as Plan, control: {}, results: {} },
    target: () => [{ x, y, out, sum: null }],
    finish: () => {},
  };
}
