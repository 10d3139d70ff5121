/**
 * The npm package in browsers as a run of `deno task test:all`.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { packPackage } from "../build_npm/pack.ts";
import { type TestRun, toolTests } from "../test_runs.ts";
import { makeSites } from "./sites.ts";

/** Makes sites of the package and opens them in browsers. `folder` is for the sites. */
export function browserPackageRun(folder: string): TestRun {
  const tests = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "Chromium, Firefox and WebKit, the package flashtile",
    claims: [
      { runtimes: ["Chromium", "Firefox", "WebKit"], tried: "the package" },
      { runtimes: ["Chromium", "Firefox", "WebKit"], tried: "models" },
      { runtimes: ["Firefox"], tried: "WebGPU on lavapipe", webgpu: "where it is turned on" },
    ],
    // Twice as long as beside other runs, and time for browsers that do not answer.
    patience: 2400,
    tests(report) {
      const sites = join(folder, "sites");
      makeSites(sites, packPackage(folder));
      // A browser that is ended leaves its profile behind: here, that goes with the folder.
      return toolTests(report, tests, { FLASHTILE_SITES: sites, TMPDIR: folder });
    },
  };
}
