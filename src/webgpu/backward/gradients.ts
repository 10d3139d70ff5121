/**
 * Gradients on WebGPU: which of them a call makes, by which shaders, and where each goes.
 *
 * @module
 */

import { type AttentionPlan, hasTerms } from "../../operations/attention/plan.ts";
import type { BackwardPlan } from "../../operations/backward/plan.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import type { AnyView, BroadcastView } from "../../tensor/tensor.ts";
import { pipelineOf } from "../device/pipelines.ts";
import type { Session } from "../device/session.ts";
import type { Loan } from "../device/submission.ts";
import { type Sink, sinkOf } from "../transfer/sink.ts";
import { accessOf, scoreSourceOf, type Source, sourceOf } from "../transfer/source.ts";
import type { GradientFunctions } from "./functions.ts";
import type { Boxes, Gradient, Result } from "./gradient.ts";
import { sinkView, summedOf } from "./summed.ts";
import {
  backwardCode,
  biasGradientCode,
  type CodeOf,
  deltaCode,
  type GradientInputs,
  type RowInputs,
  sinkGradientCode,
  type TensorGoal,
  vectorsAtOnce,
} from "./variants.ts";

/** A call under way. */
export interface BackwardCall {
  readonly session: Session;
  readonly plan: AttentionPlan;
  readonly loan: Loan;
  readonly q: Source;
  readonly k: Source;
  readonly v: Source;
  /** What rows are read of before, by the names of fields. */
  readonly ofRows: RowInputs<Source>;
  readonly bias: Source | null;
  readonly mask: Source | null;
  /** Nothing is looked at before: each gradient would have to do it anew. */
  readonly classed: null;
  readonly functions: GradientFunctions | null;
  readonly delta: GPUComputePipeline;
  readonly gradients: readonly Gradient[];
}

/** Finds where a plan's tensors are, and compiles what it needs. */
export async function prepareBackward(
  session: Session,
  { forward: plan, ...backward }: BackwardPlan,
  target: GradientTarget,
  loan: Loan,
  functions: GradientFunctions | null,
): Promise<BackwardCall> {
  const { q, k, v, bias, mask } = { ...plan, ...plan.kv },
    { out, lse, dOut, dLse, lseRest } = backward;
  const access = { q: accessOf(q), k: accessOf(k), v: accessOf(v), d_out: accessOf(dOut) };
  const code = deltaCode({
    ...{ out: accessOf(out), lse: accessOf(lse), d_out: access.d_out },
    ...{ d_lse: dLse && accessOf(dLse), lse_rest: lseRest && accessOf(lseRest) },
  });
  const makes = functions && ((...of) => functions.code(...of)) satisfies CodeOf;
  const [delta, ofArrays, ...others] = await Promise.all([
    pipelineOf(session.gpu, code, "delta"),
    target.captured.size > 0 && functions ? functions.gradients(target, access, loan) : [],
    ...prepareGradients({ session, plan, target, loan }, access, makes ?? undefined),
  ]);
  return {
    ...{
      session,
      plan,
      loan,
      delta,
      gradients: [...others, ...ofArrays],
      classed: null,
      functions,
    },
    q: sourceOf(q, loan, "q"),
    k: sourceOf(k, loan, "k"),
    v: sourceOf(v, loan, "v"),
    ofRows: {
      d_out: sourceOf(dOut, loan, "dOut"),
      out: sourceOf(out, loan, "out"),
      lse: sourceOf(lse, loan, "lse"),
      d_lse: dLse && sourceOf(dLse, loan, "dLse"),
      lse_rest: lseRest && sourceOf(lseRest, loan, "what lse lacks"),
    },
    bias: bias && scoreSourceOf(bias, loan, "bias"),
    mask: mask && scoreSourceOf(mask, loan, "mask"),
  };
}

/** Whether its shaders have no terms, nor bindings for them. */
export function isPlain(plan: AttentionPlan): boolean {
  return !hasTerms(plan) && !plan.functions;
}

/** A call that is prepared. */
interface Asked extends Pick<BackwardCall, "session" | "plan" | "loan"> {
  readonly target: GradientTarget;
}

/** Every gradient that there is a place for. */
function prepareGradients(
  { session, plan, target, loan }: Asked,
  inputs: GradientInputs,
  makes: CodeOf | undefined,
): Promise<Gradient>[] {
  const { dim, valueDim } = plan, { gpu } = session, { dq, dk, dv, dBias, dSinks } = target;
  const byTensor = async (
    goal: TensorGoal,
    view: AnyView,
    width: number,
    columns: number,
  ): Promise<Gradient> => {
    const sink = sinkOf(view, loan, goal), atOnce = vectorsAtOnce(width);
    const way = { code: makes, plain: isPlain(plan) };
    const code = backwardCode(goal, inputs, accessOf(view), width, way);
    const pipeline = await pipelineOf(gpu, code, `backward, ${goal}`);
    const firstVectors = Array.from(
      { length: Math.ceil(Math.ceil(width / 4) / atOnce) },
      (_, block) => block * atOnce,
    );
    return { goal, pipeline, result: resultOf(goal, sink), firstVectors, columns };
  };
  const summed = async (goal: "dBias" | "dSinks", view: BroadcastView): Promise<Gradient> => {
    const isBias = goal === "dBias";
    const code = isBias ? biasGradientCode(inputs, makes) : sinkGradientCode();
    const [pipeline, result] = await Promise.all([
      pipelineOf(gpu, code, `backward, ${goal}`),
      summedOf(view, loan, goal),
    ]);
    return { goal, pipeline, result, firstVectors: [0], columns: isBias ? dim + valueDim : 0 };
  };
  return [
    ...(dq ? [byTensor("dq", dq, dim, 2 * dim + valueDim)] : []),
    ...(dk ? [byTensor("dk", dk, dim, 2 * dim + valueDim)] : []),
    byTensor("dv", dv, valueDim, dim + valueDim),
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
