/**
 * Slices: a long computation in steps, between which the event loop gets its turn, signals are
 * looked at and progress is told.
 *
 * @module
 */

import type { Control } from "../backend.ts";
import { throwIfAborted } from "../errors.ts";
import type { Step } from "./waves.ts";
import type { Team } from "./team.ts";

/** Work done in one go before the event loop gets its turn, in milliseconds: one frame of a page. */
const sliceMilliseconds = 16;

function advance(done: number, total: number, control: Control): void {
  throwIfAborted(control.signal);
  if (done < total) control.onProgress?.({ done, total });
}

/** Runs steps to their end; `total` is the rows of all of them. */
export function finish(steps: Iterable<Step>, team: Team, total: number, control: Control): void {
  let done = 0;
  for (const { batch, rows } of steps) {
    team.runSync(batch);
    advance(done += rows, total, control);
  }
  control.onProgress?.({ done: total, total });
}

/** The same, with turns of the event loop in between. Stops with `signal.reason`. */
export async function finishInTurns(
  steps: Iterable<Step>,
  team: Team,
  total: number,
  control: Control,
): Promise<void> {
  let done = 0;
  let start = performance.now();
  for (const { batch, rows } of steps) {
    await team.run(batch);
    done += rows;
    if (performance.now() - start > sliceMilliseconds) {
      await turn();
      start = performance.now();
    }
    advance(done, total, control);
  }
  control.onProgress?.({ done: total, total });
}

/** The part of the runtime's globals that some lack: pages the first, edge runtimes both. */
interface Turns {
  /** Of Vercel and Next, whose other globals are functions that throw. */
  EdgeRuntime?: string;
  setImmediate?: (callback: () => void) => void;
  MessageChannel?: typeof MessageChannel;
}

/**
 * Lets timers, messages and input have their turn.
 *
 * `setImmediate` where it exists: Bun runs messages before timers, so that a chain of messages would
 * starve them. Pages have only messages; `setTimeout` would wait 4 ms there.
 */
export function turn(): Promise<void> {
  const { EdgeRuntime, setImmediate, MessageChannel } = globalThis as Turns;
  if (setImmediate !== undefined && EdgeRuntime === undefined) {
    return new Promise((resolve) => setImmediate(() => resolve()));
  }
  if (MessageChannel === undefined || EdgeRuntime !== undefined) {
    return new Promise((resolve) => setTimeout(resolve, 0));
  }
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close(); // An open port would keep the process alive.
      resolve();
    };
    port2.postMessage(null);
  });
}
