/**
 * What the tests of the demo share: its model, and safetensors files made to order.
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
