/**
 * What compilers for GPUs make of the kernels, as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Compiles the kernels that calls get most, which takes a minute or two. */
export function isaRun(): TestRun {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "GPUs' compilers",
    patience: 600,
    tests: (report) => toolTests(report, folder, { DENO_WEBGPU_BACKEND: "none" }),
  };
}
