/**
 * performerAttention(): calls become results.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyTensor, mayOverlapAny, viewOf } from "../../tensor/tensor.ts";
import { type Call, handBack, type Made, type NewTensor, run, runUsed } from "../call.ts";
import { type PerformerCall, type PerformerPlan, storageOf, usedBy } from "./plan.ts";
import { performerAttention, type PerformerTarget } from "./tokens.ts";

/** Whether what is written may be read meanwhile. */
function isRead({ out, ...plan }: PerformerPlan): boolean {
  if (out === null || isGpuBuffer(out.data)) return false;
  return mayOverlapAny(out, Object.values(usedBy({ ...plan, out: null })));
}

/** What a call makes for its result; `apart` where `out` cannot be written while inputs are read. */
function resultsOf(plan: PerformerPlan): Record<string, NewTensor> {
  const { out, written } = plan, shape = written.out;
  if (out === null) return { out: { ...storageOf(plan), shape } };
  return isRead(plan) ? { apart: { like: out.data, dtype: out.dtype, shape } } : {};
}

/** Where a call's result goes. */
function targetOf({ out, written: { layout } }: PerformerPlan, made: Made): PerformerTarget {
  const own = made.out ?? made.apart;
  return { out: own === undefined ? out! : viewOf(own, layout) };
}

/** What becomes of a call that was read. */
export function placed(call: PerformerCall): Call<PerformerPlan, PerformerTarget, AnyTensor> {
  const { plan, control, given } = call;
  return {
    operation: performerAttention,
    plan,
    control,
    results: resultsOf(plan),
    target: (made) => targetOf(plan, made),
    finish: (made) => handBack(made, plan.written.layout, plan.out, given),
  };
}

/** Runs a call that was read. */
export async function runPerformer(
  asked: Machinery | Promise<Machinery>,
  call: PerformerCall,
): Promise<{ readonly out: AnyTensor }> {
  return { out: await run(asked, placed(call)) };
}

/** The same where all that it reads and writes is in use already. */
export async function runUsedPerformer(
  asked: Machinery,
  call: PerformerCall,
): Promise<{ readonly out: AnyTensor }> {
  return { out: await runUsed(asked, placed(call)) };
}
