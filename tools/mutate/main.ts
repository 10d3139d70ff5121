/**
 * `deno task mutate [PATH...] [--tests FOLDER]...`: turns off each check of the sources in turn and
 * asks whether a test fails. Where none does, the check is not tested. Paths choose among the
 * sources: a file, or all that lies in a folder.
 *
 * Works on a copy of the checkout, where each check has a switch. The tests run once with all of
 * them on, to learn which test files a check refuses something in, and when; then, for each check,
 * the file that comes to it first, and where that passes the others.
 *
 * @module
 */

import "../help.ts";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { locked } from "../install.ts";
import { type Check, withSwitches } from "./checks.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Folders whose sources read and check what users give; those in them are not looked into. */
const folders = [
  ...[
    "cache",
    "check",
    "contract",
    "engine",
    "functions",
    "linear",
    "masks",
    "masks/patterns",
    "models",
    "models/architectures",
    "models/files",
    "models/tokens",
    "nn",
    ...["sharded", "sharded/coordinator", "sharded/messages", "sharded/shard"],
    "tensor",
  ],
  ...[
    ...["attention", "attention/check", "backward", "convolution", "linear", "linformer"],
    ...["local_global", "merge", "nn", "performer", "rope", "softmax", "stream"],
  ].map((name) => `operations/${name}`),
].map((name) => `src/${name}`);

/** Where tests of checks are, unless it is said. */
const usualTests = [
  "unit",
  "contract",
  "gradients",
  "linear",
  "models",
  "nn",
  "properties",
  "readonce",
  "sharded",
].map((name) => `tests/${name}`);

/** Files of tests, each by itself: those that share a process, too. */
function filesOfTests(folders: readonly string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(?:spec|test)\.ts$/.test(name) && basename(name) !== "all.test.ts")
      .map((name) => join(folder, name))
  );
}

/** What a copy needs none of. */
const left = new Set([".git", "node_modules", "npm"]);

/** Milliseconds that all tests take with every check; before that is known, at most. */
let whole = 900_000;

/** A test file that a check refused something in, and milliseconds until then. */
interface Reached {
  readonly id: number;
  readonly test: string;
  readonly milliseconds: number;
}

/** A copy of the checkout with a switch for every check. */
interface Copy {
  readonly folder: string;
  readonly checks: readonly Check[];
}

function chosenSources(paths: readonly string[]): string[] {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder)).sort().map((name) => `${folder}/${name}`)
  ).filter((file) => file.endsWith(".ts") && statSync(join(root, file)).isFile());
  if (paths.length === 0) return files;
  const wanted = paths.map((path) => relative(root, join(process.cwd(), path)));
  const chosen = files.filter((file) =>
    wanted.some((path) => file === path || file.startsWith(`${path}/`))
  );
  if (chosen.length > 0) return chosen;
  throw new Error(`Cannot find a source in ${paths.join(", ")}: known are ${folders.join(", ")}`);
}

/** Copies the checkout, and gives the checks of some sources their switches. */
function makeCopy(folder: string, sources: readonly string[]): Copy {
  cpSync(root, folder, { recursive: true, filter: (path) => !left.has(basename(path)) });
  const switches = "tools/mutate/mutants.ts", checks: Check[] = [];
  copyFileSync(join(root, switches), join(folder, switches));
  for (const file of sources) {
    const text = withSwitches(file, readFileSync(join(root, file), "utf8"), checks);
    const from = relative(dirname(file), switches).replaceAll("\\", "/");
    writeFileSync(join(folder, file), `import * as mutants from "${from}";\n${text}`);
  }
  return { folder, checks };
}

/**
 * Runs tests of a copy; whether all of them passed. Without a check they may run for ever: several have
 * failed after twice what all take, one file after half of it.
 */
function pass({ folder }: Copy, tests: readonly string[], flags: string[], given: string): boolean {
  const timeout = Math.ceil(tests.length > 1 ? 2 * whole : whole / 2);
  const { status } = spawnSync(process.execPath, [
    ...["test", locked, "--no-check", "--allow-read", "--quiet", "--reporter=dot"],
    ...[...flags, ...tests],
    ...["--", given],
  ], { cwd: folder, stdio: "ignore", timeout, killSignal: "SIGKILL" });
  return status === 0;
}

/** Which test files each check refuses something in, the one that comes to it first before others. */
function record(copy: Copy, tests: readonly string[]): Map<number, string[]> {
  const file = join(copy.folder, "reached"), start = performance.now();
  if (!pass(copy, tests, ["--parallel", `--allow-write=${file}`], `--record=${file}`)) {
    throw new Error("Cannot tell what a check does: tests fail with all of them");
  }
  whole = performance.now() - start;
  const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
  const reached = lines.map((line) => JSON.parse(line) as Reached);
  reached.sort((a, b) => a.milliseconds - b.milliseconds);
  const testsOf = new Map<number, string[]>();
  for (const { id, test } of reached) testsOf.set(id, [...testsOf.get(id) ?? [], test]);
  return testsOf;
}

/** Whether a test fails without a check. */
function isTested(copy: Copy, id: number, [first, ...others]: readonly string[]): boolean {
  if (first === undefined) return false;
  const given = `--mutant=${id}`;
  if (!pass(copy, [first], ["--fail-fast"], given)) return true;
  return others.length > 0 && !pass(copy, others, ["--fail-fast", "--parallel"], given);
}

/** Turns off each check, and prints those that no test misses. */
function mutate(copy: Copy, testsOf: ReadonlyMap<number, string[]>): void {
  let tested = 0;
  for (const [id, { kind, file, line, text }] of copy.checks.entries()) {
    const tests = testsOf.get(id) ?? [];
    if (isTested(copy, id, tests)) tested++;
    else {
      const why = tests.length === 0 ? "refuses nothing in any test" : "no test fails without it";
      console.log(`${file}:${line} (${kind}) ${why}: ${text}`);
    }
  }
  const all = copy.checks.length;
  console.log(`${tested} of ${all} checks are tested, ${(100 * tested / all).toFixed(1)} %`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tests: { type: "string", multiple: true, default: usualTests } },
});
const sources = chosenSources(positionals);
const folder = mkdtempSync(join(tmpdir(), "flashtile-mutate-"));
try {
  const copy = makeCopy(folder, sources);
  console.log(`${copy.checks.length} checks in ${sources.length} files`);
  mutate(copy, record(copy, filesOfTests(values.tests)));
} finally {
  rmSync(folder, { recursive: true });
}
