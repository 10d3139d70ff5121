/**
 * Gradients on WebGPU: which of them a call makes, by which shaders, and where each goes.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { BackwardPlan } from "../../operations/backward/plan.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import type { BroadcastView } from "../../tensor/broadcast.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Loan } from "../device/submission.ts";
import { type ScoreBox, type ScoreSource, scoreSourceOf } from "../transfer/broadcasts.ts";
import {
  type Box,
  type Sink,
  sinkOf,
  type Source,
  sourceOf,
  type Window,
} from "../transfer/transfer.ts";
import { sinkView, summedOf } from "./summed.ts";
import {
  backwardCode,
  biasGradientCode,
  deltaCode,
  type GradientInputs,
  sinkGradientCode,
  type TensorGoal,
  vectorsAtOnce,
} from "./variants.ts";

/** What a gradient is by. */
export type Goal = TensorGoal | "dBias" | "dSinks";

/** Where a gradient goes. */
export interface Result {
  /** Bytes of the binding of a piece. */
  bytes(boxes: Boxes): number;
  place(boxes: Boxes): Promise<Window>;
  /** Takes a piece that was read back to the caller. */
  collect(boxes: Boxes, bytes: ArrayBuffer): void;
  /** Brings what all pieces are summed in to the caller. */
  finish?(): Promise<void>;
}

/** A gradient that a call makes. */
export interface Gradient {
  readonly goal: Goal;
  readonly pipeline: GPUComputePipeline;
  readonly result: Result;
  /** First vectors of its columns that dispatches make, one after the other. */
  readonly firstVectors: readonly number[];
  /** Multiply-adds for a row and a key. */
  readonly columns: number;
}

/** A call under way. */
export interface BackwardCall {
  readonly session: Session;
  readonly plan: AttentionPlan;
  readonly loan: Loan;
  readonly q: Source;
  readonly k: Source;
  readonly v: Source;
  readonly dOut: Source;
  readonly out: Source;
  readonly lse: Source;
  readonly dLse: Source | null;
  readonly lseRest: Source | null;
  readonly bias: ScoreSource | null;
  readonly mask: ScoreSource | null;
  /** Nothing is looked at before: each gradient would have to do it anew. */
  readonly classed: null;
  readonly delta: GPUComputePipeline;
  readonly gradients: readonly Gradient[];
}

/** Finds where a plan's tensors are, and compiles what it needs. */
export async function prepareBackward(
  session: Session,
  { forward: plan, ...backward }: BackwardPlan,
  target: GradientTarget,
  loan: Loan,
): Promise<BackwardCall> {
  const source = (name: "q" | "k" | "v") => sourceOf(plan[name], session, loan, name);
  const inputs = {
    ...{ q: source("q"), k: source("k"), v: source("v") },
    dOut: sourceOf(backward.dOut, session, loan, "dOut"),
  };
  const out = sourceOf(backward.out, session, loan, "out");
  const lse = sourceOf(backward.lse, session, loan, "lse");
  const dLse = backward.dLse && sourceOf(backward.dLse, session, loan, "dLse");
  const lseRest = backward.lseRest && sourceOf(backward.lseRest, session, loan, "what lse lacks");
  const code = deltaCode(
    ...[out.access, lse.access, inputs.dOut.access] as const,
    ...[dLse && dLse.access, lseRest && lseRest.access] as const,
  );
  const [delta, ...gradients] = await Promise.all([
    pipelineOf(session.gpu, code, "delta"),
    ...prepareGradients(session, plan, target, loan, accessOf(inputs)),
  ]);
  return {
    ...{ session, plan, loan, ...inputs, out, lse, dLse, lseRest, delta, gradients, classed: null },
    bias: plan.bias && scoreSourceOf(plan.bias, session, loan, "bias"),
    mask: plan.mask && scoreSourceOf(plan.mask, session, loan, "mask"),
  };
}

function accessOf({ q, k, v, dOut }: Pick<BackwardCall, "q" | "k" | "v" | "dOut">): GradientInputs {
  return { q: q.access, k: k.access, v: v.access, dOut: dOut.access };
}

/** Every gradient that there is a place for. */
function prepareGradients(
  session: Session,
  plan: AttentionPlan,
  target: GradientTarget,
  loan: Loan,
  inputs: GradientInputs,
): Promise<Gradient>[] {
  const { dim, valueDim } = plan, { gpu } = session, { dBias, dSinks } = target;
  const byTensor = async (goal: TensorGoal, width: number, columns: number): Promise<Gradient> => {
    const sink = sinkOf(target[goal], session, loan, goal), atOnce = vectorsAtOnce(width);
    const code = backwardCode(goal, inputs, sink.access, width);
    const pipeline = await pipelineOf(gpu, code, `backward, ${goal}`);
    const firstVectors = Array.from(
      { length: Math.ceil(Math.ceil(width / 4) / atOnce) },
      (_, block) => block * atOnce,
    );
    return { goal, pipeline, result: resultOf(goal, sink), firstVectors, columns };
  };
  const summed = async (goal: "dBias" | "dSinks", view: BroadcastView): Promise<Gradient> => {
    const isBias = goal === "dBias";
    const code = isBias ? biasGradientCode(inputs) : sinkGradientCode();
    const [pipeline, result] = await Promise.all([
      pipelineOf(gpu, code, `backward, ${goal}`),
      summedOf(view, session, loan, goal),
    ]);
    return { goal, pipeline, result, firstVectors: [0], columns: isBias ? dim + valueDim : 0 };
  };
  return [
    byTensor("dq", dim, 2 * dim + valueDim),
    byTensor("dk", dim, 2 * dim + valueDim),
    byTensor("dv", valueDim, dim + valueDim),
    ...(dBias ? [summed("dBias", dBias)] : []),
    ...(dSinks ? [summed("dSinks", sinkView(dSinks, plan.queryHeads))] : []),
  ];
}

/** A result of which each piece has a box by itself. */
function resultOf(goal: TensorGoal, sink: Sink): Result {
  const boxOf = ({ rows, columns }: Boxes) => goal === "dq" ? rows : columns;
  return {
    bytes: (boxes) => sink.bytes(boxOf(boxes)),
    place: (boxes) => sink.place(boxOf(boxes)),
    collect: (boxes, bytes) => sink.collect(boxOf(boxes), bytes),
  };
}

/** The parts of tensors that a piece reads and writes. */
export interface Boxes {
  readonly rows: Box;
  readonly columns: Box;
  readonly scores: ScoreBox;
}
