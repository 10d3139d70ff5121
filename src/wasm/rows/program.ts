/**
 * Programs that are loaded later on a machine: once, and known to its threads from then on.
 *
 * @module
 */

import { chooseBinary } from "../binary/choice.ts";
import { compileLate } from "../binary/late.ts";
import { instantiate, type PackedProgram, type ProgramName } from "../binary/module.ts";
import type { RowKernels } from "../binary/row_kernels.gen.ts";
import { packed, sizes } from "../binary/rows.gen.ts";
import type { Machine } from "../team/machine.ts";
import type { Program } from "../team/team.ts";

/** The number of a program among a machine's; -1 where it is not loaded. */
export function numberOf({ programs }: Machine, name: ProgramName): number {
  return programs.findIndex((program) => program.name === name);
}

/** Loads a program. */
export async function prepareProgram(
  machine: Machine,
  name: ProgramName,
  binaries: PackedProgram,
): Promise<void> {
  if (numberOf(machine, name) > 0) return;
  const { programs, arena, threads, binary } = machine;
  const which = binary ?? chooseBinary().name;
  const module = await compileLate(name, binaries, which, threads > 1);
  // Two calls may wait for one.
  if (numberOf(machine, name) > 0) return;
  programs.push({ name, kernels: instantiate<Program["kernels"]>(module, arena.memory), module });
}

/** Loads that of rows by themselves. */
export function prepareRows(machine: Machine): Promise<void> {
  return prepareProgram(machine, "rows", { packed, sizes });
}

/** Its kernels, where it is loaded. */
export function rowKernels(machine: Machine): RowKernels {
  return machine.programs[numberOf(machine, "rows")].kernels as RowKernels;
}
