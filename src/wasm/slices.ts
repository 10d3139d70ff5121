/**
 * Slices: a long computation in pieces, between which the event loop gets its turn, signals are
 * looked at and progress is told.
 *
 * @module
 */

import type { Control } from "../backend.ts";

/** Work done in one go before the event loop gets its turn, in milliseconds: one frame of a page. */
const sliceMilliseconds = 16;

/** Lets timers, messages and input have their turn. `setTimeout` would wait 4 ms in browsers. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close(); // An open port would keep the process alive.
      resolve();
    };
    port2.postMessage(null);
  });
}

function advance(done: number, total: number, control: Control): void {
  control.signal?.throwIfAborted();
  if (done < total) control.onProgress?.({ done, total });
}

/** Runs slices to their end, each of which yields how many of `total` rows it finished. */
export function finish(slices: Iterable<number>, total: number, control: Control): void {
  let done = 0;
  for (const rows of slices) advance(done += rows, total, control);
  control.onProgress?.({ done: total, total });
}

/** The same, with turns of the event loop in between. Stops with `signal.reason`. */
export async function finishInTurns(
  slices: Iterable<number>,
  total: number,
  control: Control,
): Promise<void> {
  let done = 0;
  let start = performance.now();
  for (const rows of slices) {
    done += rows;
    if (performance.now() - start > sliceMilliseconds) {
      await turn();
      start = performance.now();
    }
    advance(done, total, control);
  }
  control.onProgress?.({ done: total, total });
}
