/**
 * The package in a worker that Vite bundles, in both formats: `"iife"`, its default, becomes one classic
 * script, which nothing can be split off from.
 *
 * @module
 */

import { assert, assertStringIncludes, assertThrows } from "@std/assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import type { Checked } from "../edge_tests/check.ts";
import { expectRight } from "../edge_tests/right.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { keepFinding } from "../runtime_table.ts";
import { entries, type EntryName, makeHostProject, shortName } from "./project.ts";

const project = makeHostProject("vite");
const node = runtimeProgram("node", versions.node26);

for (const name of entries.map(shortName)) {
  writeFileSync(
    join(project, `worker-${name}.js`),
    `import { check } from "./check-${name}.js";
check().then(postMessage, (error) => postMessage(String(error.stack)));
`,
  );
  writeFileSync(
    join(project, `page-${name}.js`),
    `new Worker(new URL("./worker-${name}.js", import.meta.url), { type: "module" });\n`,
  );
}

/** Builds a page with a worker; returns the worker's script. */
function build(version: string, entry: EntryName, format: "iife" | "es"): string {
  const name = shortName(entry), outDir = `vite-${version}-${format}-${name}`;
  const config = {
    worker: { format },
    build: { outDir, modulePreload: false, rollupOptions: { input: `page-${name}.js` } },
  };
  const file = `${outDir}.config.mjs`;
  writeFileSync(join(project, file), `export default ${JSON.stringify(config)};\n`);
  const modules = install("vite", [`vite@${version}`]);
  const vite = join(modules, "vite", "bin", "vite.js");
  const { all } = runIn(project, [node, vite, "build", "--config", file]);
  assert(!/warn|\(!\)|error/i.test(all), all);
  return filesOf(join(project, outDir), ".js").find((path) => path.includes("worker-"))!;
}

/** Runs a worker's script to its first message. */
async function run(script: string): Promise<Checked> {
  const worker = new Worker(pathToFileURL(script), { type: "module" });
  try {
    const answer = await new Promise<Checked | string>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
    });
    if (typeof answer === "string") throw new Error(answer);
    return answer;
  } finally {
    worker.terminate();
  }
}

function keepVite(version: string, tried: string): void {
  keepFinding({ runtime: "Vite", version, group: "bundlers", tried });
}

function testWorker(version: string, entry: EntryName, format: "iife" | "es"): void {
  const as = format === "iife" ? "a classic worker" : "a module worker";
  test(`Vite ${version} bundles ${entry} into ${as}, which computes right`, async () => {
    const script = build(version, entry, format);
    // A function's body is no module: nothing can be imported there.
    if (format === "iife") new Function(readFileSync(script, "utf8"));
    expectRight(await run(script));
    keepVite(version, `\`${entry}\` in ${as}`);
  });
}

for (const version of [versions.vite5, versions.vite6, versions.vite7, versions.vite]) {
  for (const entry of entries) testWorker(version, entry, "es");
  testWorker(version, "flashtile/single", "iife");
}

// Rolldown makes one script of whatever is imported later; Rollup is not asked to.
testWorker(versions.vite, "flashtile", "iife");

for (const version of [versions.vite5, versions.vite6, versions.vite7]) {
  test(`Vite ${version} says that it cannot bundle flashtile into a classic worker`, () => {
    const { message } = assertThrows(() => build(version, "flashtile", "iife"), Error);
    assertStringIncludes(message, "not supported for code-splitting");
    keepVite(version, "`flashtile` in a classic worker is refused while bundling");
  });
}
