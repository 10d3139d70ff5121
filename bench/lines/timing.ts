/**
 * Timing in turn, in a process or a page.
 *
 * @module
 */

import { dots } from "../../src/wasm/integer/dots.ts";
import type { Setup } from "../peers/peer.ts";
import { prepare, type Ready, reasonOf } from "./entrants.ts";
import type { Answer, Order } from "./orders.ts";

/** Milliseconds that a turn lasts at least, and that each entrant has before the first. */
const shortestTurn = 20, warmUp = 300;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Milliseconds of one call, the mean of a turn, by a clock. */
async function turn({ run, factor }: Ready, shortest: number, now: () => number): Promise<number> {
  const begin = performance.now(), start = now();
  let calls = 0;
  do {
    await run();
    calls++;
  } while (performance.now() - begin < shortest);
  return (now() - start) * factor / calls;
}

/** Times what is ordered; each entrant is the first of a round in its turn. */
export async function carryOut(order: Order, setup: Setup, now: () => number): Promise<Answer> {
  const reason = await reasonOf(), ready: Ready[] = [];
  for (const entrant of order.entrants) {
    const one = await prepare(entrant, setup);
    await turn(one, warmUp, now);
    ready.push(one);
  }
  const times = ready.map((): number[] => []);
  for (let round = 0; round < order.rounds; round++) {
    for (let index = 0; index < ready.length; index++) {
      const which = (index + round) % ready.length;
      await pause(order.rest);
      times[which].push(await turn(ready[which], shortestTurn, now));
    }
  }
  return { reason, fused: dots.areFused, times };
}
