/**
 * How large tiles are.
 *
 * @module
 */

import type { Span } from "./memory.ts";

/** Rows of the tiles of an algorithm: those of its outer loop and those of its inner one. */
export interface Blocks {
  readonly outer: number;
  readonly inner: number;
}

/**
 * The papers' sizes: M / 4d rows outside, so that four tiles (of Q, K, V and O) fill fast memory;
 * at most d inside, so that a tile of scores is not larger than these (arXiv 2205.14135,
 * algorithm 1, line 1). The paper rounds M / 4d up, which a memory of exactly M refuses; where 4d
 * divides M both are the same.
 *
 * @param tiles How many tiles must fit; 7 in the backward pass.
 * @throws {RangeError} When not one row of each fits.
 */
export function blocksOf(m: number, d: number, tiles = 4): Blocks {
  const outer = Math.floor(m / (tiles * d));
  if (outer < 1) {
    throw new RangeError(
      `Fast memory of M = ${m} numbers does not hold one row of ${tiles} tiles at d = ${d}: ` +
        `take M >= ${tiles * d} or a smaller d`,
    );
  }
  return { outer, inner: Math.min(outer, d) };
}

/** 0 to `length` in stretches of `count`; the last may be shorter. */
export function spans(length: number, count: number): Span[] {
  return Array.from({ length: Math.ceil(length / count) }, (_, index) => {
    const start = index * count;
    return { start, count: Math.min(count, length - start) };
  });
}
