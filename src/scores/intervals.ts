/**
 * What a mask function says of many queries and keys at once: never, always, or now one and now the other. Each node has the
 * least and the greatest number that it may have there; a condition is 0 or 1. What scores and real numbers say is not known.
 *
 * @module
 */

import type { Graph } from "./graph.ts";
import {
  comparisons,
  type ConstantSource,
  expand,
  inOrder,
  type Primitive,
  type PrimitiveNode,
} from "./primitives.ts";

/** What is done with intervals. */
export type IntervalKernel =
  | ("iadd" | "isub" | "imul" | "ifloorDiv" | "imod" | "imin" | "imax" | "iabs" | "ineg")
  | ("ilt" | "ile" | "ieq" | "and" | "or" | "not" | "select" | "gather");

/** A step: registers are intervals, one behind the other. */
export interface IntervalStep {
  readonly kernel: IntervalKernel;
  readonly to: number;
  readonly operands: readonly number[];
  /** The place of the array that is read. */
  readonly array: number | undefined;
}

/** A program. */
export interface IntervalProgram {
  readonly steps: readonly IntervalStep[];
  /** Registers that are given, by name. */
  readonly inputs: ReadonlyMap<string, number>;
  /** Registers that are written before: numbers, or what may be anything. */
  readonly constants: readonly { readonly to: number; readonly source: IntervalSource }[];
  readonly registers: number;
  /** Where the mask's interval is. */
  readonly result: number;
}

/** What an interval is from: a constant, any whole number, or a condition of which nothing is known. */
export type IntervalSource = ConstantSource | { readonly from: "anything" } | {
  readonly from: "either";
};

/** Operations of which intervals are known. */
const kernels: ReadonlySet<string> = new Set<IntervalKernel>([
  ...(["iadd", "isub", "imul", "ifloorDiv", "imod", "imin", "imax", "iabs", "ineg"] as const),
  ...(["ilt", "ile", "ieq", "and", "or", "not", "select", "gather"] as const),
]);

/** What others are made of: their operands the other way around, or the contrary. */
const rewritten: Readonly<Partial<Record<Primitive, readonly [IntervalKernel, "turned" | "not"]>>> =
  {
    ...{ igt: ["ilt", "turned"], ige: ["ile", "turned"], ine: ["ieq", "not"] },
  };

const comparisonsOfScores: ReadonlySet<string> = new Set(comparisons);

/** Writes one. */
class IntervalCompiler {
  readonly steps: IntervalStep[] = [];
  readonly inputs = new Map<string, number>();
  readonly constants: { readonly to: number; readonly source: IntervalSource }[] = [];
  registers = 0;
  readonly #arrays: Graph["arrays"];
  readonly #known = new Map<PrimitiveNode, number>();

  constructor({ arrays }: Graph) {
    this.#arrays = arrays;
  }

  lower(result: PrimitiveNode): number {
    for (const node of inOrder([result], (one) => this.#operandsOf(one))) {
      this.#known.set(node, this.#lowerNew(node));
    }
    return this.#known.get(result)!;
  }

  /** Of what is not known nobody asks what it is made of. */
  #operandsOf({ primitive, operands, array }: PrimitiveNode): readonly PrimitiveNode[] {
    const isUnknown = comparisonsOfScores.has(primitive) || primitive === "toI32" ||
      (primitive === "gather" && this.#arrays[array!].dtype === "f32");
    return isUnknown ? [] : operands;
  }

  #lowerNew(node: PrimitiveNode): number {
    const { primitive, operands, input, source, array } = node;
    if (input !== undefined) return this.#input(input);
    if (source !== undefined) return this.#constant(source);
    if (comparisonsOfScores.has(primitive)) return this.#constant({ from: "either" });
    if (this.#operandsOf(node) !== operands) return this.#constant({ from: "anything" });
    const places = operands.map((one) => this.#known.get(one)!);
    if (primitive === "iclamp") {
      return this.#step("imin", [this.#step("imax", places.slice(0, 2)), places[2]]);
    }
    if (kernels.has(primitive)) return this.#step(primitive as IntervalKernel, places, array);
    const [kernel, how] = rewritten[primitive]!;
    if (how === "turned") return this.#step(kernel, places.reverse());
    return this.#step("not", [this.#step(kernel, places)]);
  }

  #input(name: string): number {
    const to = this.inputs.get(name) ?? this.registers++;
    this.inputs.set(name, to);
    return to;
  }

  #constant(source: IntervalSource): number {
    const to = this.registers++;
    this.constants.push({ to, source });
    return to;
  }

  #step(kernel: IntervalKernel, operands: readonly number[], array?: number): number {
    const to = this.registers++;
    this.steps.push({ kernel, to, operands, array });
    return to;
  }
}

/** What says where a mask function masks all, and where nothing. */
export function compileIntervals(mask: Graph): IntervalProgram {
  const compiler = new IntervalCompiler(mask), result = compiler.lower(expand(mask));
  const { steps, inputs, constants, registers } = compiler;
  return { steps, inputs, constants, registers, result };
}
