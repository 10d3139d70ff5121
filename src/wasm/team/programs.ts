/**
 * Programs that are loaded later on a machine: once, and known to its threads from then on.
 *
 * @module
 */

import type { BinaryName } from "../../contract/capabilities.ts";
import { chooseBinary } from "../binary/choice.ts";
import { compileLate } from "../binary/late.ts";
import { instantiate, type PackedProgram, type ProgramName } from "../binary/module.ts";
import type { Machine } from "./machine.ts";
import type { Program } from "./team.ts";

/** The number of a program among a machine's; -1 where it is not loaded. */
export function numberOf({ programs }: Machine, name: ProgramName): number {
  return programs.findIndex((program) => program.name === name);
}

/**
 * Loads a program.
 *
 * @param which Gives the binary, where it is not the machine's own.
 */
export async function prepareProgram(
  machine: Machine,
  name: ProgramName,
  binaries: PackedProgram,
  which: () => BinaryName = () => machine.binary ?? chooseBinary().name,
): Promise<void> {
  if (numberOf(machine, name) > 0) return;
  const { programs, arena, threads } = machine;
  const module = await compileLate(name, binaries, which(), threads > 1);
  // Two calls may wait for one.
  if (numberOf(machine, name) > 0) return;
  programs.push({ name, kernels: instantiate<Program["kernels"]>(module, arena.memory), module });
}
