/**
 * Who does what on Wasm. A runner gives the steps of a call; one that has none has done it all.
 *
 * @module
 */

import { Runners } from "../contract/runners.ts";
import { attention, attentionByIntegers } from "../operations/attention/operation.ts";
import type { HostTarget } from "../operations/attention/target.ts";
import { attentionBackward } from "../operations/backward/operation.ts";
import type { HostBackwardPlan } from "../operations/backward/plan.ts";
import type { HostGradientTarget } from "../operations/backward/target.ts";
import { mergeAttention } from "../operations/merge/operation.ts";
import { rope } from "../operations/rope/operation.ts";
import { forward } from "./attention/forward.ts";
import type { HostPlan } from "./attention/run.ts";
import { mergeParts } from "./merge.ts";
import { rotateRows } from "./rope.ts";
import type { Machine } from "./team/machine.ts";
import type { Step } from "./team/steps.ts";

/** A call of few rows is done at once. */
const done: readonly Step[] = [];

function makeRunners(): Runners<Machine, Iterable<Step>> {
  return new Runners<Machine, Iterable<Step>>("wasm", () => import("./rows/runners.ts"))
    .add(attention, {
      run: (machine, plan, target) => forward(machine, plan as HostPlan, target as HostTarget),
    })
    .add(attentionByIntegers, async () => (await import("./integer/runner.ts")).runner)
    // Most programs never train.
    .add(attentionBackward, async () => {
      const { backward } = await import("./backward/backward.ts");
      return {
        run: (machine, plan, target) =>
          backward(machine, plan as HostBackwardPlan, target as HostGradientTarget),
      };
    })
    .add(mergeAttention, {
      run(machine, { parts }, target) {
        mergeParts(machine, parts as readonly HostTarget[], target as HostTarget);
        return done;
      },
    })
    .add(rope, {
      run(machine, rotation) {
        rotateRows(machine, rotation);
        return done;
      },
    });
}

/** The runners. */
export const runners: Runners<Machine, Iterable<Step>> = /* @__PURE__ */ makeRunners();
