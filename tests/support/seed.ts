/**
 * A seed that is another in every run, for tests that look for what nobody has thought of.
 *
 * @module
 */

import { setting } from "./gpu.ts";
import { once } from "./once.ts";

/**
 * The seed of this run: `FLASHTILE_SEED`, where that is given (Deno needs `--allow-env` to see it).
 * It is printed, so that the run can be repeated.
 */
export const varyingSeed = once(() => {
  const given = setting("FLASHTILE_SEED");
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  console.log(`FLASHTILE_SEED=${seed}`);
  return seed;
});
