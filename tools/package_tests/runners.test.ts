/**
 * The package in users' test runners, which have realms, timers and globals of their own.
 *
 * @module
 */

import { assertMatch } from "@std/assert";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runtimeProgram, versions } from "../install.ts";
import { keepFinding } from "../runtime_table.ts";
import { runIn } from "./child.ts";
import { makeProject, npmInstall } from "./project.ts";
import { writeProgram } from "./script.ts";

const project = makeProject("runners", npmInstall, [
  `jest@${versions.jest}`,
  `jest-environment-jsdom@${versions.jest}`,
  `vitest@${versions.vitest}`,
  `jsdom@${versions.jsdom}`,
  `ses@${versions.ses}`,
  `@sinonjs/fake-timers@${versions.fakeTimers}`,
]);
writeProgram(project, "runner_check");

function write(path: string, lines: readonly string[]): void {
  writeFileSync(join(project, path), lines.join("\n") + "\n");
}

/** The tests of a runner, in a folder of their own. */
function writeTests(runner: string, fakes: string): void {
  const from = { jest: "@jest/globals", vi: "vitest" }[runner];
  mkdirSync(join(project, runner));
  write(`${runner}/check.test.js`, [
    `import { ${runner}, test } from "${from}";`,
    'import { check } from "../runner_check.js";',
    'test("calls", async () => console.log(await check()));',
    'test("calls with fake timers", () => check(() => {',
    `  ${runner}.useFakeTimers(${fakes});`,
    `  return () => ${runner}.useRealTimers();`,
    "}));",
  ]);
}

/** Milliseconds that a test may take: beside other work calls with fake timers took longer than the usual 5 s. */
const patience = 60_000;

writeTests("jest", "");
// All that it can fake.
writeTests(
  "vi",
  '{ toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate", "setInterval", ' +
    '"clearInterval", "Date", "performance", "queueMicrotask"] }',
);

const node = runtimeProgram("node", versions.node20);

/** Runs a program there, and keeps for the table what it printed of the engine. */
function runThere(
  runtime: string,
  version: string,
  tried: string,
  command: readonly string[],
): string {
  const { all } = runIn(project, [node, ...command]);
  const engine = all.match(/(\w+) binary, \d+ threads: /);
  if (engine === null) throw new Error(`No threads: ${all}`);
  keepFinding({
    ...{ runtime, version, tried, group: "test runners" },
    ...{ binary: engine[1], threads: true },
  });
  return all;
}

for (const environment of ["node", "jsdom"]) {
  test(`calls settle in Jest's environment ${environment}, also with fake timers`, () => {
    const all = runThere("Jest", versions.jest, `${environment} with fake timers`, [
      ...["--experimental-vm-modules", "node_modules/jest/bin/jest.js", "--rootDir=jest"],
      `--testTimeout=${patience}`,
      ...[`--testEnvironment=${environment}`, "--transform={}"],
    ]);
    assertMatch(all, /Tests: +2 passed, 2 total/);
  });
}

for (
  const [pool, environment] of [["forks", "node"], ["threads", "jsdom"], ["vmThreads", "jsdom"]]
) {
  test(`calls settle in Vitest's ${pool} with ${environment}, also with fake timers`, () => {
    const all = runThere("Vitest", versions.vitest, `${pool} and ${environment} with fake timers`, [
      ...["node_modules/vitest/vitest.mjs", "run", "--dir", "vi"],
      `--testTimeout=${patience}`,
      ...[`--pool=${pool}`, `--environment=${environment}`],
    ]);
    assertMatch(all, /Tests? .*\b2 passed/);
  });
}

test("calls settle with the timers of @sinonjs/fake-timers, all that it fakes", () => {
  write("sinon.js", [
    'import fakeTimers from "@sinonjs/fake-timers";',
    'import { check } from "./runner_check.js";',
    "console.log(await check(() => {",
    "  const clock = fakeTimers.install();",
    "  return () => clock.uninstall();",
    "}));",
  ]);
  runThere("@sinonjs/fake-timers", versions.fakeTimers, "all that it fakes", ["sinon.js"]);
});

for (
  const [when, lines] of [
    ["before", ["lockdown();", 'const { check } = await import("./runner_check.js");']],
    ["after", ['const { check } = await import("./runner_check.js");', "lockdown();"]],
  ] as const
) {
  test(`calls settle under SES, locked down ${when} the package is loaded`, () => {
    write(`ses_${when}.js`, ['import "ses";', ...lines, "console.log(await check());"]);
    runThere("SES", versions.ses, `locked down ${when} loading`, [`ses_${when}.js`]);
  });
}
