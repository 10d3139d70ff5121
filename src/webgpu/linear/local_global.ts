/**
 * Attention to the own block and to summaries of all on WebGPU: the summaries and a copy of the rows in f32, and exact
 * attention to both; and decoding.
 *
 * @module
 */

import type { Control } from "../../contract/backend.ts";
import type { Target } from "../../operations/attention/target.ts";
import {
  type Chunk,
  chunksOf,
  planOf,
  rowsFrom,
  targetOf,
} from "../../operations/local_global/chunks.ts";
import {
  cannot,
  cannotStep,
  type Kept,
  type LocalGlobalPlan,
  type LocalGlobalStep,
} from "../../operations/local_global/tokens.ts";
import type { AnyView, View } from "../../tensor/tensor.ts";
import { forward } from "../attention/forward.ts";
import type { Machine } from "../device/machine.ts";
import { type Loan, Submission } from "../device/submission.ts";
import { withLoan } from "../transfer/rows.ts";
import { borrow, planOver } from "./made.ts";
import { summarize } from "./summaries.ts";

/** The function. */
export function localGlobalAttention(
  machine: Machine,
  plan: LocalGlobalPlan,
  target: Target,
  control: Control,
): Promise<void> {
  const { forward: attention, padded } = plan;
  const { batch, keyHeads, keys, dim, valueDim, kv } = attention;
  return withLoan(machine.session, async (loan) => {
    const make = async (x: AnyView, name: string, columns: number) => {
      const out = await borrow(loan, name, [batch, keyHeads, keys, columns]);
      await summarize(machine, loan, plan, { x, out, copies: padded }, cannot, control);
      return out;
    };
    const k = await make(kv.k, "keys and summaries", dim);
    const v = await make(kv.v, "values and summaries", valueDim);
    await forward(machine.session, planOver(attention, k, v), target, control, machine.open);
  });
}

/** What is kept is in buffers here. */
type Buffered = Kept<View<GPUBuffer>>;

/** A step of decoding under way. */
interface Stepping {
  readonly machine: Machine;
  readonly loan: Loan;
  readonly plan: LocalGlobalStep;
  readonly kept: Buffered;
  readonly control: Control;
}

/** The rows of a step. */
export function stepLocalGlobal(
  machine: Machine,
  plan: LocalGlobalStep,
  target: Target,
  control: Control,
): Promise<void> {
  return withLoan(machine.session, async (loan) => {
    const kept = plan.kept as Buffered, call = { machine, loan, plan, kept, control };
    if (plan.before !== null) await copyKept(call, plan.before as Buffered);
    for (const chunk of chunksOf(plan)) {
      await takeRows(call, chunk);
      const { session, open } = machine;
      await forward(session, planOf(plan, chunk), targetOf(target, chunk), control, open);
      if (chunk.end === plan.block) await finishBlock(call, chunk);
    }
  });
}

/** Copies rows of each head from one buffer to another. */
function copyRows(
  submission: Submission,
  [from, first]: readonly [View<GPUBuffer>, number],
  [to, second]: readonly [View<GPUBuffer>, number],
  rows: number,
): void {
  const [batches, heads, , columns] = from.shape, row = columns * 4;
  for (let head = 0; rows > 0 && head < batches * heads; head++) {
    const source = (head * from.shape[2] + first) * row, at = (head * to.shape[2] + second) * row;
    submission.copy(from.data, source, to.data, at, rows * row);
  }
}

/** Copies summaries, and the rows of the block that is not over. */
async function copyKept({ loan, plan, kept }: Stepping, before: Buffered): Promise<void> {
  const submission = new Submission(loan.session, "step");
  const summaries = Math.floor(plan.past / plan.block), rows = plan.past - summaries * plan.block;
  for (const name of ["k", "v"] as const) {
    copyRows(submission, [before[name], 0], [kept[name], 0], summaries);
    copyRows(submission, [before[name], before.room], [kept[name], kept.room], rows);
  }
  if (!submission.isEmpty) await submission.submit(loan, cannotStep);
}

/** Rows that a workgroup copies. */
const copiedRows = 16;

/** New rows come to their block. */
async function takeRows(
  { machine, loan, plan, kept, control }: Stepping,
  { from, to, first }: Chunk,
): Promise<void> {
  const { kv } = plan.forward, blocks = { block: copiedRows, pool: null };
  for (const [x, out] of [[kv.k, kept.k], [kv.v, kept.v]] as const) {
    const rows = { x: rowsFrom(x, from, to), out, copies: kept.room + first, isCopy: true };
    await summarize(machine, loan, blocks, rows, cannotStep, control);
  }
}

/** The rows of a block become a summary: by way of a buffer, since none can be read and written at once. */
async function finishBlock(
  { machine, loan, plan, kept, control }: Stepping,
  { block }: Chunk,
): Promise<void> {
  for (const rows of [kept.k, kept.v]) {
    const [batches, heads, , columns] = rows.shape;
    const out = await borrow(loan, "a summary", [batches, heads, 1, columns]);
    const x = rowsFrom(rows, kept.room, kept.room + plan.block);
    await summarize(machine, loan, plan, { x, out }, cannotStep, control);
    const submission = new Submission(loan.session, "step");
    copyRows(submission, [out, 0], [rows, block], 1);
    submission.free(out.data);
    await submission.submit(loan, cannotStep);
  }
}
