/**
 * Blocks of linear memory that are taken and not given back.
 *
 * @module
 */

import { watch } from "../../src/wasm/memory/arena.ts";

/** Counts the blocks that `act` takes and does not give back. */
export async function blocksLeft(act: () => Promise<unknown>): Promise<number> {
  const { taken, given } = watch;
  let count = 0;
  watch.taken = (...block) => {
    count++;
    taken?.(...block);
  };
  watch.given = (...block) => {
    count--;
    given?.(...block);
  };
  try {
    await act();
    return count;
  } finally {
    Object.assign(watch, { taken, given });
  }
}
