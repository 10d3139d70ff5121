/**
 * Programs of functions, compiled once for each structure.
 *
 * @module
 */

import { compileIntervals, type IntervalProgram } from "../../scores/intervals.ts";
import { compile, type Program } from "../../scores/program.ts";
import type { Functions } from "../../scores/functions.ts";

/** What is made of a score and a mask function: literals and arrays are no part of it. */
export interface Compiled {
  readonly program: Program;
  /** What says where the mask function masks all, and where nothing. */
  readonly intervals: IntervalProgram | undefined;
}

/** Programs that are kept; the one that was not used for longest goes. */
const mostKept = 64;

const kept = new Map<string, Compiled>();

/** For tests: how many were compiled. */
export const counted: { compiled: number } = { compiled: 0 };

/** The programs of two functions, with gradients or without. */
export function compiledOf({ score, mask, arrays }: Functions, hasGradient: boolean): Compiled {
  // Which arrays ask for gradients is seen in programs of these alone.
  const asked = hasGradient ? [...arrays.keys()].map(({ grad }) => Number(grad)).join("") : "-";
  const key = `${score?.structure}\n\n${mask?.structure}\n\n${asked}`;
  const known = kept.get(key) ?? compileNew(score, mask, hasGradient);
  kept.delete(key);
  kept.set(key, known);
  if (kept.size > mostKept) kept.delete(kept.keys().next().value!);
  return known;
}

function compileNew(
  score: Functions["score"],
  mask: Functions["mask"],
  hasGradient: boolean,
): Compiled {
  counted.compiled++;
  return {
    program: compile(score, mask, hasGradient),
    intervals: mask && compileIntervals(mask),
  };
}
