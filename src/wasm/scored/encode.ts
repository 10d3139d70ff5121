/**
 * Programs of score and mask functions as words that `asm/scored/program.ts` runs.
 *
 * @module
 */

import type {
  Extent,
  Instruction,
  Kernel,
  Program,
  Register,
  Table,
} from "../../scores/program.ts";
import { binary, kernelNumber } from "./kernels.ts";

/** How large tiles are: queries of a block, keys of a tile, and keys that programs run on at a time. */
export interface TileSizes {
  readonly queries: number;
  readonly keys: number;
  readonly chunk: number;
}

/** Where an array is. */
export interface TablePlace {
  readonly address: number;
  readonly length: number;
}

/** Words of an instruction: the kernel, where to, three operands and their steps. */
export const instructionWords = 8;

/** Parts of a program, in the order in which a job's record has them. */
export const sections = [
  ...(["once", "query", "key", "distance", "score", "mask", "gradient"] as const),
] as const;

/** How operands of a tile's instruction move: not, with the keys, with the queries, or with both. */
const moves: Readonly<Record<Extent, number>> = {
  ...{ once: 0, tile: 1, query: 2, key: 3, distance: 4, kept: 6 },
};

/** The same of gradients of scores, which are elsewhere. */
const gradientMove = 5;

/** Bytes from one key to the next. */
const steps: Readonly<Record<Extent, number>> = {
  once: 0,
  tile: 32,
  query: 0,
  key: 4,
  distance: -4,
  kept: 32,
};

/** Bytes of eight numbers. */
const eight = 32;

/** Copies of columns, for kernels that read by steps alone: as many as there may be operands. */
const spreads = 3;

/** Kernels with their operands the other way around. */
const turned: Readonly<Record<string, string>> = {
  ...{ add: "add", mul: "mul", min: "min", max: "max", sub: "rsub", div: "rdiv" },
  ...{
    iadd: "iadd",
    imul: "imul",
    imin: "imin",
    imax: "imax",
    isub: "irsub",
    and: "and",
    or: "or",
  },
  ...Object.fromEntries(
    [["lt", "gt"], ["le", "ge"], ["gt", "lt"], ["ge", "le"], ["eq", "eq"], ["ne", "ne"]].flatMap(
      (
        [a, b],
      ) => [[a, b], [`i${a}`, `i${b}`], [`mask ${a}`, `mask ${b}`], [`mask i${a}`, `mask i${b}`]],
    ),
  ),
};

/** Where registers are, from the first on. */
export interface RegisterLayout {
  /** Bytes of all. */
  readonly bytes: number;
  /** Where a register's numbers begin: never at 0, except for the scores of a tile, which are elsewhere. */
  placeOf(register: Register): number;
}

/** Lays out the registers of a program. */
export function layRegisters(
  { registers }: Program,
  { queries, keys, chunk }: TileSizes,
): RegisterLayout {
  const whole = (numbers: number) => Math.ceil(numbers / 8) * eight;
  const sizes: Readonly<Record<Extent, number>> = {
    once: eight,
    query: whole(queries),
    key: whole(keys),
    // A chunk reads whole groups of keys, beyond the last.
    distance: whole(queries + keys + 8),
    tile: chunk * eight,
    kept: keys * eight,
  };
  const first = { ...sizes };
  let next = eight;
  for (const extent of ["once", "query", "key", "distance", "tile", "kept"] as const) {
    first[extent] = next;
    const count = extent === "tile" ? registers.tile - 1 + spreads : registers[extent];
    next += count * sizes[extent];
  }
  return {
    bytes: next,
    placeOf: ({ extent, index }) =>
      extent !== "tile"
        ? first[extent] + index * sizes[extent]
        : index <= 0
        ? 0
        : first.tile + (index - 1) * sizes.tile,
  };
}

/** Writes instructions. */
class Encoder {
  readonly words: number[] = [];
  readonly #layout: RegisterLayout;
  readonly #keys: number;
  readonly #firstSpread: number;
  readonly #tableOf: (table: Table) => TablePlace;

  constructor(
    program: Program,
    sizes: TileSizes,
    layout: RegisterLayout,
    tableOf: (table: Table) => TablePlace,
  ) {
    this.#layout = layout;
    this.#keys = sizes.keys;
    this.#firstSpread = program.registers.tile;
    this.#tableOf = tableOf;
  }

  /** An operand of a tile's instruction: how it moves, and where its first number is. */
  #moving(register: Register): number {
    const { extent, index } = register, place = this.#layout.placeOf(register);
    const isTemporary = extent === "tile" && index > 0;
    if (index < 0) return gradientMove << 24;
    const last = extent === "distance" ? (this.#keys - 1) * 4 : 0;
    return (isTemporary ? 0 : moves[extent]) << 24 | place + last;
  }

  #put(
    kernel: string,
    to: number,
    operands: readonly number[],
    steps: readonly number[],
    table?: Table,
  ): void {
    const [a, b = 0, c = 0] = operands, [aStep, bStep = 0, cStep = 0] = steps;
    const { address, length } = table ? this.#tableOf(table) : { address: bStep, length: cStep };
    this.words.push(kernelNumber(kernel), to, a, b, c, aStep, address, length);
  }

  /** An instruction of numbers that lie side by side: eight at a time, or once the same. */
  flat({ kernel, to, operands, table }: Instruction): void {
    const name = binary.includes(kernel) ? `${kernel} step` : kernel;
    const places = operands.map((one) => this.#layout.placeOf(one));
    const ways = operands.map(({ extent }) => extent === "once" ? 0 : eight);
    this.#put(name, this.#layout.placeOf(to), places, ways, table);
  }

  /** An instruction of a tile. */
  tile({ kernel, to, operands, table }: Instruction): void {
    if (binary.includes(kernel)) this.#binary(kernel, to, operands);
    else if (kernel === "copy" && operands[0].extent === "key") {
      this.#tile("copy column", to, operands);
    } else this.#tile(kernel, to, operands.map((one, at) => this.#spread(one, at)), table);
  }

  #tile(name: string, to: Register, operands: readonly Register[], table?: Table): void {
    const places = operands.map((one) => this.#moving(one));
    this.#put(name, this.#moving(to), places, operands.map(({ extent }) => steps[extent]), table);
  }

  /** The second of two may be a column, or be held; the first moves by steps. */
  #binary(kernel: Kernel, to: Register, operands: readonly Register[]): void {
    const isColumn = ({ extent }: Register) => extent === "key";
    const isHeld = ({ extent }: Register) => extent === "once" || extent === "query";
    let [a, b] = operands, name: string = kernel;
    if (isColumn(a) || (isHeld(a) && !isHeld(b) && !isColumn(b))) {
      [a, b] = [b, a];
      name = turned[kernel];
    }
    const form = isColumn(b) ? "column" : isHeld(b) ? "held" : "step";
    this.#tile(`${name} ${form}`, to, [this.#spread(a, 0), b]);
  }

  /** A column as a tile; all else as it is. */
  #spread(register: Register, at: number): Register {
    if (register.extent !== "key") return register;
    const to: Register = { extent: "tile", index: this.#firstSpread + at };
    this.#tile("copy column", to, [register]);
    return to;
  }
}

/**
 * The words of each part of a program.
 *
 * @param tableOf Where arrays are.
 */
export function encode(
  program: Program,
  sizes: TileSizes,
  layout: RegisterLayout,
  tableOf: (table: Table) => TablePlace,
): Readonly<Record<typeof sections[number], readonly number[]>> {
  const write = (section: typeof sections[number]) => {
    const encoder = new Encoder(program, sizes, layout, tableOf);
    const isTile = section === "score" || section === "mask" || section === "gradient";
    for (const instruction of program[section]) {
      if (isTile) encoder.tile(instruction);
      else encoder.flat(instruction);
    }
    return encoder.words;
  };
  const [once, query, key, distance, score, mask, gradient] = sections.map(write);
  return { once, query, key, distance, score, mask, gradient };
}
