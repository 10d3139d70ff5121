/**
 * The error budget: twice the error of the plain formula in f32, and one rounding of the largest
 * result. Nothing in it is tuned by hand.
 *
 * @module
 */

import { AssertionError } from "@std/assert";

/** What a comparison found. */
export interface Errors {
  /** Error of ours. */
  readonly ours: number;
  /** Error of the plain formula in f32. */
  readonly naive: number;
  /** Largest finite result. */
  readonly largest: number;
}

/** Half the distance from a number to the next f32. */
export function halfUlp(x: number): number {
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(x) || Number.MIN_VALUE)));
  return 2 ** (exponent - 24);
}

/** Distance of two results; where one is not finite, both must be the same. */
function distance(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  const error = Math.abs(a - b);
  return Number.isFinite(error) ? error : Infinity;
}

/** The distances of all elements as one number. */
type Norm = (distances: Float64Array) => number;

/** The largest distance: the budget's own norm. */
export const largestOf: Norm = (distances) => distances.reduce((a, b) => Math.max(a, b), 0);

/** The root of the mean square, for small random cases: their maximum is one row's luck. */
export const rootMeanSquare: Norm = (distances) =>
  Math.sqrt(distances.reduce((sum, d) => sum + d * d, 0) / Math.max(1, distances.length));

function error(a: ArrayLike<number>, b: ArrayLike<number>, norm: Norm): number {
  if (a.length !== b.length) return Infinity;
  return norm(Float64Array.from(a, (x, at) => distance(x, b[at])));
}

function largestFinite(values: ArrayLike<number>): number {
  let largest = 0;
  for (let at = 0; at < values.length; at++) {
    if (Number.isFinite(values[at])) largest = Math.max(largest, Math.abs(values[at]));
  }
  return largest;
}

/** Measures both against the exact result. */
export function measure(
  ours: ArrayLike<number>,
  naive: ArrayLike<number>,
  exact: ArrayLike<number>,
  norm = largestOf,
): Errors {
  return {
    ours: error(ours, exact, norm),
    naive: error(naive, exact, norm),
    largest: largestFinite(exact),
  };
}

/**
 * Throws when the budget is exceeded, and says both errors; `band` is one rounding of a result, and
 * `times` what FlashAttention's own tests allow.
 */
export function assertWithinBudget(
  what: string,
  { ours, naive, largest }: Errors,
  band = halfUlp(largest),
  times = 2,
): void {
  if (ours <= times * naive + band) return;
  throw new AssertionError(
    `${what}: error ${ours} is above ${times} times the plain formula's ${naive} ` +
      `and a rounding of ${band}`,
  );
}

/**
 * How much of the plain formula's error gradients may have: three times in FlashAttention's tests.
 * Between the two passes `out` and `lse` are rounded, and weights computed anew do not sum to 1.
 */
export const timesOfGradients = 3;
