/**
 * Rows of the caller's arrays on their way into a backend's memory and back.
 *
 * @module
 */

import type { Elements } from "./dtype.ts";
import type { View } from "./tensor.ts";

/** Element of `data` at which row `n` of head `h` of batch `b` begins. */
function rowAt(view: View, b: number, h: number, n: number): number {
  const { offset, strides } = view;
  return offset + b * strides[0] + h * strides[1] + n * strides[2];
}

/** Elements of a page of memory, 4 KiB of f32. */
const pageElements = 1024;

/** Copies the rows `from` to `to` of one head, contiguous, to `target`. */
export function copyRowsIn(
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
  target: Elements,
): void {
  const { shape, strides, data: held } = view, width = shape[3];
  const start = rowAt(view, b, h, from);
  if (strides[3] === 1 && (strides[2] === width || to - from === 1)) {
    const rows = held.part(start, start + (to - from) * width);
    // What reads ahead stops where a page of memory does: so each is begun before the first is copied.
    for (let at = 0; at < rows.length; at += pageElements) target[at] = rows[at];
    target.set(rows);
    return;
  }
  const data = held.now();
  for (let n = from, at = 0; n < to; n++, at += width) {
    const row = rowAt(view, b, h, n);
    if (strides[3] === 1) target.set(data.subarray(row, row + width), at);
    else for (let d = 0; d < width; d++) target[at + d] = data[row + d * strides[3]];
  }
}

/** Copies contiguous rows from `source` to the rows `from` to `to` of one head. */
export function copyRowsOut(
  source: Elements,
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
): void {
  const { shape, strides, data: held } = view, width = shape[3];
  const start = rowAt(view, b, h, from);
  if (strides[3] === 1 && (strides[2] === width || to - from === 1)) {
    const count = (to - from) * width;
    const rows = source.length === count ? source : source.subarray(0, count);
    held.part(start, start + count, "`out`'s").set(rows);
    return;
  }
  const data = held.now("`out`'s");
  for (let n = from, at = 0; n < to; n++, at += width) {
    const row = rowAt(view, b, h, n);
    if (strides[3] === 1) data.set(source.subarray(at, at + width), row);
    else for (let d = 0; d < width; d++) data[row + d * strides[3]] = source[at + d];
  }
}
