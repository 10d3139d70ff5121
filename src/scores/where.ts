/**
 * Choices within score and mask functions.
 *
 * @module
 */

import type { Condition, Score, Whole } from "./kinds.ts";
import { chooseNode } from "./tracer.ts";

/**
 * `a` where a condition holds, else `b`: what `if` is in score and mask functions. Both are of one kind; two literals are
 * scores.
 *
 * ```ts
 * import { attention, tensor, where } from "@flashtile/attention";
 *
 * const x = tensor(new Float32Array(2 * 6 * 4).fill(0.5), [2, 6, 4]);
 * const { out } = await attention(x, x, x, {
 *   scoreMod: (score, { q, k }) => where(q.sub(k).gt(2), score.mul(0.5), score),
 * });
 * console.log(out.shape); // [2, 6, 4]
 * ```
 *
 * @param condition Decides.
 * @param a Where it holds.
 * @param b Where it does not.
 * @throws {TypeError} When they are of different kinds, and outside of such a function.
 */
export function where(condition: Condition | boolean, a: Whole, b: Whole | number): Whole;
/** The same, the second one a whole number. */
export function where(condition: Condition | boolean, a: Whole | number, b: Whole): Whole;
/** The same of conditions. */
export function where(
  condition: Condition | boolean,
  a: Condition | boolean,
  b: Condition | boolean,
): Condition;
/** The same of scores. */
export function where(condition: Condition | boolean, a: Score | number, b: Score | number): Score;
export function where(condition: unknown, a: unknown, b: unknown): unknown {
  return chooseNode(condition, a, b);
}
