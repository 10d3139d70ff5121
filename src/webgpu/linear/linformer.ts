/**
 * Linformer's attention on WebGPU: two products, and attention to what comes of them.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import type { Target } from "../../operations/attention/target.ts";
import { cannot, type LinformerPlan } from "../../operations/linformer/tokens.ts";
import { type AnyView, sizeOf, type View } from "../../tensor/tensor.ts";
import { forward } from "../attention/forward.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { encode } from "../shader/parameters.ts";
import { linearShaders } from "../shader/linear_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import { extent } from "../transfer/regions.ts";
import { rowBoxes, rowThreads, withLoan } from "../transfer/rows.ts";
import { accessOf, sourceOf } from "../transfer/source.ts";
import { borrow, checkBox, planOver, sharedBound, sharedBox } from "./made.ts";

const fields = {
  rows: "u32",
  columns: "u32",
  depth: "u32",
  /** Tiles along the columns. */
  vector_tiles: "u32",
  a: "tensor",
  x: "tensor",
  out: "tensor",
} as const;

/** Rows and vectors of a workgroup's tile, as the shader has them. */
const tileRows = 32, tileVectors = 16;

function tilesOf(columns: number): number {
  return Math.ceil(columns / 4 / tileVectors);
}

/** What is made of nothing is 0. */
async function clear(loan: Loan, { data }: View<GPUBuffer>): Promise<void> {
  const submission = new Submission(loan.session, "product");
  submission.clear(data);
  await submission.submit(loan, cannot);
}

/** made = projection x, for each head. */
async function mix(
  { session, open }: Machine,
  loan: Loan,
  [projection, x, made]: readonly [AnyView, AnyView, View<GPUBuffer>],
  { signal }: Control,
): Promise<void> {
  if (sizeOf(made.shape) === 0) return;
  const [, , depth, columns] = x.shape;
  if (depth === 0) return await clear(loan, made);
  const code = codeOf(
    "linear/product.wgsl",
    fields,
    accessFlags({ a: accessOf(projection), x: accessOf(x), out: accessOf(made) }),
    linearShaders,
  );
  const pipeline = await pipelineOf(session.gpu, code, "product");
  const a = sourceOf(projection, loan, "projection"), rows = sourceOf(x, loan, "x");
  const out = sourceOf(made, loan, "mixtures");
  const boxOfX = (box: Parameters<typeof sharedBox>[1]) => ({
    ...{ batch: box.batch, heads: box.heads, rows: [0, depth] as const },
  });
  const bytes = (box: Parameters<typeof sharedBox>[1]) => [
    a.bytes(sharedBox(projection, box, box.rows)),
    rows.bytes(boxOfX(box)),
    out.bytes(box),
  ];
  const perRow = rowThreads * tilesOf(columns) / tileRows;
  for (const box of rowBoxes(session, made.shape, perRow, bytes)) {
    throwIfAborted(signal);
    open();
    checkBox(loan, cannot, bytes(box));
    const placedA = sharedBound(projection, await a.place(sharedBox(projection, box, box.rows)));
    const placedX = await rows.place(boxOfX(box)), placedOut = await out.place(box);
    const uniforms = encode(fields, {
      ...{ rows: extent(box.rows), columns, depth, vector_tiles: tilesOf(columns) },
      ...{ a: placedA, x: placedX, out: placedOut },
    });
    const submission = new Submission(session, "product");
    const tiles = Math.ceil(extent(box.rows) / tileRows) * tilesOf(columns);
    const grid = [tiles, extent(box.heads), extent(box.batch)] as const;
    submission.dispatch(pipeline, uniforms, [placedA, placedX, null, placedOut], grid);
    await submission.submit(loan, cannot);
    for (const source of [a, rows]) source.release();
  }
}

/** The function. */
export function linformerAttention(
  machine: Machine,
  plan: LinformerPlan,
  target: Target,
  control: Control,
): Promise<void> {
  const { forward: attention, mixtures, projectK, projectV } = plan;
  const { batch, keyHeads, dim, valueDim, kv } = attention;
  return withLoan(machine.session, async (loan) => {
    const k = await borrow(loan, "mixtures of keys", [batch, keyHeads, mixtures, dim]);
    const v = await borrow(loan, "mixtures of values", [batch, keyHeads, mixtures, valueDim]);
    await mix(machine, loan, [projectK, kv.k, k], control);
    await mix(machine, loan, [projectV ?? projectK, kv.v, v], control);
    await forward(machine.session, planOver(attention, k, v), target, control, machine.open);
  });
}
