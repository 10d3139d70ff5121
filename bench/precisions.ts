/**
 * The levels of `precision`, as the benches go through them.
 *
 * @module
 */

import type { Precision } from "../mod.ts";

/** In the order of the tables, the exact one first. */
export const precisions = [
  "f32",
  "int16",
  "int8-qk",
  "int8",
] as const satisfies readonly Precision[];
