/**
 * `deno task test [-- PATH... --filter WORDS ...]`: the tests on Deno, a dot for each that passed and a
 * comma for each that was skipped; what failed is told in full at the end. Some minutes at most.
 *
 * Paths choose among the tests, and whatever else is given is handed to `deno test`. Tests of a GPU are
 * left to `deno task test:gpu`, unless DENO_WEBGPU_BACKEND is set; every runtime, and what takes long,
 * to `deno task test:all`. FLASHTILE_SEED=N repeats a run, FLASHTILE_TESTS=whole has all of each test.
 *
 * @module
 */

import "./help.ts";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { copyInRows } from "./dots.ts";
import { skippedIn, whySkipped } from "./skipped.ts";
import { denoTests, fixSeed, root, settings } from "./test_runs.ts";

// `deno task test -- PATH` hands the `--` on.
const given = process.argv.slice(2).filter((argument) => argument !== "--");
const isPath = (argument: string) => existsSync(join(root, argument));
const paths = given.filter(isPath), flags = given.filter((argument) => !isPath(argument));

/** Runs the tests to their end; gives the exit code. */
async function run(report: string): Promise<number> {
  const command = denoTests(
    report,
    paths.length > 0 ? paths : ["tests/"],
    ["--parallel", settings, ...flags],
  );
  const child = spawn(command.program, command.arguments, {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      // Drivers, which write what they like, are not asked.
      DENO_WEBGPU_BACKEND: "none",
      ...process.env,
    },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
  await copyInRows(child.stdout!);
  return await ended;
}

const folder = mkdtempSync(join(tmpdir(), "flashtile-daily-"));
try {
  const report = join(folder, "report.xml");
  console.log(
    "Runs the tests on Deno: one to three minutes on two cores. A dot is a test that passed, a\n" +
      `comma one that is skipped. The same once more: FLASHTILE_SEED=${fixSeed()}\n`,
  );
  process.exitCode = await run(report);
  // A filter's report calls skipped what was not asked for.
  if (existsSync(report) && flags.length === 0) {
    for (const line of whySkipped(skippedIn(readFileSync(report, "utf8")))) console.log(line);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
