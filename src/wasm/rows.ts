/**
 * Whole rows beside attention: merging of parts, rotation. Rows pass through linear memory some at a
 * time, so that it holds for tensors of any size and stride.
 *
 * @module
 */

import type { HostTarget, Rotation } from "../backend.ts";
import { bytesPerElement } from "../dtype.ts";
import { copyRowsIn, copyRowsOut } from "../rows.ts";
import { sizeOf, type View } from "../tensor.ts";
import { type Arena, roundUp } from "./arena.ts";
import { storageOf } from "./job_record.ts";
import type { Kernels } from "./module.ts";
import { elementsOver } from "./tensor.ts";

interface RowMachine {
  readonly kernels: Kernels;
  readonly arena: Arena;
}

/** Rows that pass at once. */
const mostRows = 64;

/** Some rows of one head. */
interface Rows {
  readonly batch: number;
  readonly head: number;
  readonly from: number;
  readonly to: number;
}

function* rowsOf({ shape: [batches, heads, rows] }: View): Generator<Rows> {
  for (let batch = 0; batch < batches; batch++) {
    for (let head = 0; head < heads; head++) {
      for (let from = 0; from < rows; from += mostRows) {
        yield { batch, head, from, to: Math.min(rows, from + mostRows) };
      }
    }
  }
}

/** Takes memory for some f32 numbers of each kind, and frees it whatever happens. */
function withNumbers(
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

/** A view's rows in linear memory, and back. */
function copyIn(view: View, { batch, head, from, to }: Rows, arena: Arena, at: number): void {
  const rows = elementsOver(arena, at, (to - from) * view.shape[3], view.dtype);
  copyRowsIn(view, batch, head, from, to, rows);
}

function copyOut(view: View, { batch, head, from, to }: Rows, arena: Arena, at: number): void {
  const rows = elementsOver(arena, at, (to - from) * view.shape[3], view.dtype);
  copyRowsOut(rows, view, batch, head, from, to);
}

function lseAt({ data, offset, strides }: View, { batch, head }: Rows, row: number): number {
  return data.now()[offset + batch * strides[0] + head * strides[1] + row * strides[2]];
}

/** Writes the weight of each part in one row, by its lse; returns that of all of them. */
function weigh(lses: readonly number[], weights: Float32Array, row: number): number {
  const most = Math.max(...lses);
  const all = most === -Infinity
    ? most
    : most + Math.log(lses.reduce((sum, lse) => sum + Math.exp(lse - most), 0));
  for (const [part, lse] of lses.entries()) {
    weights[part * mostRows + row] = lse === -Infinity ? 0 : Math.exp(lse - all);
  }
  return all;
}

/** `lse = log sum exp lse_p`, `out = sum exp(lse_p - lse) out_p`: Milakov and Gimelshein, 1805.02867. */
export function mergeParts(
  { kernels, arena }: RowMachine,
  parts: readonly HostTarget[],
  { out, lse }: HostTarget,
): void {
  const width = out.shape[3], numbers = mostRows * width;
  withNumbers(arena, [numbers, numbers, parts.length * mostRows], (sum, row, table) => {
    const weights = new Float32Array(arena.memory.buffer, table, parts.length * mostRows);
    for (const some of rowsOf(out)) {
      const { from, to } = some, count = to - from;
      for (let at = 0; at < count; at++) {
        const lses = parts.map((part) => lseAt(part.lse!, some, from + at));
        copyRowsOut(
          Float32Array.of(weigh(lses, weights, at)),
          ...[lse!, some.batch, some.head, from + at, from + at + 1] as const,
        );
      }
      elementsOver(arena, sum, count * width, "f32").fill(0);
      for (const [index, part] of parts.entries()) {
        copyIn(part.out, some, arena, row);
        const storage = storageOf[part.out.dtype];
        kernels.addRows(storage, row, count, width, table + index * mostRows * 4, sum);
      }
      kernels.storeRow(storageOf[out.dtype], sum, row, count * width);
      copyOut(out, some, arena, row);
    }
  });
}

/** Rotates the rows of every tensor, in place. */
export function rotateRows({ kernels, arena }: RowMachine, rotation: Rotation): void {
  const { pairs, interleaved, table, batchStride } = rotation, perRow = pairs * 2;
  const views = rotation.views as View[], width = views[0].shape[3];
  if (sizeOf(views[0].shape) === 0) return;
  withNumbers(arena, [mostRows * width, mostRows * perRow], (row, angles) => {
    for (const view of views) {
      const element = bytesPerElement(view.dtype);
      const rows = kernels.headRows(0, row, element, storageOf[view.dtype], width * element);
      for (const some of rowsOf(view)) {
        const count = some.to - some.from, first = some.batch * batchStride + some.from * perRow;
        copyIn(view, some, arena, row);
        elementsOver(arena, angles, count * perRow, "f32")
          .set(table.subarray(first, first + count * perRow));
        const [step, apart] = interleaved ? [2, 1] : [1, pairs];
        kernels.rotateRows(rows, count, angles, pairs, step, apart);
        copyOut(view, some, arena, row);
      }
    }
  });
}
