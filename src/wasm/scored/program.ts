/**
 * The program of score and mask functions on a machine.
 *
 * @module
 */

import { packed, sizes } from "../binary/scored.gen.ts";
import type { ScoredKernels } from "../binary/scored_kernels.gen.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";

/** Loads it. */
export function prepareScored(machine: Machine): Promise<void> {
  return prepareProgram(machine, "scored", { packed, sizes });
}

/** Its number among a machine's programs; -1 where it is not loaded. */
export function scoredProgram(machine: Machine): number {
  return numberOf(machine, "scored");
}

/** Its kernels, where it is loaded. */
export function scoredKernels(machine: Machine): ScoredKernels {
  return machine.programs[scoredProgram(machine)].kernels as ScoredKernels;
}
