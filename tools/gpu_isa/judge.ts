/**
 * Kernels as compilers judge them.
 *
 * @module
 */

import type { Chip } from "./chips.ts";
import { compile } from "./compile.ts";
import type { Figures } from "./figures.ts";
import type { Kernel } from "./kernels.ts";
import { type TileWork, tileWork } from "./loops.ts";

/** What one chip's compiler makes of a kernel; of its key loop where it lists what it made. */
export interface Judgement extends Figures {
  readonly tile?: TileWork;
}

/** A kernel, by chip. */
export interface Judged {
  readonly name: string;
  readonly workgroupBytes: number;
  readonly chips: Readonly<Record<string, Judgement>>;
}

/** As it is kept in `bench/results/isa.json`. */
export interface Report {
  readonly mesa: string;
  readonly kernels: readonly Judged[];
}

const places = (value: number) => Math.round(value * 1e4) / 1e4;

/** Compiles a kernel for a chip and reads what came of it. */
export function judge({ code, loop }: Kernel, chip: Chip): Judgement {
  const printed = compile(chip, code), figures = chip.read(printed);
  if (!chip.lists) return figures;
  const { instructions, fmaShare, loadsPerFma } = tileWork(printed, loop);
  const tile = { instructions, fmaShare: places(fmaShare), loadsPerFma: places(loadsPerFma) };
  return { ...figures, tile };
}
