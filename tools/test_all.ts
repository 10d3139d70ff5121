/**
 * `deno task test:all [WORD...] [--table]`: runs the tests everywhere, on Deno as they are, on Bun,
 * Node 20 and Node 26 bundled, those of WebGPU on four stacks, and those of the packages as users
 * install them, on runtimes, in browsers and at the edge. Words choose the runs that have all of them
 * in their names:
 *
 *     deno task test:all node 20
 *
 * `deno task test:gpu` is `test:all webgpu`.
 *
 * A whole run checks the tables of runtimes, in docs/RUNTIMES.md and the README, against what it found;
 * with `--table` it writes them.
 *
 * Of what the runners say, lines of a dot for each test are left out, or joined where one run is
 * alone. The end has a line for each run, with its seconds. The last line is
 * `N passed, N failed, N skipped`, counted from the runners' own JUnit reports. A run that does not
 * report or cannot be had counts as a failure, and so does a script of `tests/runtime/` that does not
 * end well.
 *
 * @module
 */

import "./help.ts";
import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { browserPackageRun } from "./browser_package/run.ts";
import { pageRun } from "./browser_page/run.ts";
import { copyInRows, withoutDots } from "./dots.ts";
import { edgeRun } from "./edge_tests/run.ts";
import { isaRun } from "./gpu_isa/run.ts";
import { gpuRuns } from "./gpu_runs.ts";
import { hostRun } from "./host_tests/run.ts";
import { natsRun } from "./nats_tests/run.ts";
import { packageRun } from "./package_tests/run.ts";
import { type Claim, findingsUnder, type Tabled, withTables } from "./runtime_table.ts";
import {
  type Command,
  fixSeed,
  longestLane,
  root,
  runtimeRuns,
  type TestRun,
} from "./test_runs.ts";
import { wideRuns } from "./wide_tests/run.ts";

/** Seconds after which a script that does not end by itself has failed. */
const scriptPatience = 120;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** What is wrong with how a command ended. */
interface Ending {
  readonly words: string;
  readonly aborted: boolean;
}

/** Where what a run says goes: to where this goes, or into a file, which is shown when the run is over. */
type Output = "shown" | number;

/** How a process ended. */
interface Ended {
  readonly status?: number | null;
  readonly signal?: string | null;
  readonly error?: Error;
}

/** Runs a command to its end; returns what is wrong with that, if anything. */
async function run(
  command: Command,
  output: Output,
  patience?: number,
): Promise<Ending | undefined> {
  const { status, signal, error } = await new Promise<Ended>((resolve) => {
    const child = spawn(...limited(command, patience), {
      cwd: root,
      stdio: output === "shown" ? ["ignore", "pipe", "inherit"] : ["ignore", output, output],
      env: { ...process.env, ...command.environment },
    });
    const copied = child.stdout ? copyInRows(child.stdout) : undefined;
    child.on("error", (error) => resolve({ error }));
    child.on("exit", async (status, signal) => {
      // What it started may hold the pipe open for longer.
      await Promise.race([copied, setTimeout(1000)]);
      resolve({ status, signal });
    });
  });
  if (status === 0) return undefined;
  const inTime = patience === undefined || (status !== 124 && status !== 137);
  // `timeout` gives the signal on as a shell does.
  const aborted = signal === "SIGABRT" || status === 134;
  const words = inTime
    ? `ended with ${signal ?? error ?? status}`
    : `took longer than ${patience} s`;
  return { words, aborted };
}

/** The same command under `timeout`, which ends the processes that it starts, too. */
function limited({ program, arguments: given }: Command, patience?: number): [string, string[]] {
  if (patience === undefined) return [program, [...given]];
  return ["timeout", ["--kill-after=10", String(patience), program, ...given]];
}

/** The same command, which leaves the processor to others first. */
function politely({ program, arguments: given, environment }: Command): Command {
  return { program: "nice", arguments: ["-n", "5", program, ...given], environment };
}

/** The test cases of a JUnit report, each with its name and what stands inside it. */
function casesOf(report: string): { name: string; inside: string }[] {
  const cases = readFileSync(report, "utf8").matchAll(
    /<testcase\b[^>]*? ?\bname="([^"]*)"[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g,
  );
  return Array.from(cases, ([, name, inside = ""]) => ({ name, inside }));
}

/** Whether a case failed, by what stands inside it. */
const hasFailed = (inside: string) => /<(failure|error)\b/.test(inside);

/** Counts the test cases of a JUnit report; some runners list those that were not asked for. */
function countCases(report: string, names = ""): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const wanted = new RegExp(names);
  for (const { name, inside } of casesOf(report)) {
    // A failure counts under any name: it may be that of a whole file.
    if (hasFailed(inside)) counts.failed++;
    else if (!wanted.test(name)) continue;
    else if (/<skipped\b/.test(inside)) counts.skipped++;
    else counts.passed++;
  }
  return counts;
}

/** Characters of a failure that are told once more at the end. */
const failureLength = 1500;

/** What the failed cases of a report say, as plain text. */
function failuresOf(report: string): string[] {
  const characters: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  const plain = (text: string) =>
    text.replace(/<[^>]*>/g, "").replace(/&(\w+);/g, (all, name) => characters[name] ?? all)
      .replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)));
  return casesOf(report).filter(({ inside }) => hasFailed(inside)).map(({ name, inside }) => {
    const [message = ""] = inside.match(/(?<=<(?:failure|error)\b[^>]*message=")[^"]*/) ?? [];
    return plain(`${name}\n${message}\n${inside}`).slice(0, failureLength);
  });
}

/** What a run found, and whether a process of it aborted. */
interface Attempt {
  readonly counts: Counts;
  readonly aborted: boolean;
}

/** Where a run's report lies. */
const reportOf = (name: string, folder: string) => join(folder, `${name.replace(/\W+/g, "-")}.xml`);

async function attempt(
  { name, names, lane, patience, reportsLast, tests }: TestRun,
  folder: string,
  output: Output,
): Promise<Attempt> {
  const report = reportOf(name, folder);
  rmSync(report, { force: true });
  const command = tests(report), isFirst = output === "shown" || lane === longestLane;
  const wrong = await run(isFirst ? command : politely(command), output, patience);
  const counts = existsSync(report)
    ? countCases(report, names)
    : { passed: 0, failed: 0, skipped: 0 };
  if (reportsLast && wrong?.aborted && counts.passed > 0 && counts.failed === 0) {
    console.warn(`${name}: aborted while it exited, after all tests were reported`);
    return { counts, aborted: false };
  }
  // Node runs each file in a process of its own, and reports how that ended.
  const aborted = wrong?.aborted ||
    existsSync(report) && readFileSync(report, "utf8").includes("SIGABRT");
  if (wrong !== undefined || counts.passed === 0) {
    console.error(
      `error: ${name} ${wrong?.words ?? "ended"}, after ${counts.passed} tests that passed`,
    );
    counts.failed ||= 1;
  }
  return { counts, aborted };
}

async function runTests(run: TestRun, folder: string, output: Output): Promise<Counts> {
  const { counts, aborted } = await attempt(run, folder, output);
  if (!run.mayAbort || !aborted) return counts;
  console.warn(`${run.name}: a process aborted, once more`);
  return (await attempt(run, folder, output)).counts;
}

async function runScripts({ scripts }: TestRun, output: Output): Promise<Counts> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const command of scripts?.() ?? []) {
    const wrong = await run(command, output, scriptPatience);
    if (wrong === undefined) counts.passed++;
    else {
      console.error(`error: ${command.arguments.at(-1)} ${wrong.words}`);
      counts.failed++;
    }
  }
  return counts;
}

/** Runs everything of a run. One that cannot be had is a failure, and the others go on. */
async function count(run: TestRun, folder: string, output: Output): Promise<Counts> {
  try {
    return add(await runTests(run, folder, output), await runScripts(run, output));
  } catch (error) {
    console.error(`error: ${run.name}: ${(error as Error).message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

/** A run that is over. */
interface Result {
  readonly run: TestRun;
  readonly counts: Counts;
  readonly seconds: number;
}

/** A line of what is told at the end. */
interface Row {
  readonly name: string;
  readonly counts: Counts;
  readonly seconds?: number;
}

/** One run after another. Where others run beside them, what each says is shown when it is over. */
async function runLane(runs: readonly TestRun[], folder: string, isAlone: boolean) {
  const results: Result[] = [];
  for (const run of runs) {
    const path = join(folder, "output-" + run.name.replace(/\W+/g, "-")), start = performance.now();
    const output = isAlone ? "shown" : openSync(path, "w");
    if (isAlone) console.log(`\n${run.name}`);
    const counts = await count(run, folder, output);
    if (output !== "shown") {
      closeSync(output);
      console.log(`\n${run.name}`);
      process.stdout.write(withoutDots(readFileSync(path, "utf8")));
    }
    const seconds = (performance.now() - start) / 1000;
    console.log(`${run.name}: ${inSeconds(seconds)}`);
    results.push({ run, counts, seconds });
  }
  return results;
}

function add(a: Counts, b: Counts): Counts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  };
}

function line({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function inSeconds(seconds: number): string {
  return `${seconds.toFixed(1)} s`;
}

/** What each run found, and how long it took, in columns. */
function summary(results: readonly Row[]): string[] {
  const rows = results.map(({ name, counts, seconds }) => [
    name,
    line(counts),
    seconds === undefined ? "" : inSeconds(seconds),
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map(([name, counts, seconds]) =>
    `${name.padEnd(widths[0])}  ${counts.padEnd(widths[1])}  ${seconds.padStart(widths[2])}`
      .trimEnd()
  );
}

/** Every run; `folder` is for what they need. */
function allRuns(folder: string): TestRun[] {
  return [
    ...runtimeRuns(folder),
    ...wideRuns(folder),
    ...gpuRuns(folder),
    isaRun(),
    pageRun(),
    natsRun(),
    packageRun(folder),
    hostRun(folder),
    browserPackageRun(folder),
    edgeRun(folder),
  ];
}

/** The runs whose names have all the words in them. */
function choose(runs: readonly TestRun[], words: readonly string[]): TestRun[] {
  const chosen = runs.filter(({ name }) =>
    words.every((word) => name.toLowerCase().includes(word.toLowerCase()))
  );
  if (chosen.length > 0) return chosen;
  const all = runs.map(({ name }) => name).join("; ");
  throw new Error(`Cannot find a run with ${words.join(" ")} in its name: there are ${all}`);
}

/** All runs, lane beside lane; results in the order of the runs. */
async function runAll(runs: readonly TestRun[], folder: string): Promise<Result[]> {
  const lanes = [...Map.groupBy(runs, ({ lane }) => lane).values()];
  const results = await Promise.all(lanes.map((lane) => runLane(lane, folder, lanes.length === 1)));
  return results.flat().sort((a, b) => runs.indexOf(a.run) - runs.indexOf(b.run));
}

/** Tells once more what failed: the end of a long output is what is read first. */
function showFailures(results: readonly Result[], folder: string): void {
  for (const { run: { name }, counts } of results) {
    const report = reportOf(name, folder);
    if (counts.failed === 0 || !existsSync(report)) continue;
    for (const failure of failuresOf(report)) console.error(`\nfailed: ${name}: ${failure}`);
  }
}

const tableFlag = "--table";

/** Whether a document's tables are what a whole run found; writes them, if that is wanted. */
function checkTables({ path, text, found }: Tabled, write: boolean): Counts {
  if (text === found) return { passed: 1, failed: 0, skipped: 0 };
  if (!write) {
    const lines = (some: string) => some.split("\n").filter((line) => line.startsWith("|"));
    const told = lines(text), wanted = lines(found);
    const extra = told.filter((line) => !wanted.includes(line));
    const missing = wanted.filter((line) => !told.includes(line));
    console.error(
      [`\nerror: ${path} says of runtimes`, ...extra, "instead of", ...missing].join("\n"),
    );
    return { passed: 0, failed: 1, skipped: 0 };
  }
  writeFileSync(path, found);
  return { passed: 1, failed: 0, skipped: 0 };
}

const words = process.argv.slice(2).filter((word) => word !== tableFlag);
const writesTable = process.argv.includes(tableFlag);
if (writesTable && words.length > 0) {
  throw new Error(`Cannot write the table of some runs: ${tableFlag} goes without words`);
}
const folder = mkdtempSync(join(tmpdir(), "flashtile-tests-"));
try {
  Object.assign(process.env, findingsUnder(folder));
  console.log(`FLASHTILE_SEED=${fixSeed()}`);
  const ended = await runAll(choose(allRuns(folder), words), folder);
  const results: Row[] = [], claims: Claim[] = [];
  for (const { run, counts, seconds } of ended) {
    results.push({ name: run.name, counts, seconds });
    if (counts.failed === 0) claims.push(...run.claims ?? []);
  }
  if (words.length === 0) {
    // What failed is missing from the table, which must not be written so.
    const write = writesTable && results.every(({ counts }) => counts.failed === 0);
    const counts = withTables(root, folder, claims).map((tabled) => checkTables(tabled, write));
    results.push({ name: "The tables of runtimes", counts: counts.reduce(add) });
  }
  showFailures(ended, folder);
  console.log("");
  for (const row of summary(results)) console.log(row);
  const total = results.map(({ counts }) => counts).reduce(add);
  console.log(line(total));
  if (total.failed > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
