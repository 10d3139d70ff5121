/**
 * Who does what on a GPU.
 *
 * @module
 */

import type { Control } from "../contract/backend.ts";
import { Runners } from "../contract/runners.ts";
import {
  attention,
  attentionByFunctions,
  attentionByIntegers,
} from "../operations/attention/operation.ts";
import { type AttentionPlan, hasUncounted, inputsOf } from "../operations/attention/plan.ts";
import type { Target } from "../operations/attention/target.ts";
import {
  attentionBackward,
  attentionBackwardByFunctions,
} from "../operations/backward/operation.ts";
import { mergeAttention } from "../operations/merge/operation.ts";
import { rope } from "../operations/rope/operation.ts";
import { cacheStep } from "../operations/step/operation.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";
import { forward } from "./attention/forward.ts";
import { uncountedOf } from "./attention/uncounted.ts";
import { backward } from "./backward/backward.ts";
import { usages } from "./device/buffers.ts";
import type { Machine } from "./device/machine.ts";
import { mergeParts } from "./merge.ts";
import type { WebGpuPages } from "./pages/pages.ts";
import { rotateRows } from "./rope.ts";

function checkAttention(plan: AttentionPlan): void {
  const { out } = plan;
  const isShared = Object.values(inputsOf(plan)).some((one) => one?.data === out?.data);
  if (!isGpuBuffer(out?.data) || !isShared) return;
  throw new RangeError(
    "Cannot attend: `out` must be another GPUBuffer than the inputs, " +
      "a GPU cannot read and write one in one pass",
  );
}

/** Who runs a plan: what not every program needs is loaded then. */
async function runnerOf({ precision, functions }: AttentionPlan): Promise<typeof forward> {
  if (functions !== null) return (await import("./scored/runner.ts")).attend;
  return precision === "f32" ? forward : (await import("./integer/runner.ts")).attend;
}

/** Checks what functions read of a plan that has some. */
function checkFunctions({ functions }: AttentionPlan): void {
  for (const { data } of functions!.arrays.values()) {
    if (!isGpuBuffer(data) || (data.usage & usages.storage) !== 0) continue;
    throw new TypeError(
      "Cannot attend: a GPUBuffer that functions read must be made with GPUBufferUsage.STORAGE",
    );
  }
}

/** Attends; what waits to be written to pages comes with the first submission. */
async function attend(
  { session, open }: Machine,
  plan: AttentionPlan,
  target: Target,
  control: Control,
): Promise<void> {
  const pages = plan.kv.kind === "pages" ? plan.kv.store as WebGpuPages : undefined;
  pages?.open();
  try {
    const run = await runnerOf(plan);
    await run(session, plan, target, control, open);
    if (hasUncounted(plan)) {
      for (const rest of uncountedOf(plan, target)) {
        await forward(session, rest.plan, rest.target, {}, open);
      }
    }
  } catch (error) {
    await pages?.finish(); // Says what else was lost.
    throw error;
  }
  pages?.flush(); // Without a query nobody has done so.
  await pages?.finish();
}

/** A plan whose functions are options, as far as they say the same. */
async function asOptions<Plan extends AttentionPlan>(plan: Plan): Promise<Plan> {
  const { withOptions } = await import("../operations/attention/known.ts");
  return withOptions(plan);
}

const attending = { check: checkAttention, run: attend };

/** The runners. */
export const runners: Runners<Machine, Promise<void>> = new Runners<Machine, Promise<void>>(
  "webgpu",
  () => import("./rows/runners.ts"),
)
  .add(attention, attending)
  .add(attentionByIntegers, attending)
  .add(attentionByFunctions, {
    check(plan) {
      checkAttention(plan);
      checkFunctions(plan);
    },
    run: async (machine, plan, target, control) =>
      await attend(machine, await asOptions(plan), target, control),
  })
  .add(attentionBackwardByFunctions, {
    check: ({ forward }) => checkFunctions(forward),
    async run({ session, open }, plan, target, control) {
      const forward = await asOptions(plan.forward), pass = { ...plan, forward };
      const differentiate = forward.functions === null
        ? backward
        : (await import("./scored/runner.ts")).differentiate;
      await differentiate(session, pass, target, control, open);
    },
  })
  .add(attentionBackward, {
    run: ({ session, open }, plan, target, control) =>
      backward(session, plan, target, control, open),
  })
  .add(mergeAttention, {
    run: ({ session }, { parts, sums }, target) => mergeParts(session, parts, target, sums),
  })
  .add(rope, { run: rotateRows })
  .add(cacheStep, async () => (await import("./step.ts")).runnerOf(attending.run));
