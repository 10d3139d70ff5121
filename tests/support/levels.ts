/**
 * The levels of `precision`, and how far off each may be.
 *
 * @module
 */

import { rootMeanSquare } from "./budget.ts";

/** Levels, and what docs/NUMERICS.md says of their errors: root mean squares over those of the exact result. */
export const levels = { int16: 4e-4, "int8-qk": 1.5e-2, int8: 2.2e-2 } as const;

/** One of them. */
export type Level = keyof typeof levels;

/** Each with its bound. */
export const eachLevel = Object.entries(levels) as [Level, number][];

/** Those by bytes, which a GPU has. */
export const eachOfBytes: [Level, number][] = eachLevel.filter(([level]) => level !== "int16");

/** Root mean square. */
export function rms(x: ArrayLike<number>): number {
  return rootMeanSquare(Float64Array.from(x));
}
