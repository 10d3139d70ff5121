/**
 * `deno task bench:against FOLDER [WORD...] [--pairs N] [--json FILE]`: this checkout against another
 * one, both from their sources. Processes in pairs, one of each, the first of a pair in turn; what
 * is told of a measure is the median of the ratios within a pair and the quartiles around it. Words
 * choose the measures that have all of them in their names.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "../machine.ts";
import type { Measured } from "./child.ts";
import { compare, type Compared, type Pair, type Times, verdict } from "./comparison.ts";
import { measures, start } from "./measures.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const script = fileURLToPath(new URL("child.ts", import.meta.url));

/** Processes that a start is the fastest of, within a pair. */
const starts = 5;

/** Reasons why a checkout lacks a measure, by its name. */
type Missing = Map<string, string>;

/** Runs one process; what fails in it is noted. */
function runChild(checkout: string, names: readonly string[], missing: Missing): Times {
  const module = pathToFileURL(join(checkout, "mod.ts")).href;
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    // Neither checkout's configuration is the other's.
    ...["run", "-A", "--no-check", "--no-config", "--no-lock", "--quiet", script],
    ...[module, ...names],
  ], { encoding: "utf8" });
  if (status !== 0) throw new Error(`A process of ${checkout} ended with ${status}:\n${stderr}`);
  const times: Record<string, number> = {};
  for (const [name, measured] of Object.entries(JSON.parse(stdout) as Measured)) {
    if (typeof measured === "number") times[name] = measured;
    else missing.set(name, `${checkout === root ? "here" : "there"}: ${measured}`);
  }
  return times;
}

/** One side of a pair: a process for all that goes on for long, and some that only start. */
function runSide(checkout: string, names: readonly string[], missing: Missing): Times {
  const long = names.filter((name) => name !== start);
  const times = long.length > 0 ? runChild(checkout, long, missing) : {};
  if (!names.includes(start)) return times;
  const first = Array.from({ length: starts }, () => runChild(checkout, [start], missing)[start]);
  return { ...times, [start]: Math.min(...first) };
}

function runPair(other: string, names: string[], missing: Missing, otherFirst: boolean): Pair {
  const run = (checkout: string) => runSide(checkout, names, missing);
  if (!otherFirst) return { here: run(root), there: run(other) };
  const there = run(other);
  return { here: run(root), there };
}

/** All pairs; what the first processes compile does not count. */
function runPairs(other: string, names: string[], count: number, missing: Missing): Pair[] {
  for (const checkout of [root, other]) runChild(checkout, [start], missing);
  return Array.from({ length: count }, (_, index) => {
    const pair = runPair(other, names, missing, index % 2 === 1);
    console.error(`${index + 1} of ${count} pairs`);
    return pair;
  });
}

function print(rows: readonly Compared[], missing: Missing): void {
  const width = Math.max(...rows.map(({ name }) => name.length));
  console.log(`${"".padEnd(width)}    here ms   there ms   ratio (quartiles)`);
  for (const row of rows) {
    const { name, here, there, ratio } = row;
    const cells = [here, there].map((milliseconds) => milliseconds.toPrecision(4).padStart(9));
    const { median, lower, upper } = ratio;
    const quartiles = `${median.toFixed(3)} (${lower.toFixed(3)}-${upper.toFixed(3)})`;
    console.log(
      `${name.padEnd(width)}  ${cells.join("  ")}   ${quartiles} ${verdict(row)}`.trimEnd(),
    );
  }
  for (const [name, reason] of missing) console.log(`${name}: not measured, ${reason}`);
}

function chooseNames(words: readonly string[]): string[] {
  const all = [...measures.map(({ name }) => name), start];
  const names = all.filter((name) =>
    words.every((word) => name.toLowerCase().includes(word.toLowerCase()))
  );
  if (names.length > 0) return names;
  throw new Error(`Cannot find a measure with ${words.join(" ")} in its name: there are
${all.join("\n")}`);
}

function folderOf(given: string | undefined): string {
  // A task runs where its configuration is, and the folder is named from where it was asked for.
  const folder = given && resolve(process.env.INIT_CWD ?? ".", given);
  if (folder && existsSync(join(folder, "mod.ts"))) return folder;
  throw new Error(`Cannot compare: the first argument must be another checkout, got ${given}`);
}

const { values, positionals: [given, ...words] } = parseArgs({
  allowPositionals: true,
  options: { pairs: { type: "string", default: "11" }, json: { type: "string" } },
});
const other = folderOf(given), names = chooseNames(words), missing: Missing = new Map();
const count = Number(values.pairs);
if (!(Number.isInteger(count) && count > 0)) {
  throw new Error(`Cannot compare: \`--pairs\` must be a whole number > 0, got ${values.pairs}`);
}
const { cpu, cores, runtime } = machine();
console.log(`${cpu}, ${cores} cores, ${runtime}; ${count} pairs, here over ${given}`);
const pairs = runPairs(other, names, count, missing), rows = compare(pairs);
print(rows, missing);
if (values.json !== undefined) {
  const report = { machine: machine(), rows, pairs, missing: Object.fromEntries(missing) };
  await writeFile(values.json, JSON.stringify(report, null, 2) + "\n");
}
