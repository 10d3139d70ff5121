/**
 * `deno task bench:gpu [--on deno|node|chromium|all] [--quick] [--search] [--json FILE]
 * [--browser PROGRAM]`: the WebGPU backend on the adapter at hand. Measures attention as a share of
 * what the device multiplies, races onnxruntime-web in Chromium, and searches for the best tiles:
 * the last lines can be pasted into the table in `src/webgpu/attention/variants.ts`.
 *
 * `--search` searches and does nothing else; `--quick` takes small sizes, as an adapter that computes
 * on the CPU always does. A full run on a GPU writes `bench/results/gpu-ADAPTER.json` unless it is
 * told where to write.
 *
 * @module
 */

import "../../tools/help.ts";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { machine } from "../machine.ts";
import { pinnedVersions } from "../peers/install.ts";
import { chromiumRuntime } from "./chromium.ts";
import { type Event, keep, newRun, type Order, reasonOf, type Report, type Run } from "./report.ts";
import { processes, type Runtime } from "./runtimes.ts";
import { printEnd, Table } from "./table.ts";

function readTree(path: string): Promise<string> {
  return readFile(new URL(path, import.meta.url), "utf8");
}

/** The runtimes of a name. */
function choose(name: string, browser: string | undefined): Runtime[] {
  const all = [...processes, chromiumRuntime(browser)];
  const chosen = name === "all" ? all : all.filter((runtime) => runtime.name === name);
  if (chosen.length > 0) return chosen;
  const names = all.map((runtime) => runtime.name).join(", ");
  throw new Error(`Cannot run on ${name}: --on takes ${names} or all`);
}

/** Measures on a runtime; one that cannot be had is told of, and the others go on. */
async function runOn(runtime: Runtime, order: Order): Promise<Run> {
  const run = newRun(runtime.name), table = new Table();
  const tell = (event: Event) => {
    keep(run, event);
    table.print(event);
  };
  try {
    await runtime.run(order, tell);
  } catch (error) {
    tell({ kind: "missing", missing: { what: runtime.name, reason: reasonOf(error) } });
  }
  return run;
}

/** Where a run on a GPU is kept. */
function usualFile({ runs }: Report): string | undefined {
  const device = runs.find(({ device }) => device !== undefined)?.device;
  if (device === undefined || device.software || device.quick) return undefined;
  const name = device.adapter.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  return fileURLToPath(new URL(`../results/gpu-${name}.json`, import.meta.url));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      on: { type: "string", default: "all" },
      quick: { type: "boolean", default: false },
      search: { type: "boolean", default: false },
      json: { type: "string" },
      browser: { type: "string" },
    },
  });
  const { on, quick, search, json, browser } = values;
  const runtimes = choose(on, browser);
  const order = { quick, attention: !search, search: true, matmul: await readTree("matmul.wgsl") };
  const { name, version } = JSON.parse(await readTree("../../deno.json"));
  const { cpu, cores, memoryGiB, system } = machine();
  console.log(`${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}`);
  console.log(`${name} ${version}, onnxruntime-web ${pinnedVersions()["onnxruntime-web"]}`);
  const runs: Run[] = [];
  for (const runtime of runtimes) runs.push(await runOn(runtime, order));
  const report: Report = { machine: machine(), flashtile: version, runs };
  printEnd(report);
  const file = json ?? usualFile(report);
  if (file !== undefined) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(`\nWritten to ${file}`);
  }
  if (runs.every(({ device }) => device === undefined)) process.exitCode = 1;
}

if (import.meta.main) {
  await main();
}
