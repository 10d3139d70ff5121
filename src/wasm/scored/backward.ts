/**
 * Gradients of attention with score and mask functions on Wasm, loaded with their kernels: `backward()`, whose jobs another
 * program runs.
 *
 * @module
 */

import type { Runner } from "../../contract/runners.ts";
import { withOptions } from "../../operations/attention/known.ts";
import type { BackwardPlan, HostBackwardPlan } from "../../operations/backward/plan.ts";
import type { GradientTarget, HostGradientTarget } from "../../operations/backward/target.ts";
import type { Functions } from "../../scores/functions.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { backward } from "../backward/backward.ts";
import { cutGradients } from "../backward/gradient_jobs.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { placeFunctions } from "./placed.ts";
import { prepareScored, scoredKernels, scoredProgram } from "./program.ts";
import { jobsOf } from "./runner.ts";

/**
 * Threads that may take part: where arrays have gradients one alone, so that what is added to an element comes in one order,
 * however many there are.
 */
function threadsFor({ score }: Functions, { threads }: Machine): number {
  return score?.arrays.some(({ grad }) => grad) ? 1 : threads;
}

function* differentiate(
  machine: Machine,
  given: HostBackwardPlan,
  target: HostGradientTarget,
): Generator<Step> {
  const forward = withOptions(given.forward), pass = { ...given, forward };
  const { functions } = forward;
  if (functions === null) return yield* backward(machine, pass, target);
  const own = { ...machine, threads: threadsFor(functions, machine) };
  const { tiles } = cutGradients(forward, own.threads);
  const placed = placeFunctions(
    machine.arena,
    scoredKernels(machine),
    functions,
    tiles,
    true,
  );
  try {
    yield* backward(own, pass, target, jobsOf(machine, forward, placed.address));
    for (const [array, { data }] of target.captured) {
      (data as HeldArray<Float32Array>).now().set(placed.sumsOf(array));
    }
  } finally {
    placed.free();
  }
}

/** The runner. */
export const runner: Runner<Machine, BackwardPlan, GradientTarget, Iterable<Step>> = {
  prepare: prepareScored,
  isReady: (machine) => scoredProgram(machine) > 0,
  run: (machine, plan, target) =>
    differentiate(machine, plan as HostBackwardPlan, target as HostGradientTarget),
};
