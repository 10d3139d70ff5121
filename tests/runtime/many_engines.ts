/**
 * Many engines, one after the other: closed; dropped without `close()`; in a worker that is ended from
 * outside while a call runs. Each time no thread must stay, and no memory. A process of its own:
 * whatever else a process does shows in both.
 *
 * @module
 */

import process from "node:process";
import { createEngine, type Engine, tensor } from "@flashtile/attention";

/** The parts of Node's modules that are used; a page's bundle has none of them. */
interface Modules {
  "node:fs": { readdirSync(path: string): string[] };
  "node:v8": { setFlagsFromString(flags: string): void };
  "node:vm": { runInNewContext(code: string): () => void };
  "node:worker_threads": {
    readonly isMainThread: boolean;
    readonly parentPort: { postMessage(message: unknown): void };
    readonly Worker: new (url: URL) => {
      once(event: string, listener: (value: unknown) => void): void;
      terminate(): Promise<number>;
    };
  };
}

function builtin<Name extends keyof Modules>(name: Name): Modules[Name] {
  return process.getBuiltinModule(name) as unknown as Modules[Name];
}

const { isMainThread, parentPort, Worker } = builtin("node:worker_threads");

const shape = [4, 300, 64]; // Enough work that a worker is started.
const ones = tensor(new Float32Array(4 * 300 * 64).fill(1), shape);

async function use(engine: Engine): Promise<void> {
  const { out } = await engine.attention(ones, ones, ones);
  if (out.data.some((x) => Math.abs(x - 1) > 1e-5)) throw new Error("A mean of ones is not 1");
}

function make(): Promise<Engine> {
  return createEngine({ backend: "wasm", threads: 2 });
}

/** Does something so many times, one after the other: engines side by side would spread the heap. */
async function repeat(times: number, act: () => Promise<unknown>): Promise<void> {
  for (let time = 0; time < times; time++) await act();
}

/** Threads of this process, or why they cannot be counted. */
function countThreads(): number | string {
  try {
    return builtin("node:fs").readdirSync("/proc/self/task").length;
  } catch (error) {
    return (error as Error).message;
  }
}

const collectGarbage = (() => {
  const { Bun } = globalThis as { Bun?: { gc(now: boolean): void } };
  if (Bun !== undefined) return () => Bun.gc(true);
  builtin("node:v8").setFlagsFromString("--expose-gc");
  return builtin("node:vm").runInNewContext("gc");
})();

interface Usage {
  readonly threads: number | string;
  /** Resident. */
  readonly mebibytes: number;
}

function usage(): Usage {
  return { threads: countThreads(), mebibytes: process.memoryUsage().rss / 2 ** 20 };
}

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until nothing more ends: the same number of threads five times. */
async function settled(): Promise<Usage> {
  let { threads } = usage();
  for (let same = 0; same < 5;) {
    collectGarbage();
    await sleep(60);
    const now = usage();
    same = now.threads === threads ? same + 1 : 0;
    threads = now.threads;
  }
  return usage();
}

/** Waits until no more is used than was before, but for some memory. */
async function assertGone(what: string, before: Usage, mebibytes = 32): Promise<void> {
  const start = performance.now();
  for (;;) {
    collectGarbage();
    const now = usage();
    // Where threads cannot be counted, both are the same words.
    if (now.threads <= before.threads && now.mebibytes <= before.mebibytes + mebibytes) return;
    if (performance.now() - start > 30_000) {
      throw new Error(`${what} leave something: ${JSON.stringify({ before, now })}`);
    }
    await sleep(50);
  }
}

async function closed(): Promise<void> {
  const engine = await make();
  await use(engine);
  await engine.close();
}

async function droppedEngine(): Promise<void> {
  await use(await make());
}

/** A worker with an engine that always runs a call, ended from outside. */
async function ended(): Promise<void> {
  const worker = new Worker(new URL(import.meta.url));
  await new Promise((resolve) => worker.once("message", resolve));
  await worker.terminate();
}

if (isMainThread) {
  if (typeof countThreads() === "string") {
    console.log(`Threads are not counted, memory is: ${countThreads()}`);
  }
  await repeat(10, closed);
  const before = await settled();
  await repeat(290, closed);
  await assertGone("Engines that were closed", before);
  await repeat(20, droppedEngine);
  await assertGone("Engines that were dropped", before);
  await Promise.all([ended(), ended(), ended()]);
  // The workers' own heaps are the runtime's, which keeps them for a while.
  await assertGone("Engines of workers that were ended", before, 64);
} else {
  const engine = await make();
  for (let call = 0;; call++) {
    await use(engine);
    if (call === 5) parentPort.postMessage("busy");
  }
}
