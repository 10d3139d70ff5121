/**
 * The packages' tests as a run of `deno task test:all`.
 *
 * @module
 */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { packPackage } from "../build_npm/pack.ts";
import type { TestRun } from "../test_runs.ts";
import { folderVariable } from "./folder.ts";

/** Makes the packages, installs the one for npm, and uses it. `folder` is for all of that. */
export function packageRun(folder: string): TestRun {
  return {
    name: "Packages for npm and JSR",
    patience: 900,
    tests: (report) => {
      packPackage(folder);
      const tests = fileURLToPath(new URL(".", import.meta.url));
      return {
        program: process.execPath,
        arguments: ["test", "-A", "--no-check", "--reporter=dot", `--junit-path=${report}`, tests],
        environment: { [folderVariable]: folder },
      };
    },
  };
}
