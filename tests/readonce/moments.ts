/**
 * Moments of a call: after so many microtasks, then after so many turns of the event loop.
 *
 * @module
 */

import { yieldTurn } from "../../src/runtime.ts";

/** When something happens. */
export interface Moment {
  readonly microtasks: number;
  readonly turns: number;
}

/** Waits for a moment. */
export async function waitFor({ microtasks, turns }: Moment): Promise<void> {
  for (let at = 0; at < turns; at++) await yieldTurn();
  for (let at = 0; at < microtasks; at++) await Promise.resolve();
}

/** Moments in order, from right after the call on. A call of one turn settles before the last. */
export function* moments(most: { microtasks: number; turns: number }): Iterable<Moment> {
  for (let at = 0; at <= most.microtasks; at++) yield { microtasks: at, turns: 0 };
  for (let at = 1; at <= most.turns; at++) yield { microtasks: 0, turns: at };
}

/** A moment in words. */
export function nameOf({ microtasks, turns }: Moment): string {
  return turns > 0 ? `after ${turns} turns` : `after ${microtasks} microtasks`;
}
