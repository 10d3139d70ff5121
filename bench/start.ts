/**
 * `deno task bench:start [--json FILE]`: what a first result costs, over an empty program. Whole
 * processes in turn, each of which imports the library, computes attention of 16 rows, and ends: Deno
 * from the source, as JSR gives it; Deno, Node and Bun from the npm package.
 *
 * @module
 */

import "../tools/help.ts";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { buildPackage } from "../tools/build_npm/build.ts";
import { runtimeCommands } from "../tools/install.ts";
import { machine } from "./machine.ts";
import { median } from "./spread.ts";

const rounds = 21;

/** A program on one runtime, and the milliseconds of its runs. */
interface Contestant {
  readonly name: string;
  readonly command: readonly string[];
  readonly times: number[];
}

/** What is printed of one. */
interface Row {
  readonly name: string;
  readonly empty: number;
  readonly over: number;
}

function programOf(library: string): string {
  return `import { attention } from ${JSON.stringify(library)};
const q = { data: new Float32Array(1024), shape: [16, 64] };
await attention(q, q, q);
`;
}

function runOnce({ name, command: [program, ...given], times }: Contestant): void {
  const start = performance.now();
  const { status, stderr } = spawnSync(program, given, { encoding: "utf8" });
  times.push(performance.now() - start);
  if (status !== 0) throw new Error(`${name} ended with ${status}:\n${stderr}`);
}

/** An empty program and those that use the library, on each runtime. */
function contestants(folder: string): (readonly [empty: Contestant, ...Contestant[]])[] {
  buildPackage(join(folder, "package"));
  const libraries = {
    source: new URL("../mod.ts", import.meta.url).href,
    package: pathToFileURL(join(folder, "package", "dist", "flashtile.js")).href,
  };
  const files = { empty: join(folder, "empty.mjs"), source: "", package: "" };
  writeFileSync(files.empty, "");
  for (const [name, library] of Object.entries(libraries)) {
    const file = files[name as keyof typeof libraries] = join(folder, `${name}.mjs`);
    writeFileSync(file, programOf(library));
  }
  return runtimeCommands().map(({ name, command }) => {
    const run = (what: keyof typeof files): Contestant => ({
      name: `${name}, ${what}`,
      command: [...command, files[what]],
      times: [],
    });
    // The others take the source only where it is stripped of types, or bundled.
    return [run("empty"), ...name === "Deno" ? [run("source")] : [], run("package")] as const;
  });
}

function measure(): Row[] {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-start-"));
  try {
    const all = contestants(folder);
    // The first round fills caches, and does not count.
    for (let round = 0; round <= rounds; round++) {
      for (const contestant of all.flat()) runOnce(contestant);
      if (round === 0) { for (const { times } of all.flat()) times.length = 0; }
    }
    return all.flatMap(([{ times }, ...others]) => {
      const empty = median(times);
      return others.map(({ name, times }) => ({ name, empty, over: median(times) - empty }));
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const { cpu, cores } = machine();
console.log(`${cpu}, ${cores} cores; medians of ${rounds} processes each`);
const rows = measure();
for (const { name, empty, over } of rows) {
  console.log(
    `${name.padEnd(16)} ${over.toFixed(1).padStart(5)} ms to a first result, over the ` +
      `${empty.toFixed(0)} ms of an empty program`,
  );
}
if (values.json !== undefined) {
  await writeFile(
    values.json,
    JSON.stringify({ machine: machine(), rounds, rows }, null, 2) + "\n",
  );
}
