/**
 * Timing in turns, as `bench/race.ts` does it and for its reason; here calls may be asynchronous,
 * and slow subjects take fewer turns.
 *
 * @module
 */

import type { Bounds } from "./orders.ts";

/** Milliseconds that a turn lasts at least: short calls are repeated. */
const shortestTurn = 20;

/** Turns that even the slowest subject takes. */
const fewestTurns = 2;

/** Milliseconds of rest before a turn, unless it is said. */
const usualRest = 5;

/** Something to time. */
export interface Subject {
  run(): unknown;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Milliseconds of one call, the mean of a turn. */
export async function turn(subject: Subject, shortest = shortestTurn): Promise<number> {
  const start = performance.now();
  let calls = 0, elapsed: number;
  do {
    await subject.run();
    calls++;
    elapsed = performance.now() - start;
  } while (elapsed < shortest);
  return elapsed / calls;
}

/**
 * Times the subjects in rounds; the first takes part in every round, to be compared with.
 *
 * @returns Milliseconds of one call, per subject and round.
 */
export async function inTurns<S extends Subject>(
  subjects: readonly S[],
  { rounds, perPeer, rest = usualRest }: Bounds,
  beforeTurn: (subject: S) => void,
): Promise<number[][]> {
  const times = subjects.map((): number[] => []);
  const spent = subjects.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    const taking = subjects.map((_, index) => index)
      .filter((index) => round < fewestTurns || spent[index] < perPeer);
    if (taking.length === 0) break;
    if (!taking.includes(0)) taking.unshift(0);
    for (const index of taking) {
      await pause(rest);
      beforeTurn(subjects[index]);
      const start = performance.now();
      times[index].push(await turn(subjects[index]));
      spent[index] += performance.now() - start;
    }
  }
  return times;
}
