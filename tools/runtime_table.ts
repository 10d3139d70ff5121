/**
 * The tables of runtimes, made of what a whole run of the tests found: what the packed package says of
 * each runtime, and which runs passed there. All of it is in `docs/RUNTIMES.md`, and a line of each
 * runtime in the README. A test that runs the package somewhere keeps a finding; nothing else is
 * needed for a line of its own.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** What the package says of a runtime that it runs on. */
export interface Finding {
  readonly runtime: string;
  /** Empty where it has none. */
  readonly version: string;
  /** The table that it is in, by a name of {@linkcode titles} or another; `runtimes` by default. */
  readonly group?: string;
  /** The Wasm binary that is taken. */
  readonly binary?: string;
  /** Whether there are threads. */
  readonly threads?: boolean;
  /** Of a page: whether it is cross-origin isolated. */
  readonly isolated?: boolean;
  /** Where WebGPU is from, or that there is none. */
  readonly webgpu?: string;
  /** What was tried there, beyond what the run's claims say. */
  readonly tried?: string;
}

/** What a run of tests tells of the runtimes that it is about, if it passed. */
export interface Claim {
  /** As {@linkcode nameOf} names them. */
  readonly runtimes: readonly string[];
  /** As in a finding, where there is none. */
  readonly group?: string;
  /** What was tried there. */
  readonly tried: string;
  /** Where WebGPU is from, in a run about that. */
  readonly webgpu?: string;
}

/** The tables in order; others come behind them, titled by their name. */
const titles: Readonly<Record<string, string>> = {
  runtimes: "Runtimes",
  pages: "Pages",
  workers: "Workers of pages and extensions",
  edge: "At the edge",
  bundlers: "Bundlers",
  frameworks: "Frameworks",
  "test runners": "Test runners",
  imitated: "Imitated",
};

/** Tables whose lines are in the README, too. */
const inReadme = ["runtimes", "pages", "edge"];

/**
 * The order of lines, and how much of a version they name: browsers are Debian's, of any. Others come
 * behind these by their names, with the first number of their versions.
 */
const versionParts: Readonly<Record<string, number>> = {
  Deno: 2,
  Bun: 2,
  Node: 1,
  Chromium: 0,
  Firefox: 0,
  WebKit: 0,
  "WebKit with shared memory": 0,
  "Service worker, Chromium": 0,
  "Service worker, Firefox": 0,
  "Background of an extension, Chromium": 0,
  "Page of an extension, Chromium": 0,
  workerd: 0,
  "@edge-runtime/vm": 0,
};

/** A runtime as the tables name it. */
export function nameOf(runtime: string, version: string): string {
  const known = version.split(".", versionParts[runtime] ?? 1).join(".");
  return known === "" ? runtime : `${runtime} ${known}`;
}

/** Name of the variable that says where findings are kept. */
const variable = "FLASHTILE_FINDINGS";

/** What the processes of a run are told, so that they keep findings under a folder. */
export function findingsUnder(folder: string): Record<string, string> {
  return { [variable]: join(folder, "findings") };
}

/** What of a finding is kept, and what it is. */
const kinds = {
  ...{ runtime: "string", version: "string", group: "string", binary: "string" },
  ...{ threads: "boolean", isolated: "boolean", webgpu: "string", tried: "string" },
} as const satisfies Record<keyof Finding, string>;

/** A finding as text. What programs print is not what the types say it is: it is looked at. */
function textOf(given: Finding): string {
  const read = Object.entries(kinds).map(([name, kind]) => {
    const value = given[name as keyof Finding],
      isRequired = name === "runtime" || name === "version";
    if (typeof value === kind || value === undefined && !isRequired) return [name, value];
    throw new TypeError(
      `Cannot keep a finding: \`${name}\` must be a ${kind}, got ${JSON.stringify(value)}`,
    );
  });
  return JSON.stringify(Object.fromEntries(read));
}

/** Keeps a finding for the tables, in a process of a run that was told where. */
export function keepFinding(given: Finding): void {
  const { [variable]: folder } = process.env, text = textOf(given);
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  // The same of two tests is one.
  const name = createHash("sha256").update(text).digest("hex");
  writeFileSync(join(folder, `${name}.json`), text);
}

function readFindings(folder: string): Finding[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
}

/** A line of a table: all that is known of a runtime by its name. */
interface Line {
  readonly name: string;
  readonly group: string;
  readonly findings: readonly Finding[];
  readonly claims: readonly Claim[];
}

/** The place of a name in a list; behind all where it is not in it. */
function placeIn(list: Readonly<Record<string, unknown>>, name: string): number {
  const place = Object.keys(list).indexOf(name);
  return place < 0 ? Infinity : place;
}

/** As the tables have them: newer versions first. */
function compare(a: Finding, b: Finding): number {
  const places = [a, b].map(({ runtime }) => placeIn(versionParts, runtime));
  if (places[0] !== places[1]) return places[0] - places[1];
  return a.runtime.localeCompare(b.runtime, "en") ||
    b.version.localeCompare(a.version, "en", { numeric: true }) ||
    (a.tried ?? "").localeCompare(b.tried ?? "", "en");
}

/** As `Map.groupBy()`, which Node 20 lacks. */
function grouped<T>(list: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) groups.set(keyOf(item), [...groups.get(keyOf(item)) ?? [], item]);
  return groups;
}

/** Every line. A runtime that is only claimed has one, too. */
function linesOf(findings: readonly Finding[], claims: readonly Claim[]): Line[] {
  const byName = grouped(
    findings.toSorted(compare),
    ({ runtime, version }) => nameOf(runtime, version),
  );
  for (const name of claims.flatMap(({ runtimes }) => runtimes)) {
    if (!byName.has(name)) byName.set(name, []);
  }
  return Array.from(byName, ([name, found]) => {
    const own = claims.filter(({ runtimes }) => runtimes.includes(name));
    const group = [...found, ...own].find(({ group }) => group !== undefined)?.group;
    return { name, group: group ?? "runtimes", findings: found, claims: own };
  });
}

/** Of what nobody asked, and of a GPU. */
const unknown = "-", untried = "not tried";

/** Whether there are threads, of all that was found of one runtime. */
function threadsOf({ findings }: Line): string {
  const asked = findings.filter(({ threads }) => threads !== undefined);
  if (asked.length === 0) return unknown;
  const having = asked.filter(({ threads }) => threads);
  if (having.length === 0) return "no";
  return having.every(({ isolated }) => isolated) ? "in isolated pages" : "yes";
}

/** Different words of a line's parts, those that there are. */
function wordsOf(words: readonly (string | undefined)[], none: string): string {
  return [...new Set(words.filter((word) => word !== undefined))].join(", ") || none;
}

const columns: Readonly<Record<string, (line: Line) => string>> = {
  runtime: ({ name }) => name,
  "Wasm binary": ({ findings }) => wordsOf(findings.map(({ binary }) => binary), unknown),
  threads: threadsOf,
  WebGPU: ({ findings, claims }) =>
    wordsOf([...claims, ...findings].map(({ webgpu }) => webgpu), untried),
  "tried in CI": ({ findings, claims }) =>
    wordsOf([...claims, ...findings].map(({ tried }) => tried), unknown),
};

function tableOf(lines: readonly Line[], names: readonly string[]): string {
  const rows = [
    names.slice(),
    ...lines.map((line) => names.map((name) => columns[name](line))),
  ];
  const widths = names.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  rows.splice(1, 0, widths.map((width) => "-".repeat(width)));
  const pad = (cell: string, column: number) => cell.padEnd(widths[column]);
  return rows.map((row) => `| ${row.map(pad).join(" | ")} |\n`).join("");
}

/** The README's: a line each of what is no tool. */
function shortTable(lines: readonly Line[]): string {
  const names = Object.keys(columns).filter((name) => name !== "tried in CI");
  const groups = inReadme.map((group) => lines.filter((line) => line.group === group));
  return tableOf(groups.flat(), names);
}

/** Every table, under its title. */
function longTables(lines: readonly Line[]): string {
  const byGroup = grouped(lines, ({ group }) => group);
  const groups = [...byGroup.keys()].sort((a, b) =>
    placeIn(titles, a) - placeIn(titles, b) || a.localeCompare(b, "en")
  );
  return groups.map((group) => {
    const title = titles[group] ?? group.charAt(0).toUpperCase() + group.slice(1);
    const own = byGroup.get(group)!, names = Object.keys(columns);
    // What was asked of none of them is no column: of bundlers, which binary runs.
    const known = names.filter((name) =>
      own.some((line) => ![unknown, untried].includes(columns[name](line)))
    );
    return `## ${title}\n\n${tableOf(own, known)}`;
  }).join("\n");
}

const start = "<!-- `deno task test:all --table` writes what follows -->\n\n";
const end = "\n<!-- up to here -->\n";

/** The tables of each document that has some. */
export function tablesOf(
  findings: readonly Finding[],
  claims: readonly Claim[],
): Readonly<Record<string, string>> {
  const lines = linesOf(findings, claims);
  return { "README.md": shortTable(lines), "docs/RUNTIMES.md": longTables(lines) };
}

/** A document with tables: as it is, and as a whole run found it. */
export interface Tabled {
  readonly path: string;
  readonly text: string;
  readonly found: string;
}

/** The documents of a folder. What was found is in `folder`, which is the run's. */
export function withTables(root: string, folder: string, claims: readonly Claim[]): Tabled[] {
  const { [variable]: findings } = findingsUnder(folder);
  return Object.entries(tablesOf(readFindings(findings), claims)).map(([name, tables]) => {
    const path = join(root, name), text = readFileSync(path, "utf8");
    const from = text.indexOf(start) + start.length, to = text.indexOf(end, from);
    if (from < start.length || to < 0) {
      throw new Error(`Cannot find where ${name} has its tables: between "${start}" and "${end}"`);
    }
    return { path, text, found: text.slice(0, from) + tables + text.slice(to) };
  });
}
