/**
 * `deno task bench:edge [--json FILE]`: the worker of `examples/edge/` on workerd. Its first request
 * after a start against that of an empty worker, and 50 clients at a time for half a minute, with what
 * it then has in memory.
 *
 * @module
 */

import "../../tools/help.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundleExample } from "../../examples/edge/serve.ts";
import { bundleWorker, unpackPackage } from "../../tools/bundle_worker.ts";
import { type Heap, Inspected, sizeOf } from "../../tools/heap.ts";
import { type Counted, load } from "../../tools/load.ts";
import { versions } from "../../tools/install.ts";
import { compileWorker, residentBytes, startWorker } from "../../tools/workerd.ts";
import { machine } from "../machine.ts";
import { median } from "../spread.ts";

/** How often each worker is started. */
const starts = 25;

const connections = 50, seconds = 30;

/** Seconds between looks at the memory of the process. */
const interval = 5;

/** A worker, compiled for workerd. */
interface Worker {
  readonly name: string;
  readonly compiled: string;
  /** Whether it embeds texts, or answers whatever comes. */
  readonly embeds: boolean;
}

/** Milliseconds, medians of several starts. */
interface Start {
  readonly name: string;
  /** From the start of the process until it listens. */
  readonly listening: number;
  /** From the first request to its answer. */
  readonly request: number;
  /** Both. */
  readonly whole: number;
}

/** What a load did. */
interface Loaded {
  readonly name: string;
  readonly counted: Counted;
  /** Resident bytes of the process, at the beginning and every few seconds. */
  readonly resident: readonly number[];
}

const text = "In the beginning";

function prepare(folder: string): Worker[] {
  const modules = unpackPackage(folder);
  const own = (name: string) => {
    const target = join(folder, name), script = new URL(`${name}.ts`, import.meta.url);
    bundleWorker(fileURLToPath(script), target, modules, { flags: ["--minify"] });
    return { name, compiled: compileWorker(target), embeds: false };
  };
  const example = (name: string, single: boolean) => {
    return { name, compiled: compileWorker(bundleExample(folder, single)), embeds: true };
  };
  return [
    own("empty"),
    own("attention"),
    example("examples/edge", false),
    example("the same in one script", true),
  ];
}

async function ask({ embeds }: Worker, url: string): Promise<void> {
  const response = await fetch(`${url}/embed`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ texts: [text] }),
  });
  const answer = await response.json();
  if (!response.ok || embeds && answer.embeddings.length !== 1) {
    throw new Error(`Cannot use the worker: it answered ${response.status}`);
  }
}

async function startOnce(worker: Worker): Promise<readonly number[]> {
  const begin = performance.now();
  await using served = await startWorker(worker.compiled);
  const listening = performance.now();
  await ask(worker, served.url);
  const end = performance.now();
  return [listening - begin, end - listening, end - begin];
}

/** Starts all workers in turn, so that what else the machine does meets all of them. */
async function timeStarts(workers: readonly Worker[]): Promise<Start[]> {
  const samples = workers.map((): (readonly number[])[] => []);
  for (let round = 0; round < starts; round++) {
    for (const [at, worker] of workers.entries()) samples[at].push(await startOnce(worker));
  }
  return workers.map(({ name }, at) => {
    const [listening, request, whole] = [0, 1, 2].map((part) =>
      median(samples[at].map((one) => one[part]))
    );
    return { name, listening, request, whole };
  });
}

async function loadOne({ name, compiled }: Worker): Promise<Loaded> {
  await using served = await startWorker(compiled);
  const resident = [residentBytes(served.pid)];
  const timer = setInterval(() => resident.push(residentBytes(served.pid)), interval * 1000);
  try {
    const url = `${served.url}/embed`;
    const counted = await load({ url, connections, seconds, body: { texts: [text] } });
    return { name, counted, resident: [...resident, residentBytes(served.pid)] };
  } finally {
    clearInterval(timer);
  }
}

/** What the isolate holds around the same load, and while it is under way. */
async function inspect({ compiled }: Worker): Promise<Record<"before" | "during" | "after", Heap>> {
  await using served = await startWorker(compiled, true);
  using isolate = await Inspected.begin(served.inspector!);
  const url = `${served.url}/embed`, body = { texts: [text] };
  const use = async () => await (await fetch(served.url)).text();
  await load({ url, connections, seconds: 5, body });
  const before = await isolate.readCollected(use);
  const counting = load({ url, connections, seconds, body });
  let during = before;
  const timer = setInterval(async () => {
    const found = await isolate.read();
    if (sizeOf(found) > sizeOf(during)) during = found;
  }, 500);
  await counting;
  clearInterval(timer);
  await isolate.read(); // One may be under way.
  return { before, during, after: await isolate.readCollected(use) };
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

function printStarts([empty, ...others]: readonly Start[]): void {
  console.log(`\nFirst request after a start, ms, medians of ${starts}; in brackets over empty`);
  const cell = (own: number, over: number) =>
    `${own.toFixed(1).padStart(7)} ${`(+${(own - over).toFixed(1)})`.padEnd(9)}`;
  console.log(`${"".padEnd(24)}${"listening".padEnd(18)}${"request".padEnd(18)}both`);
  for (const { name, listening, request, whole } of [empty, ...others]) {
    console.log(
      name.padEnd(24) + cell(listening, empty.listening) + cell(request, empty.request) +
        cell(whole, empty.whole),
    );
  }
}

function printLoad({ name, counted, resident }: Loaded): void {
  const { answers, refusals, errors, perSecond, latency } = counted;
  console.log(
    `\n${name}, ${connections} connections for ${seconds} s: ${answers} answers, ` +
      `${perSecond.toFixed(0)} a second, ${refusals} refused, ${errors} errors; ` +
      `latency ${latency.median} ms, of 99 in 100 at most ${latency.most}`,
  );
  console.log(`resident every ${interval} s, MiB: ${resident.map(mebibytes).join(" ")}`);
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const folder = mkdtempSync(join(tmpdir(), "flashtile-bench-"));
try {
  const head = { machine: machine(), workerd: versions.workerd, connections, seconds };
  console.log(`${head.machine.cpu}, ${head.machine.cores} cores; workerd ${head.workerd}`);
  const workers = prepare(folder), [empty, , example] = workers;
  const firsts = await timeStarts(workers);
  printStarts(firsts);
  const loads = [await loadOne(empty), await loadOne(example)];
  for (const loaded of loads) printLoad(loaded);
  const isolate = await inspect(example);
  const words = Object.entries(isolate).map(([when, { objects, buffers }]) =>
    `${when} ${mebibytes(objects)} + ${mebibytes(buffers)}`
  );
  console.log(`\nthe isolate, MiB of objects + of buffers: ${words.join(", ")}`);
  if (loads.some(({ counted }) => counted.refusals + counted.errors > 0)) process.exitCode = 1;
  const report = { ...head, starts: firsts, loads, isolate };
  if (values.json) await writeFile(values.json, JSON.stringify(report, null, 2) + "\n");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
