/**
 * Rotating rows by their positions on WebGPU.
 *
 * @module
 */

import type { Rotation } from "../operations/rope/rotation.ts";
import type { DType } from "../tensor/dtype.ts";
import { type AnyView, isOnHost } from "../tensor/tensor.ts";
import { roles } from "./device/buffers.ts";
import { pipelineOf } from "./device/pipelines.ts";
import type { Session } from "./device/session.ts";
import { type Loan, Submission } from "./device/submission.ts";
import { tensorParameters } from "./shader/parameters.ts";
import { sources } from "./shader/sources.ts";
import { expand } from "./shader/template.ts";
import type { Box } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads, withLoan } from "./transfer/rows.ts";
import { sinkOf } from "./transfer/sink.ts";
import { uploadRows } from "./transfer/upload.ts";

/** The WGSL of the shader that rotates rows; `words` where pairs of neighbours are words of 16 bits. */
function ropeCode(dtype: DType, words: boolean, interleaved: boolean): string {
  const constants: Record<string, number> = { THREADS: rowThreads, [`o_${dtype}`]: 1 };
  if (words) constants.WORDS = 1;
  if (interleaved) constants.INTERLEAVED = 1;
  return expand("rope.wgsl", sources, constants);
}

/** Whether the elements that a thread turns are whole words. */
function isInWords({ dtype, strides, offset }: AnyView, pairs: number): boolean {
  return dtype !== "f32" && strides[3] === 1 && pairs % 2 === 0 &&
    [offset, ...strides.slice(0, 3)].every((one) => one % 2 === 0);
}

/** Rotates rows in place. */
export function rotateRows(session: Session, rotation: Rotation): Promise<void> {
  return withLoan(session, async (loan) => {
    for (const view of rotation.views) await rotateView(session, loan, view, rotation);
  });
}

async function rotateView(
  session: Session,
  loan: Loan,
  view: AnyView,
  { table, batchStride, pairs, interleaved }: Rotation,
): Promise<void> {
  const { gpu } = session, sink = sinkOf(view, loan, "rows");
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
    const turns = turnsOf(box), size = turns.byteLength;
    const buffer = await loan.take(size, roles.storage, "angles"), bound = await sink.place(box);
    loan.attempt(() => {
      gpu.device.queue.writeBuffer(buffer, 0, turns as Float32Array<ArrayBuffer>);
      if (isOnHost(view)) uploadRows(gpu.device.queue, bound.buffer, view, box);
    });
    const parameters = {
      ...tensorParameters("o", bound),
      ...{ dim: pairs, end_row: extent(box.rows), l_batch: batchStride / 2 },
    };
    const bindings = [{ buffer, offset: 0, size }, null, null, bound];
    const submission = new Submission(session, "rope");
    submission.dispatch(pipeline, parameters, bindings, gridOf(box, threads));
    submission.copyBack(bound, (bytes) => sink.collect(box, bytes));
    submission.free(buffer);
    await submission.submit(loan, "Cannot rotate");
  }
}
