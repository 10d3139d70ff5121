/**
 * How fast this machine reads memory: a plain sum over so many bytes, shared by several threads, each of
 * which has its part in a memory of its own.
 *
 * @module
 */

import process from "node:process";
import { Worker } from "node:worker_threads";
import { relaxed, simd } from "./asm/read.gen.ts";

const source = `
import { parentPort, workerData } from "node:worker_threads";
const { module, bytes } = workerData;
const { memory, sum } = new WebAssembly.Instance(module, {}).exports;
const from = memory.buffer.byteLength;
memory.grow(Math.ceil(bytes / 65536));
new Float32Array(memory.buffer, from, bytes / 4).fill(0.5);
parentPort.on("message", () => parentPort.postMessage(sum(from, bytes)));
parentPort.postMessage("ready");
`;

/** A reader of some bytes on several threads. */
export interface Reader {
  /** Reads everything once; milliseconds. */
  read(): Promise<number>;
  close(): Promise<void>;
}

/** Makes a reader. */
export async function createReader(bytes: number, threads: number): Promise<Reader> {
  const text = WebAssembly.validate(decode(relaxed)) ? relaxed : simd;
  const module = await WebAssembly.compile(decode(text));
  const share = Math.ceil(bytes / threads / 65536) * 65536;
  const workers = Array.from(
    { length: threads },
    () =>
      new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
        workerData: { module, bytes: share },
      }),
  );
  const answers = () =>
    Promise.all(
      workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))),
    );
  await answers();
  return {
    async read() {
      const done = answers(), start = performance.now();
      for (const worker of workers) worker.postMessage(0);
      await done;
      return performance.now() - start;
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

if (import.meta.main) {
  const reader = await createReader(256 * 2 ** 20, 2);
  for (let round = 0; round < 5; round++) console.log(256 * 2 ** 20 / await reader.read() / 1e6);
  await reader.close();
  process.exit();
}
