/**
 * The packages' tests as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { packPackage } from "../build_npm/pack.ts";
import { versions } from "../install.ts";
import { nameOf } from "../runtime_table.ts";
import { type TestRun, toolTests } from "../test_runs.ts";
import { folderVariable } from "./folder.ts";

/** Makes the packages, installs the one for npm, and uses it. `folder` is for all of that. */
export function packageRun(folder: string): TestRun {
  const runtimes = [
    nameOf("Deno", Deno.version.deno),
    nameOf("Bun", versions.bun),
    ...[versions.node20, versions.node22, versions.node26].map((node) => nameOf("Node", node)),
  ];
  return {
    name: "Packages for npm and JSR",
    claims: [{ runtimes, tried: "the package" }, { runtimes, tried: "models" }],
    patience: 2400,
    tests: (report) => {
      packPackage(folder);
      const tests = fileURLToPath(new URL(".", import.meta.url));
      return toolTests(report, tests, { [folderVariable]: folder });
    },
  };
}
