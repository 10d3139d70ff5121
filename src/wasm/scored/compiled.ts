/**
 * Programs of functions, compiled once for each structure.
 *
 * @module
 */

import { compileIntervals, type IntervalProgram } from "../../scores/intervals.ts";
import { compile, type Program } from "../../scores/program.ts";
import { Structures } from "../../scores/structures.ts";

/** What is made of a score and a mask function: literals and arrays are no part of it. */
export interface Compiled {
  readonly program: Program;
  /** What says where the mask function masks all, and where nothing. */
  readonly intervals: IntervalProgram | undefined;
}

/** The programs of functions. */
export const programs: Structures<Compiled> = new Structures(({ score, mask }, hasGradient) => ({
  program: compile(score, mask, hasGradient),
  intervals: mask && compileIntervals(mask),
}));
