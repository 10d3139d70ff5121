/**
 * The page that WebKit opens: `time(order)` as `child.ts` has it.
 *
 * @module
 */

import type { Answer, Order } from "./orders.ts";
import { carryOut } from "./timing.ts";

function missing(name: string): never {
  throw new Error(`${name} is not raced in a page`);
}

/** Times what is ordered. */
export function time(order: Order): Promise<Answer> {
  const setup = { threads: 1, require: missing, resolve: missing };
  return carryOut(order, setup, () => performance.now());
}
