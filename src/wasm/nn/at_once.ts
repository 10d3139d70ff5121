/**
 * Jobs on rows that are in linear memory already, by the calling thread: nothing is staged and nothing handed out, so that
 * a small call is its kernel and little else.
 *
 * @module
 */

import { bytesPerElement } from "../../tensor/dtype.ts";
import type { View } from "../../tensor/tensor.ts";
import type { NnKernels } from "../binary/nn_kernels.gen.ts";
import { type JobRecord, storageOf } from "../record/job_record.ts";
import type { Place } from "../rows/places.ts";
import type { Machine } from "../team/machine.ts";
import { jobRecord, layersProgram } from "./program.ts";

/** Whether all of some views are in linear memory. */
export function areHere({ arena }: Machine, views: readonly (View | null)[]): boolean {
  return views.every((view) => view === null || view.data.lender === arena);
}

/** Where the rows of a view are from one on, which are in linear memory. */
export function placeHere(
  { data, dtype, offset, strides: [, , row, element] }: View,
  from: number,
): Place {
  const bytes = bytesPerElement(dtype);
  return {
    stays: true,
    at: data.byteOffset + (offset + from * row) * bytes,
    element: element * bytes,
    row: row * bytes,
    storage: storageOf[dtype],
  };
}

/** Runs jobs of some rows each, at most; `tell` says what one is. The first has as many as any. */
export function runAtOnce(
  machine: Machine,
  rows: number,
  most: number,
  tell: (record: JobRecord, from: number, to: number) => void,
): void {
  const { kernels, arena, programs } = machine, at = kernels.callRecord();
  const layers = programs[layersProgram(machine)].kernels as NnKernels;
  let scratch: number | undefined;
  try {
    for (let from = 0; from < rows; from += most) {
      tell(jobRecord(arena, at), from, Math.min(rows, from + most));
      scratch ??= arena.allocate(layers.scratchBytes(at) >>> 0);
      layers.run(at, scratch);
    }
  } finally {
    if (scratch !== undefined) arena.free(scratch);
  }
}
