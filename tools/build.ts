/**
 * `deno task build`: builds everything generated, the Wasm binaries and their parts, the embedded
 * shaders, and the pictures of `docs/SEMANTICS.md` and `docs/FUNCTIONS.md`, and `docs/ERRORS.md`.
 *
 * @module
 */

import "./help.ts";
import { writeFile } from "node:fs/promises";
import { generateShaders } from "./build_shaders.ts";
import { type Files, generateWasm } from "./build_wasm.ts";

/** The library draws these: it is loaded only then, so that its binaries may be written before. */
async function generatePictures(): Promise<Files> {
  const [masks, functions, errors] = await Promise.all([
    import("./draw_masks.ts"),
    import("./draw_functions.ts"),
    import("./draw_errors.ts"),
  ]);
  return {
    ...await masks.generatePictures(),
    ...await functions.generateFunctions(),
    ...await errors.generateErrors(),
  };
}

const steps = [generateWasm, generateShaders, generatePictures];

/** Every generated file, made anew in memory. */
export async function generate(): Promise<Files> {
  const files: Files = {};
  for (const step of steps) Object.assign(files, await step());
  return files;
}

if (import.meta.main) {
  const root = new URL("..", import.meta.url);
  for (const step of steps) {
    for (const [path, text] of Object.entries(await step())) {
      await writeFile(new URL(path, root), text);
      console.log(`${path}: ${text.length} characters`);
    }
  }
}
