/**
 * Softmax and its logarithms on WebGPU.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { cannotOf, type SoftmaxResult } from "../../operations/softmax/options.ts";
import type { SoftmaxPiece, SoftmaxPlan } from "../../operations/softmax/tokens.ts";
import {
  type AnyView,
  type Extents,
  isOnHost,
  type MaskView,
  sizeOf,
} from "../../tensor/tensor.ts";
import type { Machine } from "../device/machine.ts";
import { pipelineOf } from "../device/pipelines.ts";
import { type Grid, type Loan, Submission } from "../device/submission.ts";
import { type Access, accessFlags } from "../shader/access.ts";
import { encode } from "../shader/parameters.ts";
import { rowShaders } from "../shader/row_shaders.gen.ts";
import { codeOf } from "../shader/sources.ts";
import { type Box, count, emptyBound } from "../transfer/box.ts";
import { cutRegion, extent, mostWorkgroups } from "../transfer/regions.ts";
import { withLoan } from "../transfer/rows.ts";
import { type Sink, sinkOf } from "../transfer/sink.ts";
import { accessOf, scoreSourceOf, type Source, sourceOf } from "../transfer/source.ts";

const fields = {
  minus_infinity: "f32",
  not_a_number: "f32",
  /** The sign of the scale, and its magnitude; 1 where it is 0. */
  sign: "f32",
  factor: "f32",
  /** Bits of the infinity that is not seen. */
  none: "u32",
  columns: "u32",
  vectors: "u32",
  out_columns: "u32",
  /** Rows of a head, heads, and rows of all of them. */
  rows: "u32",
  heads: "u32",
  all_rows: "u32",
  /** All bits of an element, and log2 of the elements of a word. */
  mask_ones: "u32",
  mask_shift: "u32",
  x: "tensor",
  out: "tensor",
  mask: "tensor",
} as const;

/** Threads of a workgroup. */
const threads = 256;

/** Vectors of a row that a thread keeps, at most. */
const mostHeld = 8;

/** Rows side by side of a workgroup, at least, where they lie closer to each other than columns do. */
const closeRows = 16;

/** How a workgroup's threads share its rows. */
interface Shares {
  /** Threads of a row, and rows of a workgroup. */
  readonly lanes: number;
  readonly rows: number;
  /** Vectors that a thread keeps; 0 where it reads them again. */
  readonly held: number;
  /** Whether neighbouring threads have neighbouring rows, not neighbouring vectors of one. */
  readonly isByRow: boolean;
}

function powerFrom(least: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, least)));
}

function sharesOf(x: AnyView): Shares {
  const { shape: [, , rows, columns], strides: [, , row, column] } = x;
  const isByRow = !isOnHost(x) && rows > 1 && row < column, vectors = Math.ceil(columns / 4);
  const lanes = Math.min(threads / (isByRow ? closeRows : 1), powerFrom(vectors / 2));
  const each = powerFrom(vectors / lanes);
  return { lanes, rows: threads / lanes, held: each > mostHeld ? 0 : each, isByRow };
}

/** How results are written: of a logarithm of sums one a row. */
function writingOf(what: SoftmaxResult, out: AnyView): Access {
  return what === "logSumExp" ? { dtype: out.dtype, vectors: false } : accessOf(out);
}

/** The WGSL of the shader. */
function softmaxCode(
  what: SoftmaxResult,
  { x, out, mask }: SoftmaxPiece,
  { lanes, rows, held, isByRow }: Shares,
): string {
  return codeOf("rows/softmax.wgsl", fields, {
    ...{ THREADS: threads, LANES: lanes, ROWS: rows, HELD: held },
    ...{ ROWS_FIRST: Number(isByRow), MASK: Number(mask !== null) },
    ...{ LOG_SOFTMAX: Number(what === "logSoftmax"), LOG_SUM_EXP: Number(what === "logSumExp") },
    ...accessFlags({ x: accessOf(x), out: writingOf(what, out) }),
  }, rowShaders);
}

/** What the uniforms say of a scale: one of 0 leaves of each element whether it is a number. */
function scaleValues(given: number) {
  const scale = Math.fround(given), infinity = scale < 0 ? 0x7f800000 : 0xff800000;
  const factor = scale === 0 ? 1 : Math.abs(scale);
  return { factor, sign: Math.sign(scale), none: scale === 0 ? 0 : infinity };
}

/** What the uniforms say of how a mask is stored. */
function maskValues(mask: MaskView | null) {
  return mask?.dtype === "bit"
    ? { mask_ones: 1, mask_shift: 5 }
    : { mask_ones: 255, mask_shift: 2 };
}

/** A piece on its way through the device. */
interface Running {
  readonly loan: Loan;
  readonly plan: SoftmaxPlan;
  readonly piece: SoftmaxPiece;
  readonly shares: Shares;
  readonly pipeline: GPUComputePipeline;
  /** Nothing of what has no columns. */
  readonly x: Source | null;
  readonly mask: Source | null;
  readonly out: Sink;
}

/** Softmax or one of its logarithms. */
export async function softmaxRows(
  { session, open }: Machine,
  plan: SoftmaxPlan,
  pieces: readonly SoftmaxPiece[],
  { signal }: Control,
): Promise<void> {
  for (const piece of pieces) {
    if (sizeOf(piece.out.shape) === 0) continue;
    await withLoan(session, async (loan) => {
      const running = await prepare(loan, plan, piece);
      for (const box of boxesOf(running)) {
        throwIfAborted(signal);
        open();
        await runBox(running, box);
      }
    });
  }
  throwIfAborted(signal);
}

async function prepare(loan: Loan, plan: SoftmaxPlan, piece: SoftmaxPiece): Promise<Running> {
  const { what } = plan, { x, mask, out } = piece, shares = sharesOf(x), isEmpty = x.shape[3] === 0;
  const code = softmaxCode(what, piece, shares);
  return {
    ...{ loan, plan, piece, shares },
    pipeline: await pipelineOf(loan.session.gpu, code, what),
    x: isEmpty ? null : sourceOf(x, loan, "x"),
    mask: isEmpty || mask === null ? null : scoreSourceOf(mask, loan, "mask"),
    out: sinkOf(out, loan, "out", what === "logSumExp"),
  };
}

/** The workgroups for the rows of a box. */
function gridOf(box: Box, { rows }: Pick<Shares, "rows">): Grid {
  return [Math.ceil(count(box) / rows), 1, 1];
}

/** The boxes of `[B, H, N]` whose dispatches a device takes, and for which there is a place. */
export function* cutRows(
  [batch, heads, rows]: Extents,
  shares: Pick<Shares, "rows">,
  hasPlace: (box: Box) => boolean,
): Generator<Box> {
  yield* cutRegion<Pick<Box, "batch" | "heads" | "rows">>(
    { batch: [0, batch], heads: [0, heads], rows: [0, rows] },
    (box) => gridOf(box, shares)[0] <= mostWorkgroups && hasPlace(box),
  );
}

/** The boxes that a piece is cut into; each has whole rows. */
function* boxesOf({ loan, plan, piece, shares, x, mask, out }: Running): Generator<Box> {
  const most = loan.session.bounds.bindingBytes;
  const needed = (box: Box) => Math.max(x?.bytes(box) ?? 0, mask?.bytes(box) ?? 0, out.bytes(box));
  for (const box of cutRows(piece.x.shape, shares, (box) => needed(box) <= most)) {
    const bytes = needed(box), doing = cannotOf(plan.what);
    if (bytes <= most) yield box;
    else {
      throw new RangeError(
        `${doing}: a row reaches over ${bytes} bytes of a buffer, of which a shader of this GPU ` +
          `can have ${most}: lay rows side by side, or compute on the CPU`,
      );
    }
  }
}

async function runBox(running: Running, box: Box): Promise<void> {
  const { loan, plan: { what, scale }, piece, shares, pipeline } = running,
    columns = piece.x.shape[3];
  const x = await (running.x?.place(box) ?? emptyBound(loan));
  const mask = piece.mask && await (running.mask?.place(box) ?? emptyBound(loan));
  const out = await running.out.place(box);
  const uniforms = encode(fields, {
    ...{ minus_infinity: -Infinity, not_a_number: NaN, x, mask, out },
    ...{ columns, vectors: Math.ceil(columns / 4), out_columns: piece.out.shape[3] },
    ...{ rows: extent(box.rows), heads: extent(box.heads), all_rows: count(box) },
    ...{ ...scaleValues(scale), ...maskValues(piece.mask) },
  });
  const submission = new Submission(loan.session, what);
  const bindings = [x, null, null, out, null, null, mask];
  submission.dispatch(pipeline, uniforms, bindings, gridOf(box, shares));
  submission.copyBack(out, (bytes) => running.out.collect(box, bytes));
  await submission.submit(loan, cannotOf(what));
  for (const source of [running.x, running.mask]) source?.release();
}
