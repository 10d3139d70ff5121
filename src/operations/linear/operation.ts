/**
 * Calls that attend to what they make become results, and keep what their gradients need.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { useAll } from "../../tensor/lending.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";
import { checkHost } from "../host.ts";
import { placed as placedAttention } from "../attention/operation.ts";
import type { AttentionResult, KeptResult, LseData } from "../attention/result.ts";
import type { Target } from "../attention/target.ts";
import { type BackwardPassOptions, type BackwardPlan, readPass } from "../backward/plan.ts";
import { type Call, type Made, type NewTensor, run, runUsed } from "../call.ts";
import type { AttendingCall, AttendingPlan } from "./attending.ts";

/** What happens to a call. */
export function placed<Plan extends AttendingPlan>(
  operation: Operation<Plan, Target>,
  { plan, ...call }: AttendingCall<Plan>,
): Call<Plan, Target, AttentionResult> {
  return { ...placedAttention({ ...call, plan: plan.forward }), operation, plan };
}

/** A backward pass: the call, and the pass of attention to what it makes. */
export interface AttendingPass<Plan extends AttendingPlan> {
  readonly plan: Plan;
  readonly pass: BackwardPlan;
}

/** Gradients with respect to `q`, `k` and `v`, and what is made for others by name. */
export function gradientsOf(
  { forward: { q, kv: { k, v }, written } }: AttendingPlan,
  others: Readonly<Record<string, NewTensor | undefined>>,
): Readonly<Record<string, NewTensor>> {
  const given = Object.entries(others).filter(([, tensor]) => tensor !== undefined);
  return {
    dq: { like: q.data, shape: written.q, dtype: q.dtype },
    dk: { like: k.data, shape: written.k, dtype: k.dtype },
    dv: { like: v.data, shape: written.v, dtype: v.dtype },
    ...Object.fromEntries(given as [string, NewTensor][]),
  };
}

/** What differs in backward passes. */
export interface Backward<Plan extends AttendingPlan, GradientTarget> {
  readonly operation: Operation<AttendingPass<Plan>, GradientTarget>;
  results(plan: Plan): Readonly<Record<string, NewTensor>>;
  target(made: Made, plan: Plan): GradientTarget;
}

/** What a call gives that keeps what its gradients need. */
export interface Differentiable {
  readonly out: AnyTensor;
  readonly lse: Tensor<LseData<never>>;
  backward(dOut: AnyTensor, options?: BackwardPassOptions): Promise<Made>;
}

/** Runs a call, and keeps what its gradients need. */
export async function runWithGradient<Plan extends AttendingPlan, GradientTarget>(
  asked: Machinery | Promise<Machinery>,
  operation: Operation<Plan, Target>,
  call: AttendingCall<Plan>,
  backward: Backward<Plan, GradientTarget>,
): Promise<Differentiable> {
  const leave = useAll(Object.values(operation.inputs(call.plan)));
  try {
    const { name, cannot } = operation, { q } = call.plan.forward;
    const own = checkHost(await asked, name, cannot, { q });
    const result = await runUsed(own, placed(operation, { ...call, keepsRest: true }));
    return differentiable(own, call.plan, result as KeptResult<never>, backward);
  } finally {
    leave();
  }
}

/** Results, and the function for gradients. */
function differentiable<Plan extends AttendingPlan, GradientTarget>(
  backend: Backend,
  plan: Plan,
  { out, lse, lseRest }: KeptResult<never>,
  { operation, results, target }: Backward<Plan, GradientTarget>,
): Differentiable {
  const kept = { out: readTensor("out", out, operation.cannot), lse: { ...lse }, lseRest };
  return {
    ...{ out, lse },
    backward: async (dOut, options = {}) => {
      const { plan: pass, control } = readPass(plan.forward, kept, dOut, options);
      return await run(backend, {
        ...{ operation, plan: { plan, pass }, control, results: results(plan) },
        target: (made) => target(made, plan),
        finish: (made) => ({ ...made }),
      });
    },
  };
}
