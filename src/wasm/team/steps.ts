/**
 * Steps of a call: waves of work, each staged in linear memory, run by a team and collected, one after the
 * other; and slices of time, between which the event loop gets its turn, signals are looked at and progress
 * is told.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { clock, yieldTurn } from "../../runtime.ts";
import type { Batch, Team } from "./team.ts";

/** Jobs to be run before the next step, and the query rows that are finished then. */
export interface Step {
  readonly batch: Batch;
  readonly rows: number;
}

/** What becomes of waves. */
export interface Waves<Wave> {
  /** Whether one may be staged while another runs: where there are two places for them. */
  readonly ahead: boolean;
  /** Brings what a wave reads into linear memory. */
  stage(wave: Wave): Batch;
  /** Query rows that a wave finishes. */
  rows(wave: Wave): number;
  /** Hands out what a wave that has run wrote. */
  collect(wave: Wave): void;
}

/**
 * Stages each wave, lets it run, and collects it. Where waves have two places, one is staged, and the
 * one before collected, while another runs: only the calling thread can do that, and the others would
 * wait for it.
 */
export function* runInTurn<Wave>(
  waves: Iterator<Wave, void>,
  { ahead, stage, rows, collect }: Waves<Wave>,
): Generator<Step> {
  const staged: { wave: Wave; batch: Batch }[] = [], finished: Wave[] = [];
  const prepare = () => {
    for (const wave of finished.splice(0)) collect(wave);
    const next = waves.next();
    if (!next.done) staged.push({ wave: next.value, batch: stage(next.value) });
  };
  for (prepare(); staged.length > 0;) {
    const { wave, batch } = staged.shift()!;
    yield { batch: ahead ? { ...batch, meanwhile: prepare } : batch, rows: rows(wave) };
    finished.push(wave);
    if (staged.length === 0) prepare();
  }
}

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
      await yieldTurn();
      start = clock.now();
    }
    advance(done, total, control, checkOpen);
  }
  control.onProgress?.({ done: total, total });
}
