/**
 * What a worker runs: one classic script for worker threads and web workers alike.
 *
 * @module
 */

import { pageBytes } from "../../memory/arena.ts";
import { cells, firstState, left } from "./control.ts";
import { bytes as jobBytes } from "../../record/job.gen.ts";

/**
 * Looks at `limit` this often before it sleeps, some 0.2 ms: the next wave of a call comes sooner,
 * and waking a sleeper takes 55-120 us.
 */
const spins = 20_000;

/**
 * The script. It is started with `{ modules, memory, control, index }`, and a page's worker with
 * `version` too: what a server keeps of another version would understand the cells otherwise.
 *
 * `memory.grow(0)` lets a thread see that the memory has grown. V8 11 (Node 20) tells nothing to one
 * that begins at that moment: it then looks by itself. Filling and copying would trap beyond what it
 * knows of.
 */
const sourceOf = (version: string): string =>
  `"use strict";
function work({ modules, memory, control, index }) {
  const programs = modules.map((module) => new WebAssembly.Instance(module, { env: { memory } }).exports);
  const load = (cell) => Atomics.load(control, cell);
  const store = (state) => Atomics.store(control, ${firstState} + index, state);
  const isForgotten = (limit) => {
    for (let spin = 0; spin < ${spins}; spin++) if (load(${cells.limit}) !== limit) return false;
    return Atomics.wait(control, ${cells.limit}, limit, load(${cells.idle}) || Infinity) === "timed-out";
  };
  let state = 2;
  store(state);
  Atomics.add(control, ${cells.started}, 1);
  for (;;) {
    const job = load(${cells.next}), limit = load(${cells.limit});
    if (load(${cells.closed})) break;
    if (job === limit) {
      if (isForgotten(limit)) break;
      continue;
    }
    store(state + 1);
    if (Atomics.compareExchange(control, ${cells.next}, job, job + 1 | 0) === job) {
      const record = load(${cells.records}) + (job - load(${cells.first}) | 0) * ${jobBytes};
      const scratch = load(${cells.scratch}) + index * load(${cells.scratchStride});
      if (memory.buffer.byteLength < load(${cells.pages}) * ${pageBytes}) memory.grow(0);
      try {
        programs[load(${cells.program})].run(record, scratch);
      } catch {
        Atomics.add(control, ${cells.failed}, 1);
      }
      store(state = state + 2 & 65534 || 2);
      Atomics.add(control, ${cells.done}, 1);
      Atomics.notify(control, ${cells.done});
    } else store(state);
  }
  store(${left});
}
const threads = globalThis.process?.getBuiltinModule?.("node:worker_threads");
if (threads?.workerData) work(threads.workerData);
else {
  onmessage = ({ data }) => {
    if (data.version !== "${version}") throw Error("another version of FlashTile");
    work(data);
  };
  onmessageerror = () => { throw Error("no shared memory reaches workers"); };
}
`;

/** Tells scripts from each other: a hash of what all of them have but this. */
function hash(text: string): string {
  let sum = 0;
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum, 31) + text.charCodeAt(at) | 0;
  return sum.toString(36);
}

/** What a page's worker must be told. */
export const workerVersion: string = hash(sourceOf(""));

/** The script. */
export const workerSource: string = sourceOf(workerVersion);
