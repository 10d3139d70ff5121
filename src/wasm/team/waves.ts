/**
 * Waves: work that is staged in linear memory, run by a team, and collected, one after the other.
 *
 * @module
 */

import type { Batch } from "./team.ts";

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
