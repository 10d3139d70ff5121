/**
 * The program of few queries on a machine.
 *
 * @module
 */

import { packed, sizes } from "../binary/narrow.gen.ts";
import type { NarrowKernels } from "../binary/narrow_kernels.gen.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";

/** Loads it. */
export function prepareNarrow(machine: Machine): Promise<void> {
  return prepareProgram(machine, "narrow", { packed, sizes });
}

/** Its number among a machine's programs; -1 where it is not loaded. */
export function narrowProgram(machine: Machine): number {
  return numberOf(machine, "narrow");
}

/** Its kernels, where it is loaded. */
export function narrowKernels(machine: Machine): NarrowKernels {
  return machine.programs[narrowProgram(machine)].kernels as NarrowKernels;
}
