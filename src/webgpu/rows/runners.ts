/**
 * Who does on a GPU what works on rows by themselves, loaded with its shaders.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import { softmaxOperations } from "../../operations/softmax/tokens.ts";
import { attentionWeights } from "../../operations/weights/tokens.ts";
import type { Machine } from "../device/machine.ts";
import { softmaxRows } from "./softmax.ts";

/** The runners. */
export const runners: Runners<Machine, Promise<void>> = new Runners<Machine, Promise<void>>(
  "webgpu",
).add(attentionWeights, async () => (await import("../weights/runner.ts")).runner);

for (const operation of Object.values(softmaxOperations)) {
  runners.add(operation, { run: softmaxRows });
}
