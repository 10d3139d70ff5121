/**
 * `deno task train`: trains a small Llama, every attention and its gradients through the library.
 *
 * @module
 */

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { run } from "./cli.ts";
import { drawCurve } from "./curve.ts";
import { createProgress } from "./progress.ts";

process.exitCode = await run(process.argv.slice(2), {
  folder: relative(process.cwd(), fileURLToPath(new URL(".", import.meta.url))),
  readFile,
  writeFile: async (path, content) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.part`, content);
    await rename(`${path}.part`, path);
  },
  drawCurve,
  progress: createProgress(process.stderr),
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});
