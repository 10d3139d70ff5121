/**
 * Which sizes the story is told for.
 *
 * @module
 */

import { backwardTiles } from "./backward.ts";
import type { Sizes } from "./problem.ts";

/** N, d and M where none are given: M is 128 KiB of f32. */
export const usualSizes: Sizes = { n: 1024, d: 64, m: 32768 };

/** Most N² d, so that counting takes seconds: all algorithms compute what they count. */
const mostWork = 2 ** 27;

/**
 * Checks sizes.
 *
 * @throws {RangeError} When the algorithms cannot be run at these.
 */
export function checkSizes({ n, d, m }: Sizes): void {
  if (n * n * d > mostWork) {
    throw new RangeError(
      `N² d is ${n * n * d} at N = ${n} and d = ${d}, and at most ${mostWork} is counted in ` +
        "seconds: take a smaller N or d",
    );
  }
  if (m < backwardTiles * d) {
    throw new RangeError(
      `A fast memory of M = ${m} numbers does not hold a row of each of ${backwardTiles} tiles ` +
        `of the backward pass at d = ${d}: take M >= ${backwardTiles * d}`,
    );
  }
}
