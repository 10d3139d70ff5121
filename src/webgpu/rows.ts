/**
 * What is done to rows by themselves, with no keys to see: merging results over disjoint keys, and
 * rotating by positions.
 *
 * @module
 */

import type { Target } from "../operations/attention/target.ts";
import type { Rotation } from "../operations/rope/rotation.ts";
import { type AnyView, type Extents, isOnHost } from "../tensor/tensor.ts";
import { foldCode, ropeCode, rowThreads } from "./attention/variants.ts";
import { roles } from "./device/buffers.ts";
import { pipelineOf } from "./device/pipelines.ts";
import type { Session } from "./device/session.ts";
import { type Grid, Loan, Submission } from "./device/submission.ts";
import { cutRegion, extent, mostWorkgroups } from "./transfer/regions.ts";
import { type Box, sinkOf, sourceOf, tensorParameters, uploadRows } from "./transfer/transfer.ts";

function countRows({ batch, heads, rows }: Box): number {
  return extent(batch) * extent(heads) * extent(rows);
}

/** The boxes of `[B, H, N]` whose bindings and whose dispatches the device takes. */
function* boxesOf(
  { bounds: { bindingBytes } }: Session,
  [batch, heads, rows]: Extents,
  threads: number,
  bytes: (box: Box) => readonly number[],
): Generator<Box> {
  if (batch * heads * rows === 0) return;
  const boxOf = (piece: { batch: Box["batch"]; heads: Box["heads"]; positions: Box["rows"] }) => ({
    ...{ batch: piece.batch, heads: piece.heads, rows: piece.positions },
  });
  const fits = (box: Box) =>
    Math.ceil(extent(box.rows) * threads / rowThreads) <= mostWorkgroups &&
    Math.max(extent(box.heads), extent(box.batch)) <= mostWorkgroups &&
    bytes(box).every((one) => one <= bindingBytes);
  const whole = { batch: [0, batch], heads: [0, heads], positions: [0, rows] } as const;
  for (const piece of cutRegion(whole, (one) => fits(boxOf(one)))) yield boxOf(piece);
}

/** Workgroups for the rows of a box, each with so many threads. */
function gridOf({ batch, heads, rows }: Box, threads: number): Grid {
  return [Math.ceil(extent(rows) * threads / rowThreads), extent(heads), extent(batch)];
}

async function withLoan(session: Session, use: (loan: Loan) => Promise<void>): Promise<void> {
  const loan = new Loan(session.pool);
  try {
    await use(loan);
  } finally {
    loan.end();
  }
}

/** Merges results over disjoint keys: folds one part after the other in. */
export function mergeParts(
  session: Session,
  parts: readonly Target[],
  target: Target,
): Promise<void> {
  return withLoan(session, async (loan) => {
    const { shape } = target.out, columns = shape[3], vectors = Math.ceil(columns / 4);
    const sources = parts.map(({ out, lse }, index) => ({
      out: sourceOf(out, session, loan, `parts[${index}].out`),
      lse: sourceOf(lse!, session, loan, `parts[${index}].lse`),
    }));
    const [out, lse] = [
      sinkOf(target.out, session, loan, "out"),
      sinkOf(target.lse!, session, loan, "lse"),
    ];
    const last = sources.length - 1;
    const pipelines = await Promise.all(sources.map((part, index) => {
      const code = foldCode(part.out.access, part.lse.access, index === last ? out.access : null);
      return pipelineOf(session.gpu, code, "fold");
    }));
    const bytes = (box: Box) => [
      ...sources.flatMap((part) => [part.out.bytes(box), part.lse.bytes(box)]),
      out.bytes(box),
      countRows(box) * vectors * 16,
    ];
    for (const box of boxesOf(session, shape, vectors, bytes)) {
      const take = async (size: number) => ({
        buffer: await loan.take(size, roles.storage, "partial results"),
        ...{ offset: 0, size },
      });
      const rows = countRows(box), acc = await take(rows * vectors * 16);
      const ml = [await take(rows * 8), await take(rows * 8)];
      const [o, l] = [await out.place(box), await lse.place(box)];
      const placed = await Promise.all(
        sources.map(async (part) => [await part.out.place(box), await part.lse.place(box)]),
      );
      const submission = new Submission(session, "merge");
      for (const [index, [q, k]] of placed.entries()) {
        const written = index === last ? [o, l] : [ml[(index + 1) % 2], null];
        const parameters = {
          ...{ minus_infinity: -Infinity, not_a_number: NaN, first_part: index },
          ...{ value_vectors: vectors, value_dim: columns, end_row: extent(box.rows) },
          ...{ query_heads: extent(box.heads) },
          ...tensorParameters("q", q),
          ...tensorParameters("k", k),
          ...tensorParameters("o", o),
          ...{ l_at: l.at, l_batch: l.strides.batch, l_head: l.strides.head },
        };
        const bindings = [q, k, ml[index % 2], ...written, acc];
        submission.dispatch(pipelines[index], parameters, bindings, gridOf(box, vectors));
      }
      submission.copyBack(o, (bytes) => out.collect(box, bytes));
      submission.copyBack(l, (bytes) => lse.collect(box, bytes));
      for (const { buffer } of [acc, ...ml]) submission.free(buffer);
      await submission.submit(loan, "Cannot merge");
      for (const part of sources) for (const source of [part.out, part.lse]) source.settle();
    }
  });
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
  const { gpu } = session, sink = sinkOf(view, session, loan, "rows");
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
  for (const box of boxesOf(session, view.shape, threads, bytes)) {
    const turns = turnsOf(box), size = turns.byteLength;
    const buffer = await loan.take(size, roles.storage, "angles"), window = await sink.place(box);
    loan.attempt(() => {
      gpu.device.queue.writeBuffer(buffer, 0, turns as Float32Array<ArrayBuffer>);
      if (isOnHost(view)) uploadRows(gpu.device.queue, window.buffer, view, box);
    });
    const parameters = {
      ...tensorParameters("o", window),
      ...{ dim: pairs, end_row: extent(box.rows), l_batch: batchStride / 2 },
    };
    const bindings = [{ buffer, offset: 0, size }, null, null, window];
    const submission = new Submission(session, "rope");
    submission.dispatch(pipeline, parameters, bindings, gridOf(box, threads));
    submission.copyBack(window, (bytes) => sink.collect(box, bytes));
    submission.free(buffer);
    await submission.submit(loan, "Cannot rotate");
  }
}
