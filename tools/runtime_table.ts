/**
 * The README's table of runtimes, made of what a whole run of the tests found: what the packed package
 * says of each runtime, and which runs passed there.
 *
 * @module
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** What the package says of a runtime that it runs on. */
export interface Finding {
  readonly runtime: string;
  readonly version: string;
  /** The Wasm binary that is taken. */
  readonly binary: string;
  /** Whether there are threads. */
  readonly threads: boolean;
  /** Of a page: whether it is cross-origin isolated. */
  readonly isolated?: boolean;
}

/** What was found where a bundler or a host takes the package. */
export interface HostFinding {
  readonly host: string;
  readonly version: string;
  /** What is imported: `flashtile`, or `flashtile/single`. */
  readonly entry: string;
  /** What it becomes there, as "a program" or "a classic worker". */
  readonly as: string;
  readonly works: boolean;
  /** Why it does not, or what else a user should know. */
  readonly note?: string;
}

/** What a run of tests tells of the runtimes that it is about, if it passed. */
export interface Claim {
  /** As {@linkcode nameOf} names them. */
  readonly runtimes: readonly string[];
  /** What was tried there. */
  readonly tried: string;
  /** Where WebGPU is from, in a run about that. */
  readonly webgpu?: string;
}

/** The order of the table, and how much of a version it names: browsers are Debian's, of any. */
const versionParts: Readonly<Record<string, number>> = {
  Deno: 2,
  Bun: 2,
  Node: 1,
  Chromium: 0,
  Firefox: 0,
  workerd: 0,
  "@edge-runtime/vm": 0,
};

/** A runtime as the table names it. */
export function nameOf(runtime: string, version: string): string {
  const known = version.split(".", versionParts[runtime]).join(".");
  return known === "" ? runtime : `${runtime} ${known}`;
}

/** Name of the variable that says where findings are kept. */
const variable = "FLASHTILE_FINDINGS";

/** What the processes of a run are told, so that they keep findings under a folder. */
export function findingsUnder(folder: string): Record<string, string> {
  return { [variable]: join(folder, "findings") };
}

/** Keeps a finding for the table, in a process of a run that was told where. */
export function keepFinding({ runtime, version, binary, threads, isolated }: Finding): void {
  const { [variable]: folder } = process.env;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  const name = [runtime, version, isolated ? "isolated" : "open"].join("-").replaceAll("/", "-");
  const finding = { runtime, version, binary, threads, isolated };
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(finding));
}

/** Keeps what was found of a host, beside the findings, in a process of a run that was told where. */
export function keepHostFinding(finding: HostFinding): void {
  const { [variable]: folder } = process.env;
  if (folder === undefined) return;
  const hosts = `${folder}-hosts`, { host, version, entry, as } = finding;
  mkdirSync(hosts, { recursive: true });
  const name = [host, version, entry, as].join("-").replaceAll(/[^\w.-]+/g, "_");
  writeFileSync(join(hosts, `${name}.json`), JSON.stringify(finding));
}

/** Everything that was found of hosts. `folder` is the run's. */
export function readHostFindings(folder: string): HostFinding[] {
  const { [variable]: findings } = findingsUnder(folder);
  return readFindings(`${findings}-hosts`);
}

function readFindings<Kept = Finding>(folder: string): Kept[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
}

/** As the table has them: newer versions first. */
function compare(a: Finding, b: Finding): number {
  const order = Object.keys(versionParts);
  return order.indexOf(a.runtime) - order.indexOf(b.runtime) ||
    b.version.localeCompare(a.version, "en", { numeric: true });
}

/** Whether there are threads, of all that was found of one runtime. */
function threadsOf(findings: readonly Finding[]): string {
  const having = findings.filter(({ threads }) => threads);
  if (having.length === findings.length) return "yes";
  return having.length === 0 ? "no" : "in isolated pages";
}

function cellsOf(name: string, findings: readonly Finding[], claims: readonly Claim[]): string[] {
  const own = claims.filter(({ runtimes }) => runtimes.includes(name));
  const webgpu = own.find(({ webgpu }) => webgpu !== undefined)?.webgpu ?? "not tried";
  const tried = own.map(({ tried }) => tried).join(", ");
  return [name, findings[0].binary, threadsOf(findings), webgpu, tried];
}

function tableOf(findings: readonly Finding[], claims: readonly Claim[]): string {
  const byName = Map.groupBy(
    findings.toSorted(compare),
    ({ runtime, version }) => nameOf(runtime, version),
  );
  const rows = [["runtime", "Wasm binary", "threads", "WebGPU", "tried in CI"]];
  for (const [name, found] of byName) rows.push(cellsOf(name, found, claims));
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  rows.splice(1, 0, widths.map((width) => "-".repeat(width)));
  const pad = (cell: string, column: number) => cell.padEnd(widths[column]);
  return rows.map((row) => `| ${row.map(pad).join(" | ")} |\n`).join("");
}

const start = "<!-- `deno task test:all --table` writes this table -->\n\n";

/** A text with its table of runtimes as a whole run found it. `folder` is the run's. */
export function withTable(text: string, folder: string, claims: readonly Claim[]): string {
  const at = text.indexOf(start) + start.length, end = text.indexOf("\n\n", at) + 1;
  if (at < start.length) throw new Error("Cannot find the table of runtimes in the README");
  const { [variable]: findings } = findingsUnder(folder);
  return text.slice(0, at) + tableOf(readFindings(findings), claims) + text.slice(end);
}
