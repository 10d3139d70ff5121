/**
 * The programs of `examples/programs/` with the package as npm installs it, on every runtime: a process
 * for each of their checks, which import them.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { renamed } from "../build_npm/rename.ts";
import { filesOf } from "../bundle_tests.ts";
import { runtimeProgram, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";

const runtimes = {
  ...Object.fromEntries(
    [versions.node20, versions.node22, versions.node26].map((version) => [
      `Node ${version}`,
      [runtimeProgram("node", version)],
    ]),
  ),
  [`Bun ${versions.bun}`]: [runtimeProgram("bun", versions.bun), "run"],
  [`Deno ${Deno.version.deno}`]: [process.execPath, "run", "--no-prompt", "--allow-read=."],
};

const project = makeProject("programs"), examples = new URL("../../examples/", import.meta.url);
for (const folder of ["programs", "llama/model"]) {
  cpSync(fileURLToPath(new URL(folder, examples)), join(project, folder), { recursive: true });
}
const scripts = filesOf(join(project, "programs"), ".js");
for (const script of scripts) writeFileSync(script, renamed(readFileSync(script, "utf8")));

const names = filesOf(join(project, "programs", "checks"), ".js").map((file) =>
  basename(file, ".js")
)
  .filter((name) => name !== "plain");

test("each program has a check", () => {
  assertEquals(names, ["decoder", "encoder", "lesson", "trainer"]);
});

for (const name of names) {
  for (const [runtime, command] of Object.entries(runtimes)) {
    test(`the program ${name} is right on ${runtime}`, () => {
      runIn(project, [...command, `programs/checks/${name}.js`]);
    });
  }
}
