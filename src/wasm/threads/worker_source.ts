/**
 * What a worker runs: one classic script for worker threads and web workers alike.
 *
 * @module
 */

import { pageBytes } from "../arena.ts";
import { jobBytes } from "../job_record.ts";
import { cells, firstHolding } from "./control.ts";

/**
 * Looks at `limit` this often before it sleeps, some 0.2 ms: the next wave of a call comes sooner,
 * and waking a sleeper takes 55-120 us.
 */
const spins = 20_000;

/** The script. It is started with `{ module, memory, control, index }`. */
export const workerSource: string = `"use strict";
function work({ module, memory, control, index }) {
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  const idle = (limit) => {
    for (let spin = 0; spin < ${spins}; spin++) {
      if (Atomics.load(control, ${cells.limit}) !== limit) return;
    }
    Atomics.wait(control, ${cells.limit}, limit);
  };
  Atomics.add(control, ${cells.started}, 1);
  for (;;) {
    const job = Atomics.load(control, ${cells.next});
    const limit = Atomics.load(control, ${cells.limit});
    if (Atomics.load(control, ${cells.closed}) === 1) return;
    if (job === limit) idle(limit);
    else if (Atomics.compareExchange(control, ${cells.next}, job, job + 1 | 0) === job) {
      Atomics.store(control, ${firstHolding} + index, 1);
      const at = job - Atomics.load(control, ${cells.first}) | 0;
      const record = Atomics.load(control, ${cells.records}) + at * ${jobBytes};
      const scratch = Atomics.load(control, ${cells.scratch}) +
        index * Atomics.load(control, ${cells.scratchStride});
      // Lets this thread see that the memory has grown. V8 11 (Node 20) tells nothing to one that begins
      // at that moment: it then looks by itself. Filling and copying would trap beyond what it knows of.
      if (memory.buffer.byteLength < Atomics.load(control, ${cells.pages}) * ${pageBytes}) memory.grow(0);
      try {
        run(record, scratch);
      } catch {
        Atomics.add(control, ${cells.failed}, 1);
      }
      Atomics.store(control, ${firstHolding} + index, 0);
      Atomics.add(control, ${cells.done}, 1);
      Atomics.notify(control, ${cells.done});
    }
  }
}
const threads = globalThis.process?.getBuiltinModule?.("node:worker_threads");
if (threads) work(threads.workerData);
else onmessage = ({ data }) => work(data);
`;
