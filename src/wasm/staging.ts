/**
 * Staging: rows of the caller's tensors on their way into linear memory and back. A tensor that
 * lives in linear memory already is read where it is.
 *
 * @module
 */

import { reach, type View } from "../tensor.ts";

/** Where a tensor lives in linear memory, and its strides in bytes. */
export interface Resident {
  readonly at: number;
  readonly strides: View["strides"];
}

/** Finds a tensor in linear memory; `undefined` when it lives elsewhere. */
export function locate(view: View, memory: WebAssembly.Memory): Resident | undefined {
  if (view.data.buffer !== memory.buffer) return undefined;
  const last = reach(view)?.[1] ?? 0;
  const at = view.data.byteOffset + view.offset * 4;
  // Kernels read four columns at a time: a view that ends with the memory itself is copied.
  if (view.data.byteOffset + (last + 4) * 4 > memory.buffer.byteLength) return undefined;
  return { at, strides: view.strides.map((n) => n * 4) as unknown as View["strides"] };
}

/** Element of `data` at which row `n` of head `h` of batch `b` begins. */
function rowAt(view: View, b: number, h: number, n: number): number {
  const { offset, strides } = view;
  return offset + b * strides[0] + h * strides[1] + n * strides[2];
}

/** Copies the rows `from` to `to` of one head, contiguous, to `target`. */
export function copyRowsIn(
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
  target: Float32Array,
): void {
  const { data, shape, strides } = view;
  const width = shape[3];
  const start = rowAt(view, b, h, from);
  if (strides[3] === 1 && (strides[2] === width || to - from === 1)) {
    target.set(data.subarray(start, start + (to - from) * width));
    return;
  }
  for (let n = from, at = 0; n < to; n++, at += width) {
    const row = rowAt(view, b, h, n);
    if (strides[3] === 1) target.set(data.subarray(row, row + width), at);
    else for (let d = 0; d < width; d++) target[at + d] = data[row + d * strides[3]];
  }
}

/** Copies contiguous rows from `source` to the rows `from` to `to` of one head. */
export function copyRowsOut(
  source: Float32Array,
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
): void {
  const { data, shape, strides } = view;
  const width = shape[3];
  const start = rowAt(view, b, h, from);
  if (strides[3] === 1 && (strides[2] === width || to - from === 1)) {
    data.set(source.subarray(0, (to - from) * width), start);
    return;
  }
  for (let n = from, at = 0; n < to; n++, at += width) {
    const row = rowAt(view, b, h, n);
    if (strides[3] === 1) data.set(source.subarray(at, at + width), row);
    else for (let d = 0; d < width; d++) data[row + d * strides[3]] = source[at + d];
  }
}
