/**
 * Builds everything generated: the Wasm binaries and their parts, the embedded shaders, and the
 * pictures of `docs/SEMANTICS.md`.
 *
 * @module
 */

import { writeFile } from "node:fs/promises";
import { generateShaders } from "./build_shaders.ts";
import { type Files, generateWasm } from "./build_wasm.ts";
import { generatePictures } from "./draw_masks.ts";

/** Every generated file, made anew in memory. */
export async function generate(): Promise<Files> {
  return { ...await generateWasm(), ...await generateShaders(), ...await generatePictures() };
}

if (import.meta.main) {
  const root = new URL("..", import.meta.url);
  for (const [path, text] of Object.entries(await generate())) {
    await writeFile(new URL(path, root), text);
    console.log(`${path}: ${text.length} characters`);
  }
}
