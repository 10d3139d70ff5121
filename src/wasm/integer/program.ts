/**
 * The program of attention by integers on a machine.
 *
 * @module
 */

import type { BinaryName } from "../../contract/capabilities.ts";
import { relaxedFuses } from "../binary/choice.ts";
import { packed, sizes } from "../binary/integer.gen.ts";
import type { IntegerKernels } from "../binary/integer_kernels.gen.ts";
import { takeAhead } from "../binary/module.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";
import type { Machine } from "../team/machine.ts";

/** `relaxed` wherever there is relaxed SIMD: products of bytes pay also where a multiply-add is not fused. */
function whichBinary(): BinaryName {
  return takeAhead()?.name ?? (relaxedFuses() === null ? "simd" : "relaxed");
}

/** Loads it. */
export function prepareIntegers(machine: Machine): Promise<void> {
  return prepareProgram(machine, "integer", { packed, sizes }, whichBinary);
}

/** Its number among a machine's programs; -1 where it is not loaded. */
export function integerProgram(machine: Machine): number {
  return numberOf(machine, "integer");
}

/** Its kernels, where it is loaded. */
export function integerKernels(machine: Machine): IntegerKernels {
  return machine.programs[integerProgram(machine)].kernels as IntegerKernels;
}
