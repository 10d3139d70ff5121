/**
 * A machine for programs of score and mask functions, in float64: what backends do with vectors of 32 bits.
 *
 * @module
 */

import type { Graph } from "../../src/scores/graph.ts";
import type { ConstantSource } from "../../src/scores/primitives.ts";
import type { Extent, Instruction, Program, Register } from "../../src/scores/program.ts";

/** Where a tile is. */
export interface TilePlace {
  readonly b: number;
  readonly h: number;
  readonly query: number;
  readonly key: number;
  readonly queries: number;
  readonly keys: number;
}

type Compute = (...operands: number[]) => number;

/** What kernels compute, by name. */
export type Kernels = Readonly<Record<string, Compute>>;

const bits = (holds: boolean) => holds ? -1 : 0;
const order: Kernels = {
  lt: (a, b) => bits(a < b),
  le: (a, b) => bits(a <= b),
  gt: (a, b) => bits(a > b),
  ge: (a, b) => bits(a >= b),
  eq: (a, b) => bits(a === b),
  ne: (a, b) => bits(a !== b),
};

const kernels: Kernels = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  floorDiv: (a, b) => Math.floor(a / b),
  mod: (a, b) => a - b * Math.floor(a / b),
  min: Math.min,
  max: Math.max,
  clamp: (x, lo, hi) => Math.min(Math.max(x, lo), hi),
  abs: Math.abs,
  neg: (a) => -a,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
  fma: (a, b, c) => a * b + c,
  iadd: (a, b) => a + b | 0,
  isub: (a, b) => a - b | 0,
  imul: Math.imul,
  ifloorDiv: (a, b) => b === 0 ? 0 : Math.floor(a / b) | 0,
  imod: (a, b) => b === 0 ? 0 : a - Math.imul(b, Math.floor(a / b)) | 0,
  imin: Math.min,
  imax: Math.max,
  iclamp: (x, lo, hi) => Math.min(Math.max(x, lo), hi),
  iabs: (a) => Math.abs(a) | 0,
  ineg: (a) => -a | 0,
  toF32: (a) => a,
  toI32: (a) => Math.min(Math.max(Math.trunc(a) || 0, -(2 ** 31)), 2 ** 31 - 1),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  not: (a) => ~a,
  select: (c, a, b) => c ? a : b,
  copy: (a) => a,
};

/** A constant of a function's. */
export function constantOf(source: ConstantSource, { literals, arrays }: Graph): number {
  if (source.from === "zero") return 0;
  if (source.from === "number") return source.number;
  if (source.from === "extent") {
    return arrays[source.array].shape[source.axis] - Number(source.isLast);
  }
  const literal = literals[source.literal];
  return source.kind === "condition" ? -literal : literal;
}

/** The functions that a program is of. */
export type Graphs = Readonly<Record<"score" | "mask", Graph | undefined>>;

/** Runs a program over one tile. */
export class ScoreMachine {
  readonly #program: Program;
  readonly #graphs: Graphs;
  readonly #place: TilePlace;
  readonly #numbers = new Map<string, Float64Array>();

  readonly #kernels: Kernels;

  /** @param own What is computed in another way than in float64. */
  constructor(program: Program, graphs: Graphs, place: TilePlace, own: Kernels = {}) {
    this.#kernels = { ...kernels, ...order, ...own };
    this.#program = program;
    this.#graphs = graphs;
    this.#place = place;
  }

  #lengthOf(extent: Extent): number {
    const { queries, keys } = this.#place;
    return {
      once: 1,
      query: queries,
      key: keys,
      distance: queries + keys - 1,
      tile: queries * keys,
      kept: queries * keys,
    }[extent];
  }

  #at({ extent, index }: Register): Float64Array {
    const name = `${extent} ${index}`, length = this.#lengthOf(extent);
    const known = this.#numbers.get(name) ?? new Float64Array(length).fill(NaN);
    this.#numbers.set(name, known);
    return known;
  }

  /** Which of a register's numbers is that of an element of a tile. */
  #indexOf(extent: Extent, element: number): number {
    const { queries, keys } = this.#place;
    const key = Math.floor(element / queries), query = element % queries;
    return {
      once: 0,
      query,
      key,
      distance: query - key + keys - 1,
      tile: element,
      kept: element,
    }[extent];
  }

  #gather({ array, of }: NonNullable<Instruction["table"]>, index: number): number {
    const { data, shape } = this.#graphs[of]!.arrays[array];
    const last = shape.reduce((a, b) => a * b, 1) - 1;
    return (data as Float32Array)[Math.min(Math.max(index, 0), last)];
  }

  /** A comparison of whole numbers is that of others. */
  #kernelOf(kernel: string): Compute {
    return this.#kernels[kernel] ?? this.#kernels[kernel.replace(/^i/, "")];
  }

  #do({ kernel, to, operands, table }: Instruction): void {
    const target = this.#at(to), from = operands.map((one) => [one.extent, this.#at(one)] as const);
    for (let element = 0; element < target.length; element++) {
      const numbers = from.map(([extent, numbers]) =>
        numbers[
          to.extent === "tile" ? this.#indexOf(extent, element) : extent === "once" ? 0 : element
        ]
      );
      if (kernel === "gather") target[element] = this.#gather(table!, numbers[0]);
      else if (kernel === "mask") target[element] = numbers[0] ? target[element] : -Infinity;
      else if (kernel.startsWith("mask ")) {
        const name = kernel.slice(5).replace(/^i/, "");
        if (!order[name](...numbers)) target[element] = -Infinity;
      } else target[element] = this.#kernelOf(kernel)(...numbers);
    }
  }

  #give(): void {
    const { b, h, query, key, keys } = this.#place;
    const first: Readonly<Record<string, number>> = {
      b,
      h,
      q: query,
      k: key,
      distance: query - key - keys + 1,
    };
    for (const [name, register] of this.#program.inputs) {
      this.#at(register).forEach((_, at, numbers) => numbers[at] = first[name] + at);
    }
    for (const { to, source, of } of this.#program.constants) {
      this.#at(to).fill(constantOf(source, this.#graphs[of]!));
    }
  }

  /** What becomes of scores, `[keys][queries]`. */
  run(scores: Float64Array): Float64Array {
    const { once, query, key, distance, score, mask } = this.#program;
    this.#give();
    const target = this.#at({ extent: "tile", index: 0 });
    target.set(scores);
    for (const instruction of [...once, ...query, ...key, ...distance, ...score, ...mask]) {
      this.#do(instruction);
    }
    return target;
  }
}
