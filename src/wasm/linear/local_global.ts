/**
 * Attention to the own block and to summaries of all on Wasm: the summaries and a copy of the rows in f32, and exact
 * attention to both.
 *
 * @module
 */

import type { TensorPlan } from "../../operations/attention/plan.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import type { HostBackwardPlan } from "../../operations/backward/plan.ts";
import type { AttendingPass } from "../../operations/linear/operation.ts";
import type {
  LocalGlobalGradients,
  LocalGlobalPlan,
} from "../../operations/local_global/tokens.ts";
import type { Extents, View } from "../../tensor/tensor.ts";
import { forward } from "../attention/forward.ts";
import { backward } from "../backward/backward.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { withFloats } from "./made.ts";
import { partsOf, spread, summarize } from "./summaries.ts";

/** A plan whose tensors are in arrays. */
type HostPlan = LocalGlobalPlan<View>;

/** Shapes of what is made: summaries, then rows. */
function shapesOf({ forward: { batch, keyHeads, keys, dim, valueDim } }: HostPlan): Extents[] {
  return [dim, valueDim].map((columns) => [batch, keyHeads, keys, columns]);
}

/** Makes keys and values. */
function make(machine: Machine, plan: HostPlan, k: View, v: View): Generator<Step> {
  const { kv } = plan.forward;
  return summarize(machine, plan, [
    { x: kv.k, ...partsOf(k, plan) },
    { x: kv.v, ...partsOf(v, plan) },
  ]);
}

/** The plan of attention to what was made. */
function planOf({ forward }: HostPlan, k: View, v: View): TensorPlan<View> {
  return { ...forward, kv: { kind: "tensors", k, v } };
}

/** The function. */
export function localGlobalAttention(
  machine: Machine,
  plan: LocalGlobalPlan,
  target: HostTarget,
): Generator<Step> {
  const host = plan as HostPlan;
  return withFloats(machine.arena, shapesOf(host), function* (k, v) {
    yield* make(machine, host, k, v);
    yield* forward(machine, planOf(host, k, v), target);
  });
}

/** The gradients: summaries are made again, which costs less than to keep them. */
export function localGlobalGradients(
  machine: Machine,
  { plan, pass }: AttendingPass<LocalGlobalPlan>,
  target: LocalGlobalGradients,
): Generator<Step> {
  const host = plan as HostPlan, { k: givenK, v: givenV } = host.forward.kv;
  const { dq, dk, dv, dPool } = target as LocalGlobalGradients<View>;
  const shapes = [...shapesOf(host), ...shapesOf(host)];
  return withFloats(machine.arena, shapes, function* (k, v, dMadeK, dMadeV) {
    yield* make(machine, host, k, v);
    const whole = { ...pass, forward: planOf(host, k, v) } as HostBackwardPlan;
    const none = { dBias: null, dSinks: null, captured: new Map() };
    yield* backward(machine, whole, { dq, dk: dMadeK, dv: dMadeV, ...none });
    const through = (made: View, x: View, target: View) => ({
      ...{ ...partsOf(made, host), target, ...(dPool !== null && { x }) },
    });
    const all = [through(dMadeK, givenK, dk), through(dMadeV, givenV, dv)];
    yield* spread(machine, host, all, dPool);
  });
}
