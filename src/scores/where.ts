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
 * @param condition Decides.
 * @param a Where it holds.
 * @param b Where it does not.
 * @throws {TypeError} When they are of different kinds, and outside of such a function.
 */
export function where(condition: Condition | boolean, a: Whole, b: Whole | number): Whole;
export function where(condition: Condition | boolean, a: Whole | number, b: Whole): Whole;
export function where(
  condition: Condition | boolean,
  a: Condition | boolean,
  b: Condition | boolean,
): Condition;
export function where(condition: Condition | boolean, a: Score | number, b: Score | number): Score;
export function where(condition: unknown, a: unknown, b: unknown): unknown {
  return chooseNode(condition, a, b);
}
