/**
 * Engines of several thread counts, whose results are compared.
 *
 * @module
 */

import { createEngine, type Engine } from "@flashtile/attention";
import { once } from "./once.ts";
import { isWhole } from "./share.ts";

function makeAll(): Promise<Engine[]> {
  return Promise.all([1, 2, 3].map((threads) => createEngine({ backend: "wasm", threads })));
}

/** Those of a daily run: starting workers for every test would take longer than the tests. */
const kept = once(makeAll);

/** Runs with engines of one thread, two and three; in a whole run with new ones. */
export async function withEngines(
  use: (alone: Engine, teams: readonly Engine[]) => Promise<void>,
): Promise<void> {
  const engines = await (isWhole ? makeAll() : kept()), [alone, ...teams] = engines;
  try {
    await use(alone, teams);
  } finally {
    if (isWhole) { for (const engine of engines) await engine.close(); }
  }
}
