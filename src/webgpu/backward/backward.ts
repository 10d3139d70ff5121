/**
 * Gradients on WebGPU: piece after piece of one gradient after the other is placed, recorded, submitted
 * and brought to the caller.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { countRows } from "../../operations/attention/plan.ts";
import type { BackwardPlan } from "../../operations/backward/plan.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import { clock } from "../../runtime.ts";
import type { Check } from "../attention/forward.ts";
import { tablesOf } from "../attention/tables.ts";
import type { Session } from "../device/session.ts";
import { Loan, Submission } from "../device/submission.ts";
import type { Bound } from "../transfer/box.ts";
import { extent } from "../transfer/regions.ts";
import type { GradientFunctions } from "./functions.ts";
import type { Boxes, Goal, Gradient } from "./gradient.ts";
import { type BackwardCall, isPlain, prepareBackward } from "./gradients.ts";
import {
  boxesOfPiece,
  deltaGrid,
  functionsAt,
  gridOfPiece,
  type Piece,
  piecesOf,
  pieceTableBytes,
  workOfAll,
  workOfPiece,
} from "./pieces.ts";
import {
  deltaBlock,
  gradientBlock,
  keyRangeOf,
  type PlacedPiece,
  type PlacedScores,
} from "./uniforms.ts";
import type { RowInputs } from "./variants.ts";

/** Runs a plan; with functions where it has some. */
export async function backward(
  session: Session,
  plan: BackwardPlan,
  target: GradientTarget,
  control: Control,
  check: Check,
  functions: GradientFunctions | null = null,
): Promise<void> {
  const total = countRows(plan.forward);
  if (total > 0) {
    const loan = new Loan(session);
    try {
      const call = await prepareBackward(session, plan, target, loan, functions);
      await runGradients(call, control, check);
    } finally {
      loan.end();
    }
  }
  control.onProgress?.({ done: total, total });
}

/** Runs piece after piece, none of them for long, and waits for some of them at a time. */
async function runGradients(call: BackwardCall, control: Control, check: Check): Promise<void> {
  const { gradients, plan } = call, total = countRows(plan);
  const pending = new Pending(call.session);
  for (const [index, gradient] of gradients.entries()) {
    const whole = workOfAll(call, gradient);
    let done = 0;
    for (const piece of piecesOf(call, gradient)) {
      throwIfAborted(control.signal);
      check();
      await runPiece(call, gradient, piece, pending);
      done += workOfPiece(call, gradient, piece);
      if (!pending.isEnough) continue;
      await pending.wait();
      const rows = Math.floor(total * (index + done / whole) / gradients.length);
      if (rows < total) control.onProgress?.({ done: rows, total });
    }
    if (gradient.result.finish) pending.add(0, gradient.result.finish(), true);
  }
  await pending.wait();
  throwIfAborted(control.signal);
  check();
}

/** What is submitted and not waited for yet: each wait takes far longer than a small piece. */
class Pending {
  readonly #session: Session;
  #waits: Promise<void>[] = [];
  #work = 0;
  #start = 0;
  /** Whether some of the waits are for the end of the work. */
  #toTheEnd = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Whether it is as much as should be under way. */
  get isEnough(): boolean {
    return this.#work >= this.#session.work;
  }

  add(work: number, wait: Promise<void>, toTheEnd: boolean): void {
    if (this.#waits.length === 0) this.#start = clock.now();
    wait.catch(() => {}); // Thrown by `wait()`, unless something else is before.
    this.#waits.push(wait);
    this.#work += work;
    this.#toTheEnd ||= toTheEnd;
  }

  /** Waits for all of it, to its end where it is enough. */
  async wait(): Promise<void> {
    const { gpu: { device, guard } } = this.#session;
    if (this.isEnough && !this.#toTheEnd) {
      this.add(0, device.queue.onSubmittedWorkDone().then(() => {}), true);
    }
    await guard(Promise.all(this.#waits));
    if (this.#toTheEnd) this.#session.learn(this.#work, clock.now() - this.#start);
    this.#waits = [];
    this.#work = 0;
    this.#toTheEnd = false;
  }
}

/** Places and submits a piece; what it is to be waited for is pending then. */
async function runPiece(
  call: BackwardCall,
  gradient: Gradient,
  piece: Piece,
  pending: Pending,
): Promise<void> {
  const placed = await placePiece(call, gradient, piece), { result, boxes, tables } = placed;
  const submission = new Submission(call.session, "gradients");
  // Rows that nothing is computed for are zero.
  if (result.readBack) submission.clear(result.buffer, 0, result.size);
  dispatchPiece(call, gradient, piece, placed, submission);
  submission.copyBack(result, (bytes) => gradient.result.collect(boxes, bytes));
  submission.free(tables.buffer);
  const { readsBack } = submission, wait = submission.submit(call.loan, "Cannot differentiate");
  pending.add(workOfPiece(call, gradient, piece), wait, readsBack);
  const { q, k, v, bias, mask, ofRows } = call;
  for (const source of [q, k, v, bias, mask, ...Object.values(ofRows)]) source?.release();
}

/** Uploads what is not there yet, and takes the buffers that a piece needs. */
async function placePiece(
  call: BackwardCall,
  { goal, result }: Gradient,
  piece: Piece,
): Promise<PlacedPiece> {
  const boxes = boxesOfPiece(call, piece), ofRows: Record<string, Bound | null> = {};
  for (const [name, source] of Object.entries(call.ofRows)) {
    ofRows[name] = source && await source.place(boxes.rows);
  }
  return {
    ...{ boxes, ofRows: ofRows as RowInputs<Bound> },
    result: await result.place(boxes),
    scores: goal === "dSinks" ? null : await placeScores(call, goal, boxes),
    ...await placeTables(call, piece, boxes),
  };
}

async function placeScores(
  { q, k, v, bias, mask }: BackwardCall,
  goal: Goal,
  { rows, columns, scores }: Boxes,
): Promise<PlacedScores> {
  const keys = await k.place(columns);
  return {
    // Gradients by values read none.
    ...{ q: await q.place(rows), k: keys, v: goal === "dv" ? keys : await v.place(columns) },
    bias: bias && await bias.place(scores),
    mask: mask && await mask.place(scores),
  };
}

async function placeTables(call: BackwardCall, piece: Piece, boxes: Boxes) {
  const { plan, loan, session } = call, { rows } = boxes;
  const cut = { plan, terms: true, mostKeys: Infinity, tileKeys: 1 };
  const { words, values } = tablesOf(cut, piece.region, [keyRangeOf(piece)]);
  const size = Math.max(16, pieceTableBytes(call, piece, boxes));
  const tables = await loan.room(size, "tables");
  const at = functionsAt(call, piece, boxes), more = call.functions?.words(piece.region, at);
  loan.attempt(() => {
    const { queue } = session.gpu.device;
    queue.writeBuffer(tables.buffer, 0, words);
    if (more) queue.writeBuffer(tables.buffer, at, more);
  });
  const head = 3 * extent(rows.rows), batch = extent(rows.heads) * head;
  return {
    tables,
    functionsAt: at,
    looked: values,
    rows: { at: words.length, strides: [batch, head, 3, 1] } as const,
  };
}

/** The dispatches of a piece: that of its rows, then those of its columns. */
function dispatchPiece(
  call: BackwardCall,
  { goal, pipeline, firstVectors }: Gradient,
  piece: Piece,
  placed: PlacedPiece,
  submission: Submission,
): void {
  call.functions?.copy(submission, placed.tables, piece.region, placed.functionsAt);
  const { boxes, tables, scores, ofRows: { out, lse, d_out, d_lse, lse_rest } } = placed;
  const ofRows = [out, lse, d_lse, null, d_out, lse_rest, null, tables];
  submission.dispatch(call.delta, deltaBlock(call, placed), ofRows, deltaGrid(boxes));
  // What is not there must be bound all the same, where a shader could read it.
  const absent = isPlain(call.plan) ? null : tables;
  const ofScores = scores === null ? [null, null, null, placed.result, null, null, null, tables] : [
    ...[scores.q, scores.k, goal === "dv" ? null : scores.v, placed.result, d_out],
    ...[scores.bias ?? absent, scores.mask ?? absent, tables],
  ];
  for (const first of firstVectors) {
    const uniforms = gradientBlock(call, goal, piece, placed, first);
    submission.dispatch(pipeline, uniforms, ofScores, gridOfPiece(call, goal, piece));
  }
}
