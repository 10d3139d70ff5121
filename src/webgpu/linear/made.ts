/**
 * Keys and values that a call makes for itself on a GPU: f32, in buffers that it borrows.
 *
 * @module
 */

import {
  type AnyView,
  contiguousStrides,
  type Extents,
  sizeOf,
  type View,
} from "../../tensor/tensor.ts";
import type { TensorPlan } from "../../operations/attention/plan.ts";
import { roles } from "../device/buffers.ts";
import type { Loan } from "../device/submission.ts";
import type { Box } from "../transfer/box.ts";

/** A tensor in a buffer that a call has borrowed. */
export async function borrow(loan: Loan, name: string, shape: Extents): Promise<View<GPUBuffer>> {
  const data = await loan.take(Math.max(16, sizeOf(shape) * 4), roles.storage, name);
  const strides = contiguousStrides(shape) as unknown as Extents;
  return { data, dtype: "f32", offset: 0, shape, strides };
}

/** The plan of attention to what was made. */
export function planOver(
  forward: TensorPlan,
  k: View<GPUBuffer>,
  v: View<GPUBuffer>,
): TensorPlan {
  return { ...forward, kv: { kind: "tensors", k, v } };
}

/** Throws where a box that cannot be cut any further takes more than a binding has. */
export function checkBox(loan: Loan, cannot: string, bytes: readonly number[]): void {
  const { bindingBytes } = loan.session.bounds, most = Math.max(...bytes);
  if (most <= bindingBytes) return;
  throw new RangeError(
    `${cannot}: one head reaches over ${most} bytes, a shader of this GPU has at most ` +
      `${bindingBytes} of a buffer: the wasm backend takes it`,
  );
}

/** The part of what all batches have in common, and all heads where there is one, that a box needs. */
export function sharedBox({ shape: [, heads] }: AnyView, box: Box, rows: Box["rows"]): Box {
  return { batch: [0, 1], heads: heads === 1 ? [0, 1] : box.heads, rows };
}

/** Where that is, as a shader reads it for every batch and head. */
export function sharedBound<Placed extends { readonly strides: Extents }>(
  { shape: [, heads] }: AnyView,
  placed: Placed,
): Placed {
  const [, head, row, column] = placed.strides;
  return { ...placed, strides: [0, heads === 1 ? 0 : head, row, column] };
}
