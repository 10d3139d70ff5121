/**
 * Who does on Wasm attention in linear time, and convolutions, loaded with their kernels.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import type { ConvolutionKind } from "../../operations/convolution/options.ts";
import type { HostConvolutionPlan } from "../../operations/convolution/plan.ts";
import {
  convolutionGradients as convolutionGradientTokens,
  type ConvolutionGradientTarget,
  convolutions,
  type HostConvolutionBackwardPlan,
} from "../../operations/convolution/tokens.ts";
import {
  type HostPerformerPlan,
  performerAttention,
  performerBackward,
  performerStep,
} from "../../operations/performer/tokens.ts";
import {
  linformer,
  linformerBackward,
  linformerWithGradient,
} from "../../operations/linformer/tokens.ts";
import {
  localGlobal,
  localGlobalBackward,
  localGlobalStep,
  localGlobalWithGradient,
} from "../../operations/local_global/tokens.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { convolve } from "./convolution.ts";
import { convolutionGradients } from "./convolution_backward.ts";
import { performerRows, stepPerformer } from "./performer.ts";
import { machineFor } from "./performer_jobs.ts";
import { performerGradients } from "./performer_backward.ts";
import { prepareLinear as prepare } from "./program.ts";

/** The runners. */
export const runners: Runners<Machine, Iterable<Step>> = new Runners<Machine, Iterable<Step>>(
  "wasm",
)
  .add(performerAttention, {
    prepare,
    run: (machine, plan, target) =>
      performerRows(machineFor(machine, plan), plan as HostPerformerPlan, target),
  })
  .add(performerStep, {
    prepare,
    run: (machine, step, target) => stepPerformer(machineFor(machine, step.plan), step, target),
  })
  .add(performerBackward, {
    prepare,
    run: (machine, pass, target) =>
      performerGradients(machineFor(machine, pass.plan), pass, target),
  });

/** Most programs have no use for these. */
const loadAttending = () => import("./attending.ts");

for (const operation of [linformer, linformerWithGradient]) {
  runners.add(operation, async () => {
    const { linformerAttention: attend } = await loadAttending();
    return { prepare, run: (machine, plan, target) => attend(machine, plan, target as HostTarget) };
  });
}

for (const operation of [localGlobal, localGlobalWithGradient]) {
  runners.add(operation, async () => {
    const { localGlobalAttention: attend } = await loadAttending();
    return { prepare, run: (machine, plan, target) => attend(machine, plan, target as HostTarget) };
  });
}

runners
  .add(localGlobalStep, async () => {
    const { stepLocalGlobal: step } = await loadAttending();
    return { prepare, run: (machine, plan, target) => step(machine, plan, target as HostTarget) };
  })
  .add(linformerBackward, async () => {
    const { linformerGradients } = await loadAttending();
    return { prepare, run: linformerGradients };
  })
  .add(localGlobalBackward, async () => {
    const { localGlobalGradients } = await loadAttending();
    return { prepare, run: localGlobalGradients };
  });

for (const kind of Object.keys(convolutions) as ConvolutionKind[]) {
  runners.add(convolutions[kind], {
    prepare,
    run: (machine, plan, out) => convolve(machine, plan as HostConvolutionPlan, out as View),
  });
  runners.add(convolutionGradientTokens[kind], {
    prepare,
    run: (machine, plan, target) =>
      convolutionGradients(
        machine,
        plan as HostConvolutionBackwardPlan,
        target as ConvolutionGradientTarget<View>,
      ),
  });
}
