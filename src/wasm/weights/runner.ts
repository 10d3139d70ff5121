/**
 * Weights of attention on Wasm, loaded with their kernels: `backward()` for values alone, whose jobs another program runs.
 *
 * @module
 */

import type { Runner } from "../../contract/runners.ts";
import type { TensorPlan } from "../../operations/attention/plan.ts";
import type { HostBackwardPlan } from "../../operations/backward/plan.ts";
import type { WeightsPlan, WeightsTarget } from "../../operations/weights/tokens.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { Elements } from "../../tensor/dtype.ts";
import { contiguousStrides, type Extents, sizeOf, type View } from "../../tensor/tensor.ts";
import type { FunctionJobs } from "../attention/forward.ts";
import { measureJob } from "../attention/workspace.ts";
import { backward } from "../backward/backward.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { prepareWeights, weightsProgram } from "./program.ts";

/** No other gradients. */
const none = { dq: null, dk: null, dBias: null, dSinks: null, captured: new Map<never, never>() };

/** What the jobs of a part are run by: their tile memory is laid out as that of gradients. */
function jobsOf(machine: Machine): FunctionJobs {
  const { kernels, arena } = machine;
  return {
    program: weightsProgram(machine),
    scratch: (record) => measureJob(kernels, arena, record).scratch,
    write() {},
  };
}

/** Room for a gradient that nobody asked for. */
function roomLike({ shape }: View): View {
  const data = new HeldArray<Elements>(new Float32Array(sizeOf(shape)));
  const strides = contiguousStrides(shape) as unknown as Extents;
  return { data, dtype: "f32", offset: 0, shape, strides };
}

/** Who has the gradients of attention with score and mask functions, once they are loaded: weights with such are theirs. */
let scored: typeof import("../scored/backward.ts").runner | undefined;

/** One part. */
function weigh(machine: Machine, part: HostBackwardPlan, dv: View): Iterable<Step> {
  const { functions, q, kv } = part.forward;
  if (functions === null) return backward(machine, part, { ...none, dv }, jobsOf(machine));
  const target = { ...none, dv, dq: roomLike(q), dk: roomLike(kv.k) };
  return scored!.run(machine, part, target, {});
}

function* weighAll(
  machine: Machine,
  { parts }: WeightsPlan,
  targets: WeightsTarget,
): Generator<Step> {
  for (const [at, part] of parts.entries()) {
    yield* weigh(machine, part as HostBackwardPlan, targets[at] as View);
  }
}

/** Whether parts have functions: all of a call do, or none. */
function hasFunctions({ parts }: WeightsPlan): boolean {
  return parts.some(({ forward }: { forward: TensorPlan }) => forward.functions !== null);
}

/** The runner. */
export const runner: Runner<Machine, WeightsPlan, WeightsTarget, Iterable<Step>> = {
  async prepare(machine, plan) {
    if (!hasFunctions(plan)) return await prepareWeights(machine);
    scored ??= (await import("../scored/backward.ts")).runner;
    // Any plan of these is prepared alike.
    await scored.prepare?.(machine, plan.parts[0]);
  },
  run: weighAll,
};
