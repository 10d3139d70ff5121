/**
 * The tests of the pages as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Drives the pages in browsers. */
export function pageRun(): TestRun {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "Chromium and Firefox, the pages of examples/browser and examples/story",
    patience: 900,
    tests: (report) => toolTests(report, folder),
  };
}
