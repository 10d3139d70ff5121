/**
 * `deno task edge [-- --model FOLDER]`: bundles the worker with the package as npm would give it, and serves
 * it by workerd on this machine.
 *
 * @module
 */

import "../../tools/help.ts";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pinned } from "../../tools/bundle_tests.ts";
import { bundleWorker, unpackPackage } from "../../tools/bundle_worker.ts";
import { install } from "../../tools/install.ts";
import { type ServedWorker, serveWorker } from "../../tools/workerd.ts";
import { portOf } from "../port.ts";

const scriptOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Bundles the worker of the demo's model into a folder below `folder`; returns that. */
export function bundleExample(folder: string, single = false): string {
  const target = join(folder, single ? "single" : "worker");
  const modules = unpackPackage(folder);
  bundleWorker(scriptOf("worker.ts"), target, modules, { flags: ["--minify"], single });
  return target;
}

/** Files of an encoder that `minilm.ts` imports. */
const files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** Checks that a folder has them. */
function checkModel(model: string): void {
  const missing = files.filter((name) => !existsSync(join(model, name)));
  if (missing.length === 0) return;
  throw new Error(
    `Cannot serve ${model}: it must have ${files.join(", ")}, and has no ${missing.join(", ")}`,
  );
}

/**
 * Bundles the worker of an encoder that is published.
 *
 * @param model Folder of its files.
 * @param target Receives the bundle, with these beside it.
 * @param modules `node_modules` that have the package.
 * @throws {Error} When a file is missing.
 */
export function bundleModel(model: string, target: string, modules: string): void {
  checkModel(model);
  const tokenizers = install("tokenizers", [pinned("@huggingface/tokenizers")]);
  bundleWorker(scriptOf("minilm.ts"), target, [modules, tokenizers].join(delimiter), {
    flags: ["--minify", "--external:./model/*"],
  });
  mkdirSync(join(target, "model"), { recursive: true });
  for (const name of files) copyFileSync(join(model, name), join(target, "model", name));
}

/** Settles when the program is told to end. */
function told(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve());
  });
}

/** Bundles what is asked for. */
function bundle(folder: string, model: string | undefined): string {
  if (model === undefined) return bundleExample(folder);
  checkModel(model); // Before the package is built.
  const target = join(folder, "worker");
  bundleModel(model, target, unpackPackage(folder));
  return target;
}

if (import.meta.main) {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-edge-"));
  let served: ServedWorker | undefined;
  try {
    const { values: { model, port } } = parseArgs({
      // `deno task edge -- --model FOLDER` hands the `--` on.
      args: process.argv.slice(2).filter((argument) => argument !== "--"),
      options: { model: { type: "string" }, port: { type: "string", default: "8787" } },
    });
    served = await serveWorker(bundle(folder, model), { port: portOf(["--port", port], 8787) });
    console.log(`The worker is at ${served.url} (end with Ctrl+C)`);
    await told();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exitCode = 1;
  } finally {
    await served?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }
}
