/**
 * Boxes: parts of tensors, of biases and of masks, and where they are in a buffer.
 *
 * @module
 */

import { bytesPerElement, type StorageType } from "../../tensor/dtype.ts";
import type { Broadcast, Extents } from "../../tensor/tensor.ts";
import type { Binding } from "../device/buffers.ts";
import type { Loan, Returned, Submission } from "../device/submission.ts";
import { extent, type Range } from "./regions.ts";

/** Part of a tensor, or of what there is for each score. */
export interface Box {
  readonly batch: Range;
  readonly heads: Range;
  readonly rows: Range;
  /** The keys of scores; of tensors all columns. */
  readonly columns?: Range;
}

/** A box as a shader sees it: a binding, and where in it the box begins, in elements. */
export interface Bound extends Returned {
  readonly at: number;
  readonly strides: Extents;
  /** Of `lse`: elements from there to what rounding took from it; and how both come to the caller's buffers. */
  readonly restAt?: number;
  readonly copyOut?: (submission: Submission) => void;
}

/** A tensor, a bias or a mask in a buffer. */
export interface Buffered extends Broadcast {
  readonly data: GPUBuffer;
  readonly dtype: StorageType;
}

/** Rows of a box. */
export function count({ batch, heads, rows }: Box): number {
  return extent(batch) * extent(heads) * extent(rows);
}

export function isEmpty(box: Box): boolean {
  return count(box) === 0 || box.columns !== undefined && extent(box.columns) === 0;
}

export function wholeOf({ shape: [batch, heads, rows, columns] }: Pick<Broadcast, "shape">) {
  return {
    ...{ batch: [0, batch], heads: [0, heads], rows: [0, rows], columns: [0, columns] },
  } as const satisfies Box;
}

/** Shape of a box of so many columns, unless it says itself how many. */
export function shapeOf({ batch, heads, rows, columns }: Box, width: number): Extents {
  return [
    extent(batch),
    extent(heads),
    extent(rows),
    columns === undefined ? width : extent(columns),
  ];
}

/** Strides of what lies without gaps. */
export function denseStrides([, heads, rows, columns]: Extents): Extents {
  return [heads * rows * columns, rows * columns, columns, 1];
}

/** The first element of a box, and how many there are from there to its last. */
export function reachOf(
  { shape, strides, offset }: Broadcast,
  box: Box,
): { readonly first: number; readonly count: number } {
  const firsts = [box.batch[0], box.heads[0], box.rows[0], box.columns?.[0] ?? 0];
  let first = offset, count = 1;
  for (const [axis, extent] of shapeOf(box, shape[3]).entries()) {
    first += firsts[axis] * strides[axis];
    count += (extent - 1) * strides[axis];
  }
  return { first, count };
}

/** The part of a buffer that has some elements. It begins at a multiple of `alignment` bytes. */
export function bindingOf(
  { data: buffer, dtype }: Pick<Buffered, "data" | "dtype">,
  first: number,
  end: number,
  alignment: number,
): Binding {
  const bytes = bytesPerElement(dtype), offset = Math.floor(first * bytes / alignment) * alignment;
  const last = Math.min(buffer.size, Math.ceil(end * bytes / 16) * 16);
  return { buffer, offset, size: last - offset };
}

/** Where a box of a buffer is. */
export function boundOf(view: Buffered, box: Box, alignment: number): Bound {
  const { first, count } = reachOf(view, box), { strides } = view;
  const binding = bindingOf(view, first, first + count, alignment);
  return { ...binding, at: first - binding.offset / bytesPerElement(view.dtype), strides };
}

/** What a shader has nothing to read of or write to. */
export async function emptyBound(loan: Loan): Promise<Bound> {
  return { ...await loan.room(256, "nothing"), at: 0, strides: [0, 0, 0, 0] };
}
