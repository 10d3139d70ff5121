/**
 * The tests of edge runtimes as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { packPackage } from "../build_npm/pack.ts";
import { versions } from "../install.ts";
import { folderVariable } from "../package_tests/folder.ts";
import { nameOf } from "../runtime_table.ts";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Installs the package and runs it on workerd, on Vercel's runtime, and on Deno. */
export function edgeRun(folder: string): TestRun {
  const workerd = nameOf("workerd", versions.workerd);
  const runtimes = [workerd, nameOf("@edge-runtime/vm", versions.edgeRuntime)];
  return {
    name: "Edge: workerd, edge-runtime, Deno without permissions",
    claims: [
      { runtimes, tried: "the package", webgpu: "no" },
      { runtimes, tried: "models" },
      { runtimes: [workerd], tried: "an embedding service under load" },
    ],
    patience: 1800,
    tests: (report) => {
      packPackage(folder);
      const tests = fileURLToPath(new URL(".", import.meta.url));
      return toolTests(report, tests, { [folderVariable]: folder });
    },
  };
}
