/**
 * Runs the tests on every runtime: Deno as they are, Bun, Node 20 and Node 26 bundled (Node 20 does
 * not read TypeScript, and only Deno reads the import map). The last line is
 * `N passed, N failed, N skipped`, counted from the runners' own JUnit reports; a runtime that does
 * not report counts as a failure, and so does a script of `tests/runtime/` that does not end well.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install, runtimeProgram, versions } from "./install.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Milliseconds after which a script that does not end by itself has failed. */
const scriptPatience = 30_000;

/** A runtime: how it runs the tests and writes a report, and how it runs a script. */
interface Runtime {
  readonly name: string;
  readonly program: string;
  testArguments(report: string): string[];
  readonly scriptArguments: readonly string[];
  /** Scripts that it runs: sources, or bundles. */
  readonly scripts: readonly string[];
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

function filesOf(folder: string, suffix: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(suffix))
    .map((file) => join(folder, file))
    .sort();
}

/** Packages of the import map, as `npm install` and as a bundler's alias name them. */
function importMap(): { packages: string[]; aliases: string[] } {
  const { imports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
    imports: Record<string, string>;
  };
  const packages = new Set<string>(), aliases: string[] = [];
  for (const [name, target] of Object.entries(imports)) {
    const [, spec, path = ""] = target.match(/^npm:((?:@[^/]+\/)?[^/@]+@[^/]+)(\/.*)?$/) ?? [];
    if (spec === undefined) {
      aliases.push(`--alias:${name}=${join(root, target)}`);
    } else {
      packages.add(spec);
      aliases.push(`--alias:${name}=${spec.replace(/@[^@]+$/, "")}${path}`);
    }
  }
  return { packages: [...packages], aliases };
}

/** Bundles every test file and script by itself into `folder`. */
function bundle(folder: string): void {
  const { packages, aliases } = importMap();
  const modules = install("bundling", [`esbuild@${versions.esbuild}`, ...packages]);
  const { status } = spawnSync(join(modules, ".bin", "esbuild"), [
    ...[...filesOf("tests", ".test.ts"), ...filesOf("tests/runtime", ".ts")],
    ...["--bundle", "--format=esm", "--platform=node", "--target=node20", "--log-level=warning"],
    ...["--sourcemap=inline", "--sources-content=false", "--out-extension:.js=.mjs"],
    ...["--outbase=tests", `--outdir=${folder}`, ...aliases],
  ], { cwd: root, stdio: "inherit", env: { ...process.env, NODE_PATH: modules } });
  if (status !== 0) throw new Error("Cannot bundle the tests");
}

function runtimes(folder: string): Runtime[] {
  const tests = filesOf(folder, ".test.mjs"), scripts = filesOf(join(folder, "runtime"), ".mjs");
  const node = (version: string): Runtime => ({
    name: `Node ${version}`,
    program: runtimeProgram("node", version),
    testArguments: (report) => [
      ...["--test", "--test-reporter=junit", `--test-reporter-destination=${report}`],
      ...["--test-reporter=dot", "--test-reporter-destination=stdout", ...tests],
    ],
    scriptArguments: [],
    scripts,
  });
  return [
    {
      name: "Deno",
      program: process.execPath,
      testArguments: (report) => [
        ...["test", "--allow-read", "--no-check", "--parallel", "--reporter=dot"],
        ...[`--junit-path=${report}`, "tests/"],
      ],
      // With no permission at all.
      scriptArguments: ["run", "--no-prompt", "--no-check"],
      scripts: filesOf(join(root, "tests", "runtime"), ".ts"),
    },
    {
      name: `Bun ${versions.bun}`,
      program: runtimeProgram("bun", versions.bun),
      testArguments: (report) => [
        ...["test", "--only-failures", "--timeout=120000"],
        ...["--reporter=junit", `--reporter-outfile=${report}`, ...tests],
      ],
      scriptArguments: ["run"],
      scripts,
    },
    node(versions.node20),
    node(versions.node26),
  ];
}

/** Counts the test cases of a JUnit report. */
function countCases(report: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const cases = readFileSync(report, "utf8").matchAll(
    /<testcase\b[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g,
  );
  for (const [, inside = ""] of cases) {
    if (/<(failure|error)\b/.test(inside)) counts.failed++;
    else if (/<skipped\b/.test(inside)) counts.skipped++;
    else counts.passed++;
  }
  return counts;
}

function testOn({ name, program, testArguments }: Runtime, folder: string): Counts {
  const report = join(folder, `${name.replace(/\W+/g, "-")}.xml`);
  const { status, error } = spawnSync(program, testArguments(report), {
    cwd: root,
    stdio: "inherit",
  });
  const counts = existsSync(report) ? countCases(report) : { passed: 0, failed: 0, skipped: 0 };
  const broke = counts.passed === 0 || (status !== 0 && counts.failed === 0);
  if (broke) {
    console.error(`error: ${name} ended with ${error ?? status} after ${counts.passed} tests`);
    counts.failed++;
  }
  return counts;
}

/** Runs the scripts, each of which must end by itself and well. */
function runScripts({ program, scriptArguments, scripts }: Runtime): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const script of scripts) {
    const { status, signal, error } = spawnSync(program, [...scriptArguments, script], {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      timeout: scriptPatience,
      killSignal: "SIGKILL",
    });
    if (status === 0) counts.passed++;
    else {
      console.error(`error: ${basename(script)} ended with ${signal ?? error ?? status}`);
      counts.failed++;
    }
  }
  return counts;
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

const folder = mkdtempSync(join(tmpdir(), "flashtile-tests-"));
try {
  bundle(folder);
  const results = runtimes(folder).map((runtime): [string, Counts] => {
    console.log(`\n${runtime.name}`);
    return [runtime.name, add(testOn(runtime, folder), runScripts(runtime))];
  });
  console.log("");
  for (const [name, counts] of results) console.log(`${name.padEnd(14)} ${line(counts)}`);
  const total = results.map(([, counts]) => counts).reduce(add);
  console.log(line(total));
  if (total.failed > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
