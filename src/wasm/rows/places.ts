/**
 * Where rows are while kernels work on them: where the caller has them, if that is linear memory, or in a place of a
 * call's block.
 *
 * @module
 */

import { bytesPerElement } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Arena } from "../memory/arena.ts";
import type { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { elementsOver, locate } from "../memory/tensor.ts";
import { type JobRecord, storageOf } from "../record/job_record.ts";

/** A place of rows. */
export interface Place {
  /** Whether they are where the caller has them; else they are staged at so many bytes from a block's begin. */
  readonly stays: boolean;
  readonly at: number;
  /** Bytes from one element to the next, and from one row. */
  readonly element: number;
  readonly row: number;
  readonly storage: number;
}

/** Finds the place of rows, or reserves one. */
export function placeRows(view: View, rows: Rows, arena: Arena, space: Placer): Place {
  const { batch, head, from, to } = rows, storage = storageOf[view.dtype];
  const resident = locate(view, arena);
  if (resident !== undefined) {
    const { at, strides: [b, h, n, d] } = resident;
    return { stays: true, at: at + batch * b + head * h + from * n, element: d, row: n, storage };
  }
  const element = bytesPerElement(view.dtype), row = view.shape[3] * element;
  return { stays: false, at: space.place((to - from) * row), element, row, storage };
}

/** Where a place is in a block that begins at `base`. */
export function addressOf({ stays, at }: Place, base: number): number {
  return stays ? at : base + at;
}

/** Brings rows to their place. */
export function stageRows(place: Place, view: View, rows: Rows, arena: Arena, base: number): void {
  if (place.stays) return;
  const { batch, head, from, to } = rows;
  const target = elementsOver(arena, base + place.at, (to - from) * view.shape[3], view.dtype);
  copyRowsIn(view, batch, head, from, to, target);
}

/** Brings results from their place to where the caller wants them. */
export function collectRows(
  place: Place,
  view: View,
  rows: Rows,
  arena: Arena,
  base: number,
): void {
  if (place.stays) return;
  const { batch, head, from, to } = rows;
  const source = elementsOver(arena, base + place.at, (to - from) * view.shape[3], view.dtype);
  copyRowsOut(source, view, batch, head, from, to);
}

/** Says in a record where rows are, from a field on, in the order of `headRowsFields`. */
export function writePlace(record: JobRecord, field: number, place: Place, base: number): void {
  record.set(field, addressOf(place, base));
  record.set(field + 1, place.element);
  record.set(field + 2, place.storage);
  record.set(field + 3, place.row);
}
