/**
 * The package where workers are like workerd's: Vercel's runtime, and Deno without a permission.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { install, runtimeProgram, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { keepFinding } from "../runtime_table.ts";
import { root } from "../test_runs.ts";
import type { Checked } from "./check.ts";
import { bundled, project } from "./project.ts";
import { expectRight, findingOf } from "./right.ts";

/** Runs the calls in a context that has nothing but what Vercel's runtime gives it. */
function writeHost(script: string): string {
  const modules = install("edge-runtime", [`@edge-runtime/vm@${versions.edgeRuntime}`]);
  const host = join(project, "edge_runtime.mjs");
  writeFileSync(
    host,
    `import { readFileSync } from "node:fs";
import runtime from ${JSON.stringify(join(modules, "@edge-runtime/vm/dist/index.js"))};
const vm = new runtime.EdgeVM({ initialCode: readFileSync(${JSON.stringify(script)}, "utf8") });
console.log(JSON.stringify(await vm.evaluate(\`checking.check().then((checked) => ({
  ...checked, globals: [typeof EdgeRuntime, typeof process, typeof navigator, typeof require],
}))\`)));
`,
  );
  return host;
}

test("@edge-runtime/vm runs the package in a single script, with its globals only", () => {
  const flags = ["--conditions=edge-light", "--format=iife", "--global-name=checking"];
  const folder = bundled("edge-runtime", "tools/edge_tests/check.ts", { flags, single: true });
  const host = writeHost(join(folder, "worker.js"));
  const { stdout } = runIn(project, [runtimeProgram("node", versions.node26), host]);
  const checked = JSON.parse(stdout) as Checked & { globals: string[] };
  assertEquals(checked.globals, ["string", "undefined", "undefined", "undefined"]);
  expectRight(checked);
  keepFinding({ ...findingOf("@edge-runtime/vm", versions.edgeRuntime, checked), group: "edge" });
  assertMatch(checked.reason, /^simd binary, one thread: compiled before/);
});

// That the installed package does is a test of the packages.
test("the source runs on Deno, without a permission", () => {
  const program = join(root, "tools/package_tests/program.ts");
  const { stdout } = runIn(root, [process.execPath, "run", "--no-prompt", "--no-check", program]);
  assertEquals(JSON.parse(stdout).runtime, "Deno");
});
