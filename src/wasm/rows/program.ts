/**
 * The program of rows by themselves on a machine.
 *
 * @module
 */

import type { RowKernels } from "../binary/row_kernels.gen.ts";
import { packed, sizes } from "../binary/rows.gen.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";

/** Loads it. */
export function prepareRows(machine: Machine): Promise<void> {
  return prepareProgram(machine, "rows", { packed, sizes });
}

/** Its kernels, where it is loaded. */
export function rowKernels(machine: Machine): RowKernels {
  return machine.programs[numberOf(machine, "rows")].kernels as RowKernels;
}
