/**
 * `deno task bench:against FOLDER [WORD...] [--pairs N] [--json FILE]`: this checkout against another
 * one, both from their sources. Each measure is taken in pairs of processes, one of each checkout,
 * the first of a pair in turn; what is told of it is the ratio of the fastest processes, and the
 * median of the ratios within a pair with its quartiles. Words choose the measures that have all of
 * them in their names.
 *
 * @module
 */

import "../../tools/help.ts";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "../machine.ts";
import type { Measured } from "./child.ts";
import { compare, type Compared, type Pair } from "./comparison.ts";
import { measures, start } from "./measures.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** The scripts of the processes. */
const scripts = {
  start: fileURLToPath(new URL("start.ts", import.meta.url)),
  other: fileURLToPath(new URL("child.ts", import.meta.url)),
};

/** Processes that a start is the fastest of, within a pair. */
const starts = 5;

/** Reasons why a checkout lacks a measure, by its name. */
type Missing = Map<string, string>;

/** Milliseconds of one measure in a process of its own; what fails in it is noted. */
function runChild(checkout: string, name: string, missing: Missing): number | undefined {
  const module = pathToFileURL(join(checkout, "mod.ts")).href;
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    // Neither checkout's configuration is the other's.
    ...["run", "-A", "--no-check", "--no-config", "--no-lock", "--quiet"],
    ...(name === start ? [scripts.start, module] : [scripts.other, module, name]),
  ], { encoding: "utf8" });
  const side = checkout === root ? "here" : "there";
  if (status !== 0) throw new Error(`A process ${side} ended with ${status}:\n${stderr}`);
  const measured = JSON.parse(stdout) as Measured;
  if (typeof measured === "number") return measured;
  missing.set(name, `${side}: ${measured}`);
}

/** One side of a pair. */
function runSide(checkout: string, name: string, missing: Missing): number | undefined {
  if (name !== start) return runChild(checkout, name, missing);
  return Math.min(...Array.from({ length: starts }, () => runChild(checkout, name, missing)!));
}

/** Every measure here and there, one right after the other, for what else the machine does. */
function runPair(other: string, names: readonly string[], missing: Missing, turn: number): Pair {
  const here: Record<string, number> = {}, there: Record<string, number> = {};
  for (const [index, name] of names.entries()) {
    const sides = [[root, here], [other, there]] as const;
    for (const [checkout, times] of (turn + index) % 2 === 0 ? sides : sides.toReversed()) {
      const time = missing.has(name) ? undefined : runSide(checkout, name, missing);
      if (time !== undefined) times[name] = time;
    }
  }
  return { here, there };
}

/** All pairs; what the first processes compile does not count. */
function runPairs(
  other: string,
  names: readonly string[],
  count: number,
  missing: Missing,
): Pair[] {
  for (const checkout of [root, other]) runChild(checkout, start, missing);
  return Array.from({ length: count }, (_, turn) => {
    const pair = runPair(other, names, missing, turn);
    console.error(`${turn + 1} of ${count} pairs`);
    return pair;
  });
}

function print(rows: readonly Compared[], missing: Missing): void {
  const width = Math.max(0, ...rows.map(({ name }) => name.length));
  const row = (...cells: string[]) => console.log(cells.join("  ").trimEnd());
  row("".padEnd(width), "  here ms", " there ms", "ratio", "of pairs (quartiles)");
  for (const { name, here, there, ratio: { median, lower, upper }, verdict } of rows) {
    const [a, b] = [here, there].map((milliseconds) => milliseconds.toPrecision(4).padStart(9));
    const pairs = `${median.toFixed(3)} (${lower.toFixed(3)}-${upper.toFixed(3)})`;
    row(name.padEnd(width), a, b, (here / there).toFixed(3), pairs, verdict);
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
