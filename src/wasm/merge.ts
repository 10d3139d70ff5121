/**
 * Merging results over disjoint keys.
 *
 * @module
 */

import type { HostTarget } from "../operations/attention/target.ts";
import { copyRowsOut } from "../tensor/rows.ts";
import type { View } from "../tensor/tensor.ts";
import type { Machine } from "./team/machine.ts";
import { copyIn, copyOut, mostRows, type Rows, rowsOf, withNumbers } from "./memory/rows.ts";
import { elementsOver } from "./memory/tensor.ts";
import { storageOf } from "./record/job_record.ts";

/** The `lse` of a row. */
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
  { kernels, arena }: Machine,
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
