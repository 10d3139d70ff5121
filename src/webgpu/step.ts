/**
 * A step of a cache on WebGPU: copies of queries and keys are turned, keys and values written into pages, and
 * queries attended to, all by one submission.
 *
 * @module
 */

import type { Control } from "../contract/backend.ts";
import type { Runner } from "../contract/runners.ts";
import type { AttentionPlan, CachedKeys } from "../operations/attention/plan.ts";
import type { Target } from "../operations/attention/target.ts";
import type { Rotation } from "../operations/rope/rotation.ts";
import type { StepPlan } from "../operations/step/operation.ts";
import { bytesPerElement } from "../tensor/dtype.ts";
import { type AnyView, type Extents, isOnHost, sizeOf, type View } from "../tensor/tensor.ts";
import { roles } from "./device/buffers.ts";
import type { Course } from "./device/course.ts";
import type { Machine } from "./device/machine.ts";
import { pipelineOf } from "./device/pipelines.ts";
import { type Loan, Submission } from "./device/submission.ts";
import type { WebGpuPages } from "./pages/pages.ts";
import { appendCode, appendFields, appendThreads } from "./pages/variant.ts";
import { rotateView } from "./rope.ts";
import { encode } from "./shader/parameters.ts";
import { type Box, denseStrides, wholeOf } from "./transfer/box.ts";
import { extent } from "./transfer/regions.ts";
import { rowBoxes, withLoan } from "./transfer/rows.ts";
import { accessOf, sourceOf } from "./transfer/source.ts";
import { paddedColumns, uploadOf } from "./transfer/upload.ts";

/** Attends; what waits to be written to pages comes with the first submission. */
type Attend = (
  machine: Machine,
  plan: AttentionPlan,
  target: Target,
  control: Control,
) => Promise<void>;

/** Who does steps. */
export function runnerOf(attend: Attend): Runner<Machine, StepPlan, Target, Promise<void>> {
  return {
    run: (machine, plan, target, control) =>
      withLoan(machine.session, (loan) => step(machine, loan, plan, target, control, attend)),
  };
}

async function step(
  machine: Machine,
  loan: Loan,
  { attention, k, rotation, append }: StepPlan,
  target: Target,
  control: Control,
  attend: Attend,
): Promise<void> {
  const pages = (attention.kv as CachedKeys<WebGpuPages>).store;
  pages.open();
  const turned = rotation && await turnApart(loan, rotation);
  pages.open(); // It may be so no more.
  machine.open();
  try {
    if (turned) pages.record((submission) => submission.take(turned.submission));
    append(turned ? turned.views[1] : k);
    const q = turned ? turned.views[0] : attention.q;
    await attend(machine, { ...attention, q }, target, control);
    await loan.accepted("Cannot step");
  } finally {
    pages.flush(); // What waits reads rows that belong to others after this.
  }
}

/** Copies of rows that a submission turns. */
async function turnApart(loan: Loan, rotation: Rotation) {
  const submission = new Submission(loan.session, "step"), views: AnyView[] = [];
  // Nothing ends here: pages take the submission.
  const course: Course = { loan, submission, end: () => Promise.resolve() };
  for (const view of rotation.views) {
    const copy = isOnHost(view) ? await upload(loan, view) : await copyRows(loan, view, submission);
    await rotateView(course, copy, rotation);
    views.push(copy);
  }
  return { views, submission };
}

/** Rows of an array, in a buffer. */
async function upload(loan: Loan, view: View): Promise<View<GPUBuffer>> {
  const { bytes, write, strides } = uploadOf(view, wholeOf(view));
  const data = await loan.take(Math.max(16, bytes), roles.storage, "rows to be turned");
  loan.attempt(() => write(loan.session.gpu.device.queue, data));
  return { data, dtype: view.dtype, shape: view.shape, strides, offset: 0 };
}

/** Rows of a buffer in another one, copied as they would be into a page: that buffer may be good for shaders alone. */
async function copyRows(
  loan: Loan,
  view: View<GPUBuffer>,
  submission: Submission,
): Promise<View<GPUBuffer>> {
  const { session } = loan, { dtype, shape } = view, columns = paddedColumns(view);
  const strides = denseStrides([shape[0], shape[1], shape[2], columns]);
  const bytes = sizeOf(shape) / Math.max(1, shape[3]) * columns * bytesPerElement(dtype);
  const data = await loan.take(Math.max(16, bytes), roles.storage, "rows to be turned");
  const copy = { data, dtype, shape, strides, offset: 0 };
  const from = sourceOf(view, loan, "rows"), to = sourceOf(copy, loan, "rows");
  const access = accessOf(view), pages = { dtype, vectors: true, smooth: false };
  const pipeline = await pipelineOf(session.gpu, appendCode(access, pages), "append");
  const vectors = columns / 4, words = columns * bytesPerElement(dtype) / 4;
  for (const box of rowBoxes(session, shape, vectors, (one) => [from.bytes(one), to.bytes(one)])) {
    const [rows, placed] = [await from.place(box), await to.place(box)];
    const runs = runsOf(box, rows.strides, placed.strides, placed.at, bytesPerElement(dtype));
    const table = await loan.room(runs.byteLength, "runs of rows");
    loan.attempt(() => session.gpu.device.queue.writeBuffer(table.buffer, 0, runs));
    const uniforms = encode(appendFields, {
      ...{ rows, dim: shape[3], dim_vectors: vectors },
      pages: { at: 0, strides: [0, strides[1] / columns * words, words, 1] },
    });
    const bindings = [rows, null, null, placed, null, null, null, table];
    const threads = extent(box.rows) * vectors;
    submission.dispatch(pipeline, uniforms, bindings, [
      Math.ceil(threads / appendThreads),
      extent(box.heads),
      extent(box.batch),
    ]);
  }
  return copy;
}

/** Of each batch of a box: its first word, its first element, elements from one head to the next, and rows. */
function runsOf(
  { batch, rows }: Box,
  source: Extents,
  target: Extents,
  at: number,
  bytes: number,
): Uint32Array<ArrayBuffer> {
  const runs = Array.from(
    { length: extent(batch) },
    (_, one) => [(at + one * target[0]) * bytes / 4, one * source[0], source[1], extent(rows)],
  );
  return Uint32Array.from(runs.flat());
}
