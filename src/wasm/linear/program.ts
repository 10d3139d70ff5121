/**
 * The program of attention in linear time on a machine.
 *
 * @module
 */

import type { LinearKernels } from "../binary/linear_kernels.gen.ts";
import { packed, sizes } from "../binary/linear.gen.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";
import type { Machine } from "../team/machine.ts";

/** Loads it. */
export function prepareLinear(machine: Machine): Promise<void> {
  return prepareProgram(machine, "linear", { packed, sizes });
}

/** Its number among a machine's programs, where it is loaded. */
export function linearProgram(machine: Machine): number {
  return numberOf(machine, "linear");
}

/** Its kernels, where it is loaded. */
export function linearKernels(machine: Machine): LinearKernels {
  return machine.programs[linearProgram(machine)].kernels as LinearKernels;
}
