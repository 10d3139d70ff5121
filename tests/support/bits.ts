/**
 * Same bits: results that must not differ at all.
 *
 * @module
 */

import { AssertionError } from "@std/assert";

/** Throws at the first element that differs; 0 and -0 do, any NaN equals any other. */
export function assertSameBits(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  what = "result",
): void {
  if (actual.length !== expected.length) {
    throw new AssertionError(`${what}: ${actual.length} elements, expected ${expected.length}`);
  }
  for (let at = 0; at < actual.length; at++) {
    if (Object.is(actual[at], expected[at])) continue;
    throw new AssertionError(
      `${what}: element ${at} of ${actual.length} is ${actual[at]}, expected ${expected[at]}`,
    );
  }
}
