/**
 * What the tests of the demo share: its model, and safetensors files made to order.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { createEngine } from "@flashtile/attention";
import { type ModelFiles, readModelFiles } from "../../examples/llama/files.ts";
import { Llama } from "../../examples/llama/model.ts";

/** The model's folder. Tests run in the root of the repository, wherever they are bundled to. */
export const modelFolder = "examples/llama/model";

/** Reads the model's files; all of them are there. */
export async function readModel(): Promise<Required<ModelFiles>> {
  const { reference, ...files } = await readModelFiles(modelFolder, readFile);
  if (reference === undefined) throw new Error(`${modelFolder} has no reference.json`);
  return { ...files, reference };
}

/** Lends the model, and closes its engine afterwards. */
export async function withModel(
  use: (model: Llama, files: Required<ModelFiles>) => Promise<void>,
): Promise<void> {
  const files = await readModel();
  const engine = await createEngine();
  try {
    await use(new Llama(files.config, files.weights, engine), files);
  } finally {
    await engine.close();
  }
}

/** Writes a safetensors file: any header before any data. */
export function safetensors(header: unknown, data: ArrayLike<number>): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const file = new Uint8Array(8 + json.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  file.set(data, 8 + json.length);
  return file;
}
