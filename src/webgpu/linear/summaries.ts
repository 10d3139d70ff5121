/**
 * Summaries of blocks of rows on WebGPU, and copies of the rows.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import type { Blocks } from "../../operations/local_global/tokens.ts";
import { type AnyView, type Extents, sizeOf, type View } from "../../tensor/tensor.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { encode } from "../shader/parameters.ts";
import { linearShaders } from "../shader/linear_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import type { Box } from "../transfer/box.ts";
import { extent, type Range } from "../transfer/regions.ts";
import { rowBoxes, rowThreads } from "../transfer/rows.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { checkBox, sharedBound, sharedBox } from "./made.ts";

const fields = {
  /** Rows of the dispatch, and of a block. */
  rows: "u32",
  block: "u32",
  columns: "u32",
  vectors: "u32",
  /** Where copies begin, counted from the dispatch's first summary, or from the first that is written. */
  first_copy: "u32",
  x: "tensor",
  pool: "tensor",
  out: "tensor",
} as const;

/** What is made of rows. */
export interface Summarized {
  readonly x: AnyView;
  /** Where it goes: summaries from row 0 on, and copies from row `copies` on. */
  readonly out: View<GPUBuffer>;
  /** Absent where rows are not copied. */
  readonly copies?: number;
  /** Whether rows are copied alone. */
  readonly isCopy?: boolean;
}

/** The boxes of a dispatch, by that of its blocks: their rows, and what is written. */
function boxesOf({ block }: Blocks, { x, copies, isCopy }: Summarized, box: Box) {
  const [first, end] = box.rows, last = Math.min(x.shape[2], end * block);
  const rows: Range = [first * block, last], from = isCopy ? copies! + first * block : first;
  const written: Range = [from, copies === undefined ? end : copies + last];
  return { rows: { ...box, rows }, written: { ...box, rows: written } };
}

/** Makes summaries, copies, or both. */
export async function summarize(
  { session, open }: Machine,
  loan: Loan,
  blocks: Blocks,
  all: Summarized,
  cannot: string,
  { signal }: Control,
): Promise<void> {
  const { x, out: made, copies, isCopy = false } = all, { block, pool } = blocks;
  const [batches, heads, length, columns] = x.shape;
  if (sizeOf(x.shape) === 0) return;
  const hasPool = pool !== null && !isCopy;
  const code = codeOf("linear/summaries.wgsl", fields, {
    ...{ POOL: Number(hasPool), COPIES: Number(copies !== undefined), SUMMARIES: Number(!isCopy) },
    ...accessFlags({ x: accessOf(x), pool: hasPool ? accessOf(pool) : null, out: accessOf(made) }),
  }, linearShaders);
  const pipeline = await pipelineOf(session.gpu, code, "summaries");
  const rows = sourceOf(x, loan, "x"), out = sourceOf(made, loan, "summaries");
  const weights = hasPool ? sourceOf(pool, loan, "pool") : null;
  const bytes = (box: Box) => {
    const { rows: read, written } = boxesOf(blocks, all, box);
    return [rows.bytes(read), out.bytes(written)];
  };
  const shape: Extents = [batches, heads, Math.ceil(length / block), columns];
  for (const box of rowBoxes(session, shape, rowThreads, bytes)) {
    throwIfAborted(signal);
    open();
    checkBox(loan, cannot, bytes(box));
    const { rows: read, written } = boxesOf(blocks, all, box);
    const placedX = await rows.place(read), placedOut = await out.place(written);
    const placedPool = weights &&
      sharedBound(pool!, await weights.place(sharedBox(pool!, box, [0, 1])));
    const uniforms = encode(fields, {
      ...{ rows: extent(read.rows), block, columns, vectors: Math.ceil(columns / 4) },
      first_copy: (copies ?? 0) + read.rows[0] - written.rows[0],
      ...{ x: placedX, pool: placedPool, out: placedOut },
    });
    const submission = new Submission(session, "summaries");
    const grid = [extent(box.rows), extent(box.heads), extent(box.batch)] as const;
    submission.dispatch(pipeline, uniforms, [placedX, placedPool, null, placedOut], grid);
    await submission.submit(loan, cannot);
    rows.release();
  }
}
