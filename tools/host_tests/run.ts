/**
 * The package in bundlers and hosts as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { packPackage } from "../build_npm/pack.ts";
import { folderVariable } from "../package_tests/folder.ts";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Installs the package into one project for each kind of host, and builds and runs these. */
export function hostRun(folder: string): TestRun {
  return {
    name: "Bundlers and hosts, the package: Vite, webpack, Rollup, esbuild, Parcel, Metro, Next",
    patience: 1800,
    tests: (report) => {
      packPackage(folder);
      const tests = fileURLToPath(new URL(".", import.meta.url));
      return toolTests(report, tests, {
        [folderVariable]: folder,
        DENO_WEBGPU_BACKEND: "none", // Workers here are Deno's, and GPUs have runs of their own.
      });
    },
  };
}
