/**
 * Who does on a GPU attention in linear time, and convolutions, loaded with their shaders.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import { convolutions } from "../../operations/convolution/tokens.ts";
import { performerAttention, performerStep } from "../../operations/performer/tokens.ts";
import { linformer } from "../../operations/linformer/tokens.ts";
import { localGlobal, localGlobalStep } from "../../operations/local_global/tokens.ts";
import type { Machine } from "../device/machine.ts";
import { convolve } from "./convolution.ts";
import { performerRows, stepPerformer } from "./performer.ts";

/** The runners. */
export const runners: Runners<Machine, Promise<void>> = new Runners<Machine, Promise<void>>(
  "webgpu",
)
  .add(performerAttention, { run: performerRows })
  .add(performerStep, { run: stepPerformer })
  // Most programs have no use for these.
  .add(linformer, async () => ({ run: (await import("./attending.ts")).linformerAttention }))
  .add(localGlobal, async () => ({ run: (await import("./attending.ts")).localGlobalAttention }))
  .add(localGlobalStep, async () => ({ run: (await import("./attending.ts")).stepLocalGlobal }));

for (const operation of Object.values(convolutions)) {
  runners.add(operation, { run: convolve });
}
