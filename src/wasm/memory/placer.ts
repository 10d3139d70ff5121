/**
 * Places within a block, measured before the block is taken.
 *
 * @module
 */

import { roundUp } from "./arena.ts";

/** Places one behind the other, each on cache lines of its own. */
export class Placer {
  /** Where the next one is. */
  end: number;

  constructor(from: number) {
    this.end = from;
  }

  /** Gives so many bytes a place and returns its address. */
  place(bytes: number): number {
    const at = this.end;
    if (bytes > 0) this.end = at + roundUp(bytes, 64);
    return at;
  }
}
