/**
 * Builds everything generated: the Wasm binaries and their parts, and the embedded shaders.
 *
 * @module
 */

import { writeFile } from "node:fs/promises";
import { generateShaders } from "./build_shaders.ts";
import { type Files, generateWasm } from "./build_wasm.ts";

/** Every generated file, made anew in memory. */
export async function generate(): Promise<Files> {
  return { ...await generateWasm(), ...await generateShaders() };
}

if (import.meta.main) {
  const root = new URL("..", import.meta.url);
  for (const [path, text] of Object.entries(await generate())) {
    await writeFile(new URL(path, root), text);
    console.log(`${path}: ${text.length} characters`);
  }
}
