/**
 * Lightweight and dynamic convolution on WebGPU.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { cannotOf } from "../../operations/convolution/options.ts";
import { type ConvolutionPlan, isShared } from "../../operations/convolution/plan.ts";
import { type AnyView, sizeOf } from "../../tensor/tensor.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { accessFlags } from "../shader/access.ts";
import { encode } from "../shader/parameters.ts";
import { linearShaders } from "../shader/linear_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import type { Bound, Box } from "../transfer/box.ts";
import { extent } from "../transfer/regions.ts";
import { gridOf, rowBoxes, rowThreads, withLoan } from "../transfer/rows.ts";
import { sinkOf } from "../transfer/sink.ts";
import { accessOf, type Source, sourceOf } from "../transfer/source.ts";

const common = {
  columns: "u32",
  vectors: "u32",
  /** Rows of the head, those before it, and which of them is the first of those that are bound. */
  total: "u32",
  past: "u32",
  v_first: "u32",
  v: "tensor",
  before: "tensor",
} as const;

const convolutionFields = {
  not_a_number: "f32",
  width: "u32",
  lead: "u32",
  /** The first row of the box in its head, and how many rows it has. */
  first_row: "u32",
  end_row: "u32",
  ...common,
  weights: "tensor",
  out: "tensor",
} as const;

const keepFields = { ...common, after: "tensor" } as const;

/** Rows of a workgroup, threads that make the taps of one, and those that share its columns. */
const rows = 16, lanes = rowThreads / rows, columns = 16;

/** A call on its way through the device. */
interface Running {
  readonly loan: Loan;
  readonly plan: ConvolutionPlan;
  readonly v: Source;
  readonly weights: Source;
  readonly before: Source | null;
}

/** A convolution. */
export function convolve(
  { session, open }: Machine,
  plan: ConvolutionPlan,
  out: AnyView,
  { signal }: Control,
): Promise<void> {
  return withLoan(session, async (loan) => {
    if (sizeOf(out.shape) === 0) return;
    const { v, weights, before, after } = plan;
    const running: Running = {
      ...{ loan, plan, v: sourceOf(v, loan, "v"), weights: sourceOf(weights, loan, "weights") },
      before: before === null ? null : sourceOf(before, loan, "before"),
    };
    const goOn = () => {
      throwIfAborted(signal);
      open();
    };
    await convolveRows(running, out, goOn);
    if (after !== null) await keepRows(running, after, goOn);
    throwIfAborted(signal);
  });
}

/** Those of some rows of a head that are there. */
function clip(box: Box, from: number, to: number, { v }: ConvolutionPlan): Box {
  return { ...box, rows: [Math.max(0, from), Math.min(v.shape[2], to)] };
}

/** The rows before the first. */
function pastOf(box: Box, { width }: ConvolutionPlan): Box {
  return { ...box, rows: [0, width - 1] };
}

/** Boxes of rows that the device takes. */
function* boxesOf(
  { loan: { session }, plan }: Running,
  shape: AnyView["shape"],
  threads: number,
  bytes: (box: Box) => readonly number[],
): Generator<Box> {
  const { bindingBytes } = session.bounds;
  for (const box of rowBoxes(session, shape, threads, bytes)) {
    const most = Math.max(...bytes(box));
    if (most > bindingBytes) {
      throw new RangeError(
        `${
          cannotOf(plan.kind)
        }: rows and those around them reach over ${most} bytes, a shader of this ` +
          `GPU has at most ${bindingBytes} of a buffer: the wasm backend takes it`,
      );
    }
    yield box;
  }
}

/** What a box of some rows reads of a call. */
interface Reads {
  /** The rows that taps are on, and those before the head's first. */
  readonly around: Box;
  readonly past: Box;
}

/** Brings what a box reads to the device. */
async function placeReads({ v, before }: Running, { around, past }: Reads) {
  return { v: await v.place(around), before: before && await before.place(past) };
}

/** What the uniforms say of that. */
function commonValues(
  { v: { shape: [, , total, columns] }, width }: ConvolutionPlan,
  reads: Reads,
) {
  const [first] = reads.around.rows;
  return { columns, vectors: Math.ceil(columns / 4), total, past: width - 1, v_first: first };
}

function readFlags({ v, before }: ConvolutionPlan) {
  const flags = accessFlags({ v: accessOf(v), before: before && accessOf(before) });
  return { ...flags, THREADS: rowThreads, BEFORE: Number(before !== null) };
}

/** Bytes of the bindings of a box. */
function bytesOf(
  { v, before }: Running,
  { around, past }: Reads,
  ...others: readonly number[]
): readonly number[] {
  return [v.bytes(around), before?.bytes(past) ?? 0, ...others];
}

async function convolveRows(running: Running, out: AnyView, goOn: () => void): Promise<void> {
  const { loan, plan, weights } = running, { width, lead, kind } = plan;
  const sink = sinkOf(out, loan, "out", false);
  const readsOf = (box: Box): Reads => {
    const [from, to] = box.rows;
    return { around: clip(box, from - lead, to + width - 1 - lead, plan), past: pastOf(box, plan) };
  };
  const weighed = (box: Box): Box => isShared(plan) ? { ...box, rows: [0, 1] } : box;
  const code = codeOf("linear/convolution.wgsl", convolutionFields, {
    ...{ ROWS: rows, LANES: lanes, COLUMNS: columns, ...readFlags(plan) },
    ...accessFlags({ weights: accessOf(plan.weights), out: accessOf(out) }),
  }, linearShaders);
  const pipeline = await pipelineOf(loan.session.gpu, code, kind);
  const bytes = (box: Box) =>
    bytesOf(running, readsOf(box), weights.bytes(weighed(box)), sink.bytes(box));
  for (const box of boxesOf(running, out.shape, lanes, bytes)) {
    goOn();
    const reads = readsOf(box), bound = await placeReads(running, reads);
    const taps = await weights.place(weighed(box)), written = await sink.place(box);
    const uniforms = encode(convolutionFields, {
      ...{ not_a_number: NaN, width, lead, first_row: box.rows[0], end_row: extent(box.rows) },
      ...{ ...commonValues(plan, reads), ...bound, out: written },
      weights: isShared(plan) ? repeated(taps) : taps,
    });
    const submission = new Submission(loan.session, kind);
    const bindings = [bound.v, taps, bound.before, written];
    submission.dispatch(pipeline, uniforms, bindings, gridOf(box, lanes));
    submission.copyBack(written, (bytes) => sink.collect(box, bytes));
    await submission.submit(loan, cannotOf(kind));
    running.v.release();
    weights.release();
  }
}

/** A row that all rows have. */
function repeated({ strides: [batch, head, , tap], ...bound }: Bound): Bound {
  return { ...bound, strides: [batch, head, 0, tap] };
}

/** Keeps the last rows for the next call. */
async function keepRows(running: Running, after: AnyView, goOn: () => void): Promise<void> {
  const { loan, plan } = running, { v, width, kind } = plan, [batch, heads] = after.shape;
  const sink = sinkOf(after, loan, "after", false), total = v.shape[2];
  const code = codeOf("linear/keep_rows.wgsl", keepFields, {
    ...readFlags(plan),
    ...accessFlags({ after: accessOf(after) }),
  }, linearShaders);
  const pipeline = await pipelineOf(loan.session.gpu, code, `${kind} step`);
  const readsOf = (box: Box): Reads => {
    const past = pastOf(box, plan);
    return { around: clip(past, total - width + 1, total, plan), past };
  };
  // All rows of a head are one box.
  const bytes = (box: Box) => bytesOf(running, readsOf(box), sink.bytes(pastOf(box, plan)));
  for (const part of boxesOf(running, [batch, heads, 1, 1], rowThreads, bytes)) {
    goOn();
    const reads = readsOf(part), bound = await placeReads(running, reads);
    const written = await sink.place(reads.past);
    const uniforms = encode(keepFields, {
      ...{ ...commonValues(plan, reads), ...bound, after: written },
    });
    const submission = new Submission(loan.session, kind);
    const bindings = [bound.v, null, bound.before, written];
    submission.dispatch(pipeline, uniforms, bindings, gridOf(reads.past, rowThreads));
    submission.copyBack(written, (bytes) => sink.collect(reads.past, bytes));
    await submission.submit(loan, cannotOf(kind));
  }
}
