/**
 * The program of weights on a machine.
 *
 * @module
 */

import { packed, sizes } from "../binary/weights.gen.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";

/** Loads it. */
export function prepareWeights(machine: Machine): Promise<void> {
  return prepareProgram(machine, "weights", { packed, sizes });
}

/** Its number among a machine's programs. */
export function weightsProgram(machine: Machine): number {
  return numberOf(machine, "weights");
}
