/**
 * Uploads: how arrays are laid out in buffers. Rows of tensors are padded to whole vectors; of a bias or a
 * mask the elements that are reached come as they lie, never expanded.
 *
 * @module
 */

import type { HeldArray } from "../../tensor/arrays.ts";
import { bytesPerElement, type Elements, type StorageType } from "../../tensor/dtype.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import type { AnyView, Broadcast, Extents, View } from "../../tensor/tensor.ts";
import { type Box, count, denseStrides, reachOf, shapeOf, wholeOf } from "./box.ts";
import { extent } from "./regions.ts";

/** How elements lie in a buffer, of how many bytes, and what writes them there. */
export interface Upload extends Broadcast {
  readonly dtype: StorageType;
  readonly bytes: number;
  write(queue: GPUQueue, buffer: GPUBuffer): void;
}

/** Bytes that are gathered at once before they are uploaded. */
export const gatherBytes = 4 * 1024 * 1024;

/** Columns of a row as it is uploaded: whole vectors. */
export function paddedColumns(view: AnyView): number {
  return Math.ceil(view.shape[3] / 4) * 4;
}

/** The rows of a box of a tensor. */
export function uploadOf(view: View, { batch, heads, rows }: Box): Upload {
  const { dtype } = view, box = { batch, heads, rows };
  const shape = shapeOf(box, paddedColumns(view));
  return {
    ...{ dtype, shape, strides: denseStrides(shape), offset: 0 },
    bytes: count(box) * shape[3] * bytesPerElement(dtype),
    write: (queue, buffer) => uploadRows(queue, buffer, view, box),
  };
}

/** Writes the rows of a box into a buffer, one after the other, each padded to whole vectors. */
export function uploadRows(queue: GPUQueue, buffer: GPUBuffer, view: View, box: Box): void {
  const columns = paddedColumns(view), bytes = bytesPerElement(view.dtype);
  const atOnce = Math.max(1, Math.floor(gatherBytes / (columns * bytes)));
  const gathered = newElements(view, Math.min(atOnce, extent(box.rows)) * columns);
  let target = 0;
  for (let b = box.batch[0]; b < box.batch[1]; b++) {
    for (let h = box.heads[0]; h < box.heads[1]; h++) {
      for (let from = box.rows[0]; from < box.rows[1]; from += atOnce) {
        const to = Math.min(from + atOnce, box.rows[1]);
        const part = gathered.subarray(0, (to - from) * columns);
        gatherRows(view, b, h, from, to, part, columns);
        queue.writeBuffer(buffer, target, part);
        target += part.byteLength;
      }
    }
  }
}

export function newElements(view: View, length: number): Elements & { buffer: ArrayBuffer } {
  return view.dtype === "f32" ? new Float32Array(length) : new Uint16Array(length);
}

export function gatherRows(
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
  target: Elements,
  columns: number,
): void {
  if (columns === view.shape[3]) return copyRowsIn(view, b, h, from, to, target);
  for (let n = from; n < to; n++) {
    const at = (n - from) * columns;
    copyRowsIn(view, b, h, n, n + 1, target.subarray(at, at + view.shape[3]));
  }
}

type ArrayData = Float32Array | Uint8Array | Uint32Array;

/** A bias or a mask in an array. */
export interface ScoreArray extends Broadcast {
  readonly data: HeldArray<ArrayData>;
  readonly dtype: StorageType;
}

/** As many elements from each of the firsts on. */
function uploadElements(
  view: ScoreArray,
  shape: Extents,
  strides: Extents,
  firsts: readonly number[],
  elements: number,
): Upload {
  const { dtype } = view, words = Math.ceil(elements * bytesPerElement(dtype) / 4);
  return {
    ...{ dtype, shape, strides, offset: 0, bytes: firsts.length * words * 4 },
    write: (queue, buffer) => {
      for (const [index, first] of firsts.entries()) {
        uploadWords(queue, buffer, index * words * 4, view, first, words);
      }
    },
  };
}

/** All that a bias or a mask reaches. */
export function wholeUpload(view: ScoreArray): Upload {
  const { first, count } = reachOf(view, wholeOf(view));
  return uploadElements(view, view.shape, view.strides, [first], count);
}

/** A box by itself: heads apart from each other come side by side, each beginning with a word. */
export function compactUpload(view: ScoreArray, box: Box): Upload {
  const { strides } = view, { batch, heads } = box;
  const { count: reached } = reachOf(view, { ...box, batch: [0, 1], heads: [0, 1] });
  const head = Math.ceil(reached / 32) * 32;
  // What is the same for all comes once.
  const batches = strides[0] === 0 ? 1 : extent(batch),
    perBatch = strides[1] === 0 ? 1 : extent(heads);
  const { first } = reachOf(view, box);
  const firsts = Array.from(
    { length: batches * perBatch },
    (_, index) => first + Math.floor(index / perBatch) * strides[0] + index % perBatch * strides[1],
  );
  const laid: Extents = [
    ...[batches === 1 ? 0 : perBatch * head, perBatch === 1 ? 0 : head] as const,
    ...[strides[2], strides[3]] as const,
  ];
  return uploadElements(view, shapeOf(box, view.shape[3]), laid, firsts, head);
}

/** Writes the elements from `first` on into so many words of a buffer. */
function uploadWords(
  queue: GPUQueue,
  buffer: GPUBuffer,
  target: number,
  { data, dtype }: ScoreArray,
  first: number,
  words: number,
): void {
  const elements = data.now();
  const gathered = new Uint32Array(Math.min(words, gatherBytes / 4));
  for (let from = 0; from < words; from += gathered.length) {
    const part = gathered.subarray(0, Math.min(gathered.length, words - from));
    readWords(elements, dtype, first + from * 4 / bytesPerElement(dtype), part);
    queue.writeBuffer(buffer, target + from * 4, part);
  }
}

/** Copies elements as they lie, to where a word begins. What is past the array's end is left. */
export function readWords(
  data: ArrayData,
  dtype: StorageType,
  first: number,
  target: Uint32Array<ArrayBuffer>,
): void {
  if (dtype === "bit") return readBits(data, first, target);
  const { buffer, byteOffset, byteLength } = target;
  const to = data instanceof Float32Array
    ? new Float32Array(buffer, byteOffset, target.length)
    : new Uint8Array(buffer, byteOffset, byteLength);
  to.set(data.subarray(first, first + to.length));
}

function readBits(data: ArrayData, first: number, target: Uint32Array): void {
  const from = Math.floor(first / 32), shift = first % 32;
  if (shift === 0) return target.set(data.subarray(from, from + target.length));
  for (let word = 0; word < target.length; word++) {
    target[word] = data[from + word] >>> shift | data[from + word + 1] << 32 - shift;
  }
}
