/**
 * Results of models against those of others.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";

/** Asserts that the largest difference is at most so much of the largest number. */
export function assertNear(
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  most: number,
  what: string,
): void {
  assertEquals(got.length, wanted.length, what);
  let error = 0, largest = 0;
  for (let at = 0; at < got.length; at++) {
    error = Math.max(error, Math.abs(got[at] - wanted[at]));
    largest = Math.max(largest, Math.abs(wanted[at]));
  }
  assert(error <= most * largest, `${what}: off by ${error / largest} of the largest`);
}

/** The cosine of the angle between two vectors. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let ab = 0, aa = 0, bb = 0;
  for (let at = 0; at < a.length; at++) {
    ab += a[at] * b[at];
    aa += a[at] ** 2;
    bb += b[at] ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}
