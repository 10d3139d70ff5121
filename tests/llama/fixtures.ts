/**
 * What the tests of the demo share: its model.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { readFile } from "node:fs/promises";
import { type Model, openModel } from "../../examples/llama/files.ts";

/** The model's folder. Tests run in the root of the repository, wherever they are bundled to. */
export const modelFolder = "examples/llama/model";

/** Lends the model, all of whose files are there, and closes its engine afterwards. */
export async function withModel(use: (model: Required<Model>) => Promise<void>): Promise<void> {
  const engine = await createEngine();
  try {
    const { decoder, reference } = await openModel(modelFolder, readFile, engine);
    if (reference === undefined) throw new Error(`${modelFolder} has no reference.json`);
    await use({ decoder, reference });
  } finally {
    await engine.close();
  }
}
