/**
 * Rotating rows by their positions on WebGPU.
 *
 * @module
 */

import type { Rotation } from "../operations/rope/rotation.ts";
import type { DType } from "../tensor/dtype.ts";
import { type AnyView, isOnHost } from "../tensor/tensor.ts";
import { type Course, withCourse } from "./device/course.ts";
import type { Machine } from "./device/machine.ts";
import { pipelineOf } from "./device/pipelines.ts";
import { encode } from "./shader/parameters.ts";
import { codeOf } from "./shader/sources.ts";
import type { Box } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads } from "./transfer/rows.ts";
import { sinkOf } from "./transfer/sink.ts";
import { uploadRows } from "./transfer/upload.ts";

const fields = {
  rows: "tensor",
  end_row: "u32",
  pairs: "u32",
  /** Pairs of an angle's cosine and sine from one batch to the next. */
  turn_batch: "u32",
} as const;

/** The WGSL of the shader that rotates rows; `words` where pairs of neighbours are words of 16 bits. */
function ropeCode(dtype: DType, words: boolean, interleaved: boolean): string {
  const constants: Record<string, number> = { THREADS: rowThreads, [`rows_${dtype}`]: 1 };
  if (words) constants.WORDS = 1;
  if (interleaved) constants.INTERLEAVED = 1;
  return codeOf("rope.wgsl", fields, constants);
}

/** Whether the elements that a thread turns are whole words. */
function isInWords({ dtype, strides, offset }: AnyView, pairs: number): boolean {
  return dtype !== "f32" && strides[3] === 1 && pairs % 2 === 0 &&
    [offset, ...strides.slice(0, 3)].every((one) => one % 2 === 0);
}

/** Rotates rows in place. */
export function rotateRows(machine: Machine, rotation: Rotation): Promise<void> {
  return withCourse(machine, "rope", "Cannot rotate", async (course) => {
    for (const view of rotation.views) await rotateView(course, view, rotation);
  });
}

/** Rotates the rows of a view. */
export async function rotateView(
  course: Course,
  view: AnyView,
  { table, batchStride, pairs, interleaved }: Rotation,
): Promise<void> {
  const { loan, submission } = course, { session } = loan, { gpu } = session;
  const sink = sinkOf(view, loan, "rows");
  // As they are uploaded rows are padded to whole vectors.
  const words = isOnHost(view) ? view.dtype !== "f32" && pairs % 2 === 0 : isInWords(view, pairs);
  const pipeline = await pipelineOf(gpu, ropeCode(view.dtype, words, interleaved), "rope");
  const turnsOf = ({ batch, rows }: Box) =>
    table.subarray(
      batch[0] * batchStride + rows[0] * pairs * 2,
      (batch[1] - 1) * batchStride + rows[1] * pairs * 2,
    );
  const threads = Math.ceil(pairs / 2);
  const bytes = (box: Box) => [sink.bytes(box), turnsOf(box).byteLength];
  for (const box of rowBoxes(session, view.shape, threads, bytes)) {
    const turns = turnsOf(box), angles = await loan.room(turns.byteLength, "angles");
    const bound = await sink.place(box);
    loan.attempt(() => {
      gpu.device.queue.writeBuffer(angles.buffer, 0, turns as Float32Array<ArrayBuffer>);
      if (isOnHost(view)) uploadRows(gpu.device.queue, bound.buffer, view, box);
    });
    const uniforms = encode(fields, {
      rows: bound,
      ...{ pairs, end_row: extent(box.rows), turn_batch: batchStride / 2 },
    });
    submission.dispatch(pipeline, uniforms, [angles, null, null, bound], gridOf(box, threads));
    submission.copyBack(bound, (bytes) => sink.collect(box, bytes));
    submission.free(angles.buffer);
    await course.end(0, true);
  }
}
