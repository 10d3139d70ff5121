/**
 * Who does what on Wasm. A runner gives the steps of a call; one that has none has done it all.
 *
 * @module
 */

import { Runners } from "../contract/runners.ts";
import {
  attention,
  attentionByFunctions,
  attentionByIntegers,
} from "../operations/attention/operation.ts";
import type { HostTarget } from "../operations/attention/target.ts";
import { type AttentionPlan, countScores } from "../operations/attention/plan.ts";
import {
  attentionBackward,
  attentionBackwardByFunctions,
} from "../operations/backward/operation.ts";
import type { HostBackwardPlan } from "../operations/backward/plan.ts";
import type { HostGradientTarget } from "../operations/backward/target.ts";
import { mergeAttention } from "../operations/merge/operation.ts";
import { rope } from "../operations/rope/operation.ts";
import { forward } from "./attention/forward.ts";
import { splitRows } from "./attention/jobs.ts";
import type { HostPlan } from "./attention/run.ts";
import { mergeParts } from "./merge.ts";
import { rotateRows } from "./rope.ts";
import type { Machine } from "./team/machine.ts";
import type { Step } from "./team/steps.ts";

/** A call of few rows is done at once. */
const done: readonly Step[] = [];

/** Who does attention of few queries, once it is loaded; `null` where it cannot be. */
let narrow: typeof import("./narrow/runner.ts").narrow | null | undefined;

/**
 * Whether few queries of each head are against so much in tensors that kernels of their own are worth loading. These run on
 * the calling thread alone: where there are others, more than four rows are done sooner by all.
 */
function isNarrow({ threads }: Machine, plan: AttentionPlan): boolean {
  const { kv, segments, group, dim, valueDim, blockMask } = plan;
  const most = threads > 1 ? 4 : splitRows;
  return kv.kind === "tensors" && !blockMask &&
    segments.every(({ queries }) => queries * group <= most) &&
    countScores(plan) * (dim + valueDim) >= 2 ** 21;
}

/** Loads it where a plan is worth that. What cannot be loaded is done without, in more time. */
async function prepareNarrow(machine: Machine, plan: AttentionPlan): Promise<void> {
  // A module that was passed in is one of two, of which the other has other bits.
  if (narrow === null || machine.binary === undefined || !isNarrow(machine, plan)) return;
  try {
    narrow ??= (await import("./narrow/runner.ts")).narrow;
    await narrow.prepare(machine);
  } catch {
    narrow = null;
  }
}

function makeRunners(): Runners<Machine, Iterable<Step>> {
  return new Runners<Machine, Iterable<Step>>("wasm", () => import("./rows/runners.ts"))
    .add(attention, {
      prepare: prepareNarrow,
      run(machine, plan, target) {
        const attend = narrow?.isReady(machine) && isNarrow(machine, plan)
          ? narrow.attend
          : forward;
        return attend(machine, plan as HostPlan, target as HostTarget);
      },
    })
    .add(attentionByIntegers, async () => (await import("./integer/runner.ts")).runner)
    .add(attentionByFunctions, async () => (await import("./scored/runner.ts")).runner)
    // Most programs never train.
    .add(attentionBackward, async () => {
      const { backward } = await import("./backward/backward.ts");
      return {
        run: (machine, plan, target) =>
          backward(machine, plan as HostBackwardPlan, target as HostGradientTarget),
      };
    })
    .add(
      attentionBackwardByFunctions,
      async () => (await import("./scored/backward.ts")).runner,
    )
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
