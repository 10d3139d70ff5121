/**
 * Whole rows that pass through linear memory some at a time, so that it holds for tensors of any size and
 * stride.
 *
 * @module
 */

import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import { type Arena, roundUp } from "./arena.ts";
import { elementsOver } from "./tensor.ts";

/** Rows that pass at once. */
export const mostRows = 64;

/** Some rows of one head. */
export interface Rows {
  readonly batch: number;
  readonly head: number;
  readonly from: number;
  readonly to: number;
}

/** The rows of a view, some at a time. */
export function* rowsOf({ shape: [batches, heads, rows] }: View): Generator<Rows> {
  for (let batch = 0; batch < batches; batch++) {
    for (let head = 0; head < heads; head++) {
      for (let from = 0; from < rows; from += mostRows) {
        yield { batch, head, from, to: Math.min(rows, from + mostRows) };
      }
    }
  }
}

/** Takes memory for some f32 numbers of each kind, and frees it whatever happens. */
export function withNumbers(
  arena: Arena,
  counts: readonly number[],
  work: (...at: number[]) => void,
): void {
  const sizes = counts.map((count) => roundUp(count * 4, 16));
  const base = arena.allocate(sizes.reduce((sum, size) => sum + size, 0));
  let end = base;
  try {
    work(...sizes.map((size) => (end += size) - size));
  } finally {
    arena.free(base);
  }
}

/** Copies rows of a view into linear memory. */
export function copyIn(
  view: View,
  { batch, head, from, to }: Rows,
  arena: Arena,
  at: number,
): void {
  const rows = elementsOver(arena, at, (to - from) * view.shape[3], view.dtype);
  copyRowsIn(view, batch, head, from, to, rows);
}

/** Copies them back. */
export function copyOut(
  view: View,
  { batch, head, from, to }: Rows,
  arena: Arena,
  at: number,
): void {
  const rows = elementsOver(arena, at, (to - from) * view.shape[3], view.dtype);
  copyRowsOut(rows, view, batch, head, from, to);
}
