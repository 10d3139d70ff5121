/**
 * Who does on Wasm the layers between attention calls, loaded with their kernels.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import {
  embeddingBackward,
  gatedBackward,
  linearBackward,
  meanBackward,
  normBackward,
  plainLinear,
  pointwiseBackward,
} from "../../operations/nn/backward/tokens.ts";
import {
  embedding,
  linear,
  meanRows,
  norms,
  packLinear,
  pointwise,
} from "../../operations/nn/tokens.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { embeddingRows, meanRowsOf, normRows, pointwiseRows } from "./layers.ts";
import { linearRows } from "./linear.ts";
import { packWeight } from "./pack.ts";
import { hasLayers as isReady, prepareLayers as prepare } from "./program.ts";

/** Loads who does gradients. */
const load = () => import("./backward/runners.ts");

/** The runners. */
export const runners: Runners<Machine, Iterable<Step>> = new Runners<Machine, Iterable<Step>>(
  "wasm",
)
  .add(packLinear, { prepare, isReady, run: packWeight })
  .add(linear, { prepare, isReady, run: linearRows })
  .add(embedding, { prepare, isReady, run: embeddingRows })
  .add(meanRows, { prepare, isReady, run: meanRowsOf })
  // Most programs never train.
  .add(plainLinear, async () => ({ prepare, run: (await load()).plainLinearRows }))
  .add(linearBackward, async () => ({ prepare, run: (await load()).linearGradients }))
  .add(normBackward, async () => ({ prepare, run: (await load()).normGradients }))
  .add(pointwiseBackward, async () => ({ prepare, run: (await load()).pointwiseGradients }))
  .add(gatedBackward, async () => ({ prepare, run: (await load()).gatedGradients }))
  .add(embeddingBackward, async () => ({ prepare, run: (await load()).embeddingGradients }))
  .add(meanBackward, async () => ({ prepare, run: (await load()).meanGradients }));

for (const operation of Object.values(norms)) {
  runners.add(operation, { prepare, isReady, run: normRows });
}

for (const operation of Object.values(pointwise)) {
  runners.add(operation, { prepare, isReady, run: pointwiseRows });
}
