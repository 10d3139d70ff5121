/**
 * The program of layers between attention calls on a machine.
 *
 * @module
 */

import type { PackedWeight } from "../../operations/nn/packed.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { packed, sizes } from "../binary/nn.gen.ts";
import type { NnKernels } from "../binary/nn_kernels.gen.ts";
import type { Words } from "../record/job_record.ts";
import { JobRecord } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import { numberOf, prepareProgram } from "../team/programs.ts";

/** Loads it. */
export function prepareLayers(machine: Machine): Promise<void> {
  return prepareProgram(machine, "nn", { packed, sizes });
}

/** Whether it is loaded. */
export function hasLayers(machine: Machine): boolean {
  return numberOf(machine, "nn") > 0;
}

/** Its number among a machine's programs, where it is loaded. */
export function layersProgram(machine: Machine): number {
  return numberOf(machine, "nn");
}

/** Tile memory that each thread needs for a job: one that is told as much as that takes. */
export function scratchFor(machine: Machine, tell: (record: JobRecord) => void): number {
  const { kernels, arena: { memory }, programs } = machine, at = kernels.callRecord();
  tell(new JobRecord(new Int32Array(memory.buffer) as Words, at / 4));
  return (programs[layersProgram(machine)].kernels as NnKernels).scratchBytes(at) >>> 0;
}

/** Where a packed weight begins, which is in linear memory here. */
export function weightAt({ data }: PackedWeight): number {
  return (data as HeldArray).byteOffset;
}

/** The record of a job at an address. */
export function jobRecord({ memory }: Machine["arena"], at: number): JobRecord {
  return new JobRecord(new Int32Array(memory.buffer) as Words, at / 4);
}
