/**
 * `deno task edge`: bundles the worker with the package as npm would give it, and serves it by workerd
 * on this machine.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bundleWorker, unpackPackage } from "../../tools/bundle_worker.ts";
import { type ServedWorker, serveWorker } from "../../tools/workerd.ts";
import { portOf } from "../port.ts";

/** Bundles the worker into a folder below `folder`; returns that. */
export function bundleExample(folder: string, single = false): string {
  const target = join(folder, single ? "single" : "worker");
  const worker = fileURLToPath(new URL("worker.ts", import.meta.url));
  bundleWorker(worker, target, unpackPackage(folder), { flags: ["--minify"], single });
  return target;
}

/** Settles when the program is told to end. */
function told(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve());
  });
}

if (import.meta.main) {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-edge-"));
  let served: ServedWorker | undefined;
  try {
    const port = portOf(process.argv.slice(2), 8787);
    served = await serveWorker(bundleExample(folder), { port });
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
