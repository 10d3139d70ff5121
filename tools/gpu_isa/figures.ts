/**
 * Figures: read from what each vendor's compiler prints.
 *
 * @module
 */

/** What a compiler made of a shader. */
export interface Figures {
  /** Of a thread: 32-bit ones of NVIDIA and AMD, 16-bit halves of Apple's, vectors of four of Adreno's. */
  readonly registers: number;
  /** Values that did not fit them and go to memory. */
  readonly spills: number;
  /** At once: warps of an SM, waves of a SIMD unit, threads of one of Apple's cores, waves of Adreno's. */
  readonly waves: number;
  readonly instructions: number;
}

/** The number after which or before which words stand. */
function numberIn(printed: string, pattern: RegExp): number {
  const found = pattern.exec(printed)?.[1];
  if (found === undefined) throw new Error(`Cannot find ${pattern} in what the compiler printed`);
  return Number(found);
}

/** NAK's statistics of a shader, for NVIDIA. */
export function nvidia(printed: string): Figures {
  return {
    registers: numberIn(printed, /^Num GPRs: (\d+)/m),
    spills: numberIn(printed, /^Spills to mem: (\d+)/m),
    waves: numberIn(printed, /^Max warps\/SM: (\d+)/m),
    instructions: numberIn(printed, /^Instruction count: (\d+)/m),
  };
}

/** ACO's, for AMD. */
export function amd(printed: string): Figures {
  return {
    registers: numberIn(printed, /^VGPRs: (\d+)/m),
    spills: numberIn(printed, /^Spilled VGPRs: (\d+)/m),
    waves: numberIn(printed, /^Subgroups per SIMD: (\d+)/m),
    instructions: numberIn(printed, /^Instructions: (\d+)/m),
  };
}

/** Of the compiler for Apple's. */
export function apple(printed: string): Figures {
  return {
    registers: numberIn(printed, /CS shader:.* (\d+) gprs/),
    // Told only where there are some.
    spills: Number(/CS shader:.* (\d+):\d+ spills:fills/.exec(printed)?.[1] ?? 0),
    waves: numberIn(printed, /CS shader:.* (\d+) threads/),
    instructions: numberIn(printed, /CS shader: (\d+) instrs/),
  };
}

/** ir3's, for Adreno: spills are counted in its listing. */
export function adreno(printed: string): Figures {
  return {
    registers: numberIn(printed, /CL prog .* (\d+) full/),
    spills: printed.match(/\bstp\./g)?.length ?? 0,
    waves: numberIn(printed, /CL prog .* (\d+) max_waves/),
    instructions: numberIn(printed, /CL prog .*: (\d+) instr/),
  };
}
