/**
 * The page's tests as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Drives the page in browsers. */
export function pageRun(): TestRun {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "Chromium and Firefox, the page of examples/browser",
    patience: 300,
    tests: (report) => toolTests(report, folder),
  };
}
