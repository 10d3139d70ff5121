/**
 * Who does on a GPU the layers between attention calls, loaded with their shaders.
 *
 * @module
 */

import { Runners } from "../../contract/runners.ts";
import {
  embedding,
  linear,
  meanRows,
  norms,
  packLinear,
  pointwise,
} from "../../operations/nn/tokens.ts";
import type { Machine } from "../device/machine.ts";
import { normRows, pointwiseRows } from "./layers.ts";
import { checkLinear, linearRows } from "./linear.ts";
import { packWeight } from "./pack.ts";
import { checkEmbedding, checkMeans, embeddingRows, meansOfRows } from "./tables.ts";

/** Inputs of functions that have two; passes call them as pieces do. */
const pairs: Readonly<Record<string, readonly string[]>> = {
  gated: ["gate", "up", "x", "y"],
  add: ["a", "b", "x", "y"],
};

/** The runners. */
export const runners: Runners<Machine, Promise<void>> = new Runners<Machine, Promise<void>>(
  "webgpu",
)
  .add(packLinear, { run: packWeight })
  .add(linear, { check: checkLinear, run: linearRows })
  .add(embedding, { check: checkEmbedding, run: embeddingRows })
  .add(meanRows, { check: checkMeans, run: meansOfRows });

for (const operation of Object.values(norms)) runners.add(operation, normRows(operation.name));

for (const [name, operation] of Object.entries(pointwise)) {
  runners.add(operation, pointwiseRows(name, Object.hasOwn(pairs, name) ? pairs[name] : ["x"]));
}
