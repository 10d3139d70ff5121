/**
 * Slices: a long computation in steps, between which the event loop gets its turn, signals are
 * looked at and progress is told.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { clock, turn } from "../../runtime.ts";
import type { Team } from "./team.ts";
import type { Step } from "./waves.ts";

/** Work done in one go before the event loop gets its turn, in milliseconds: one frame of a page. */
const sliceMilliseconds = 16;

function advance(done: number, total: number, control: Control, checkOpen: () => void): void {
  throwIfAborted(control.signal);
  if (done < total) control.onProgress?.({ done, total });
  checkOpen();
}

/**
 * Runs steps to their end; `total` is the rows of all of them. `checkOpen` throws once nothing more may be
 * done: whoever waits, or is told of progress, may close the engine.
 */
export function finish(
  steps: Iterable<Step>,
  team: Team,
  total: number,
  control: Control,
  checkOpen: () => void,
): void {
  let done = 0;
  for (const { batch, rows } of steps) {
    team.runSync(batch);
    advance(done += rows, total, control, checkOpen);
  }
  control.onProgress?.({ done: total, total });
}

/** The same, with turns of the event loop in between. Stops with `signal.reason`. */
export async function finishInTurns(
  steps: Iterable<Step>,
  team: Team,
  total: number,
  control: Control,
  checkOpen: () => void,
): Promise<void> {
  let done = 0;
  let start = clock.now();
  for (const { batch, rows } of steps) {
    await team.run(batch);
    done += rows;
    if (clock.now() - start > sliceMilliseconds) {
      await turn();
      start = clock.now();
    }
    advance(done, total, control, checkOpen);
  }
  control.onProgress?.({ done: total, total });
}
