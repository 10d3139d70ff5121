/**
 * Attention as an operation: where a call's results go.
 *
 * @module
 */

import { cannot } from "../../check/words.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import type { CapturedElements } from "../../scores/functions.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import { type AnyTensor, type AnyView, mayOverlapAny, viewOf } from "../../tensor/tensor.ts";
import { type Call, handBack, type Made, type NewTensor, run, runSync, runUsed } from "../call.ts";
import {
  type AttentionCall,
  type AttentionPlan,
  countRows,
  countScores,
  inputsOf,
  mayBeRead,
} from "./plan.ts";
import type { AttentionResult } from "./result.ts";
import type { Target } from "./target.ts";

/** The operation. */
export const attention: Operation<AttentionPlan, Target> = {
  name: "attention",
  cannot,
  inputs: (plan) => ({ ...inputsOf(plan), out: plan.out }),
  work: (plan) => countScores(plan) * (plan.dim + plan.valueDim),
  rows: countRows,
};

/** The same by integers, on the CPU alone. */
export const attentionByIntegers: Operation<AttentionPlan, Target> = {
  ...attention,
  work: () => 0,
  part: ["`precision`", "{ precision }"],
};

/** The same with score and mask functions. */
export const attentionByFunctions: Operation<AttentionPlan, Target> = {
  ...attention,
  inputs: (plan) => ({ ...attention.inputs(plan), ...capturedOf(plan) }),
  part: ["what `scoreMod` and `maskMod` need", "{ functions: true }"],
};

/** The arrays that functions read, by what messages call them. */
export function capturedOf({ functions }: AttentionPlan): Record<string, CapturedElements> {
  const arrays = [...functions!.arrays.values()];
  return Object.fromEntries(arrays.map((one, at) => [`captured[${at}]`, one]));
}

/** The operation that a plan is of. */
export function operationOf(
  { functions, precision }: AttentionPlan,
): Operation<AttentionPlan, Target> {
  if (functions !== null) return attentionByFunctions;
  return precision === "f32" ? attention : attentionByIntegers;
}

/** All that such a plan reads, and what is the caller's of what it writes. */
export function inputsOfCall(
  plan: AttentionPlan,
): ReturnType<Operation<AttentionPlan, Target>["inputs"]> {
  return operationOf(plan).inputs(plan);
}

/** What a call makes for its results; `apart` where `out` cannot be written while inputs are read. */
type Results = Readonly<Partial<Record<"out" | "apart" | "lse" | "lseRest", NewTensor>>>;

function resultsOf({ plan, storage, keepsRest, alsoReads = [] }: AttentionCall): Results {
  const { out: given, outShape, lseShape } = plan;
  const ofRows = (shape: readonly number[]) => ({ ...storage, dtype: "f32" as const, shape });
  const out = { ...storage, shape: outShape };
  // Written in place, a tile could overwrite what a later one still reads. A GPU refuses that.
  const isApart = given !== null &&
    (mayBeRead(plan, given) || mayOverlapAny(given, alsoReads));
  return {
    ...(given === null ? { out } : isApart && { apart: out }),
    ...(lseShape && { lse: ofRows(lseShape) }),
    ...(keepsRest && { lseRest: ofRows(lseShape!) }),
  };
}

/** A result by row `[B, Hq, Nq]` as backends see it. */
function columnOf(rows: AnyTensor | undefined, plan: AttentionPlan): AnyView | null {
  if (rows === undefined) return null;
  const shape = [plan.batch, plan.queryHeads, plan.queries, 1];
  return viewOf({ data: rows.data, shape, dtype: "f32" }, "bhnd");
}

/** What becomes of a call that was read. */
export function placed(call: AttentionCall): Call<AttentionPlan, Target, AttentionResult> {
  const { plan, control } = call, { layout } = plan.written;
  return {
    operation: operationOf(plan),
    plan,
    control,
    results: resultsOf(call) as Call<AttentionPlan, Target, AttentionResult>["results"],
    target({ out, apart, lse, lseRest }: Made): Target {
      const written = out ?? apart,
        view = written === undefined ? plan.out : viewOf(written, layout);
      return { out: view, lse: columnOf(lse, plan), lseRest: columnOf(lseRest, plan) } as Target;
    },
    finish({ out, apart, ...rows }: Made): AttentionResult {
      const back = handBack({ out, apart }, layout, plan.out, call.out);
      return { out: back, ...rows } as AttentionResult;
    },
  };
}

/** Runs a call that was read. */
export function runAttention<Data extends TensorData>(
  asked: Machinery | Promise<Machinery>,
  call: AttentionCall,
): Promise<AttentionResult<Data>> {
  return run(asked, placed(call)) as Promise<unknown> as Promise<AttentionResult<Data>>;
}

/** The same where all that it reads and writes is in use already. */
export function runUsedAttention<Data extends TensorData>(
  asked: Machinery | Promise<Machinery>,
  call: AttentionCall,
): Promise<AttentionResult<Data>> {
  return runUsed(asked, placed(call)) as Promise<unknown> as Promise<AttentionResult<Data>>;
}

/** Runs a call that was read to its end. */
export function runAttentionSync<Data extends TensorData>(
  backend: Backend,
  call: AttentionCall,
): AttentionResult<Data> {
  return runSync(backend, placed(call)) as AttentionResult<TensorData> as AttentionResult<Data>;
}
