/**
 * The runs that the tests consist of: what is run, how, and what it needs. Each is a process that
 * writes a JUnit report.
 *
 * @module
 */

import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bundleForNode, filesOf } from "./bundle_tests.ts";
import { locked, runtimeProgram, versions } from "./install.ts";
import { type Claim, nameOf } from "./runtime_table.ts";

/** The repository. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** A program, its arguments, and variables beyond those of the environment here. */
export interface Command {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** A run of tests. */
export interface TestRun {
  readonly name: string;
  /**
   * Seconds after which it has failed; no end by default. It is there for what hangs: several times what
   * the run takes on a slow machine with two others beside it.
   */
  readonly patience?: number;
  /**
   * Whether a process may abort as it exits. Debian's Vulkan frees what belongs to a thread a second
   * time where one ends while the process exits: with Deno one run in ten, whatever was computed. A
   * run in which one aborted is done once more.
   */
  readonly mayAbort?: boolean;
  /** Runs of one lane go one after the other, lanes beside each other; by default that of most runs. */
  readonly lane?: string;
  /** Whether the report is the last thing that the process writes: it counts although it aborted. */
  readonly reportsLast?: boolean;
  /** Regular expression for the names of its tests; all tests by default. */
  readonly names?: string;
  /** What it tells the tables of runtimes, if it passes. */
  readonly claims?: readonly Claim[];
  /** How to run the tests. Installs what is missing, and throws where that is not to be had. */
  tests(report: string): Command;
  /** Scripts that must each end by themselves and well. */
  scripts?(): Command[];
}

/** Lets tests see how much of them is wanted, and by which seed. */
export const settings = "--allow-env=FLASHTILE_TESTS,FLASHTILE_SEED,FLASHTILE_REQUIRE_GPU";

/** The seed of all that is random in the runs from here on: with it, a failure is repeated. */
export function fixSeed(): string {
  return process.env.FLASHTILE_SEED ??= String(Math.floor(Math.random() * 2 ** 31));
}

/** Runs tests of a folder with Deno. */
export function denoTests(
  report: string,
  paths: readonly string[],
  flags: readonly string[],
): Command {
  return {
    program: process.execPath,
    arguments: [
      ...["test", locked, "--allow-read", "--no-check", "--reporter=dot"],
      ...[`--junit-path=${report}`, ...flags, ...paths],
    ],
  };
}

/** Runs tests of the tools with Deno: of a folder or a file, which may do what they need. */
export function toolTests(
  report: string,
  path: string,
  environment: Readonly<Record<string, string>> = {},
  flags: readonly string[] = [],
): Command {
  return {
    program: process.execPath,
    arguments: [
      ...["test", locked, "-A", "--no-check", "--reporter=dot", `--junit-path=${report}`],
      ...[...flags, path],
    ],
    environment,
  };
}

/** Runs bundled tests with Bun. */
export function bunTests(
  report: string,
  files: readonly string[],
  flags: readonly string[] = [],
): Command {
  return {
    program: runtimeProgram("bun", versions.bun),
    arguments: [
      ...["test", "--only-failures", "--timeout=300000"],
      ...["--reporter=junit", `--reporter-outfile=${report}`, ...flags, ...files],
    ],
  };
}

/** Runs bundled tests with Node. */
export function nodeTests(
  version: string,
  report: string,
  files: readonly string[],
  flags: readonly string[] = [],
): Command {
  return {
    program: runtimeProgram("node", version),
    arguments: [
      ...["--test", "--test-reporter=junit", `--test-reporter-destination=${report}`],
      ...["--test-reporter=dot", "--test-reporter-destination=stdout", ...flags, ...files],
    ],
  };
}

/**
 * The lane that takes longest, since each shader waits for the one before: it has the processor first,
 * and the others what it leaves.
 */
export const longestLane = "WebGPU of runtimes";

/** What is run one after the other beside Deno's tests and beside its WebGPU: by Bun and Node. */
export const ofBunAndNode = "Bun and Node";

/** Every runtime, without WebGPU. `folder` is for bundles. */
export function runtimeRuns(folder: string): TestRun[] {
  const tests = () => filesOf(bundleForNode(folder), ".test.mjs");
  const scripts = () => filesOf(join(bundleForNode(folder), "runtime"), ".mjs");
  const allTests = (runtime: string, version: string): Claim[] => [
    { runtimes: [nameOf(runtime, version)], tried: "all tests" },
  ];
  const node = (version: string): TestRun => ({
    name: `Node ${version}`,
    lane: ofBunAndNode,
    claims: allTests("Node", version),
    tests: (report) => nodeTests(version, report, tests()),
    scripts: () =>
      scripts().map((script) => ({
        program: runtimeProgram("node", version),
        arguments: [script],
      })),
  });
  return [
    {
      name: "Deno",
      claims: allTests("Deno", Deno.version.deno),
      tests: (report) => ({
        ...denoTests(report, ["tests/"], ["--parallel", settings]),
        // WebGPU has a run of its own; here its tests are skipped, as where there is no GPU. What takes
        // long is tried whole here, and in part elsewhere.
        environment: { DENO_WEBGPU_BACKEND: "none", FLASHTILE_TESTS: "whole" },
      }),
      scripts: () =>
        filesOf(join(root, "tests", "runtime"), ".ts").map((script) => ({
          program: process.execPath,
          // With no permission at all, but for the one that counts threads.
          arguments: [
            ...["run", script.endsWith("many_engines.ts") ? "-A" : "--no-prompt", "--no-check"],
            script,
          ],
        })),
    },
    {
      name: `Bun ${versions.bun}`,
      lane: ofBunAndNode,
      claims: allTests("Bun", versions.bun),
      // In one process, what each file leaves behind slows down the collector under the next ones.
      tests: (report) => bunTests(report, tests(), ["--parallel=2"]),
      scripts: () =>
        scripts().map((script) => ({
          program: runtimeProgram("bun", versions.bun),
          arguments: ["run", script],
        })),
    },
    node(versions.node20),
    node(versions.node26),
  ];
}
