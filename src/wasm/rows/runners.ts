/**
 * Who does on Wasm what works on rows by themselves, loaded with its kernels.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import {
  softmaxBackward,
  softmaxOperations,
  type SoftmaxPiece,
} from "../../operations/softmax/tokens.ts";
import { attentionWeights } from "../../operations/weights/tokens.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { prepareRows as prepare } from "./program.ts";
import { softmaxGradients, softmaxRows } from "./softmax.ts";

/** The runners. */
export const runners: Runners<Machine, Iterable<Step>> = new Runners<Machine, Iterable<Step>>(
  "wasm",
)
  .add(softmaxBackward, { prepare, run: softmaxGradients })
  // Of no rows by themselves, and as seldom.
  .add(attentionWeights, async () => (await import("../weights/runner.ts")).runner);

for (const operation of Object.values(softmaxOperations)) {
  runners.add(operation, {
    prepare,
    run: (machine, plan, pieces) =>
      softmaxRows(machine, plan, pieces as readonly SoftmaxPiece<View>[]),
  });
}
