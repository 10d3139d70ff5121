/**
 * The page's tests as a run of `deno task test:all`.
 *
 * @module
 */

import process from "node:process";
import { fileURLToPath } from "node:url";
import type { TestRun } from "../test_runs.ts";

/** Drives the page in browsers. */
export function pageRun(): TestRun {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "Chromium and Firefox, the page of examples/browser",
    patience: 300,
    tests: (report) => ({
      program: process.execPath,
      arguments: ["test", "-A", "--no-check", "--reporter=dot", `--junit-path=${report}`, folder],
    }),
  };
}
