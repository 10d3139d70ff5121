/**
 * Rotating rows by their positions.
 *
 * @module
 */

import type { Rotation } from "../operations/rope/rotation.ts";
import { bytesPerElement } from "../tensor/dtype.ts";
import { sizeOf, type View } from "../tensor/tensor.ts";
import type { Machine } from "./team/machine.ts";
import { copyIn, copyOut, mostRows, rowsOf, withNumbers } from "./memory/rows.ts";
import { elementsOver } from "./memory/tensor.ts";
import { storageOf } from "./record/job_record.ts";

/** Rotates the rows of every tensor, in place. */
export function rotateRows({ kernels, arena }: Machine, rotation: Rotation): void {
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
