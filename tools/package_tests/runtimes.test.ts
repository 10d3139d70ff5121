/**
 * The package, installed into an empty project, on every runtime.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { runtimeProgram, versions } from "../install.ts";
import { type Finding, keepFinding } from "../runtime_table.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";
import { writeProgram } from "./script.ts";

/** Runs the program; returns what it says of the runtime. */
function runProgram(project: string, command: readonly string[]): Finding {
  const { stdout } = runIn(project, [...command, "program.js"]);
  const { threads, runtime, version, binary } = JSON.parse(stdout);
  const finding = { runtime, version, binary, threads: threads.available };
  keepFinding(finding);
  return finding;
}

const project = makeProject("runtimes");
writeProgram(project);

for (const version of [versions.node20, versions.node22, versions.node26]) {
  test(`the npm package runs on Node ${version}`, () => {
    const offered = runProgram(project, [runtimeProgram("node", version)]);
    const binary = version === versions.node20 ? "simd" : "relaxed";
    assertEquals([offered.runtime, offered.version, offered.binary], ["Node", version, binary]);
  });
}

test("createEngine() takes the binaries of the npm package as `module`", () => {
  const program = writeProgram(project, "binaries");
  runIn(project, [runtimeProgram("node", versions.node26), program]);
});

/** Prints why an engine is as it is once `flashtile/wide` is imported, in a form for each kind of module. */
const widePrograms = {
  "wide.mjs":
    'import "flashtile/wide"; import { createEngine } from "flashtile"; run(createEngine);',
  "wide.cjs": 'run(require("flashtile").createEngine, require("flashtile/wide"));',
};

for (const [file, first] of Object.entries(widePrograms)) {
  for (const version of [versions.node22, versions.node26]) {
    test(`flashtile/wide is imported on Node ${version}: ${file}`, () => {
      writeFileSync(
        join(project, file),
        `${first}
         async function run(createEngine) {
           const engine = await createEngine({ backend: "wasm" });
           console.log(engine.reason);
           await engine.close();
         }`,
      );
      const { stdout } = runIn(project, [runtimeProgram("node", version), file]);
      const old = /not wide: it needs Node 24 or later/;
      assertMatch(stdout, version === versions.node22 ? old : /; (not )?wide: (?!it needs Node)/);
    });
  }
}

test("the npm package runs on Deno, without a permission", () => {
  const offered = runProgram(project, [process.execPath, "run", "--no-prompt"]);
  assertEquals([offered.runtime, offered.binary], ["Deno", "relaxed"]);
});

test(`the npm package, installed by Bun, runs on Bun ${versions.bun}`, () => {
  const bun = runtimeProgram("bun", versions.bun);
  const own = makeProject("bun", (packages) => [bun, "add", ...packages]);
  writeProgram(own);
  const offered = runProgram(own, [bun, "run"]);
  assertEquals([offered.runtime, offered.version, offered.binary], ["Bun", versions.bun, "simd"]);
});
