/**
 * The kernels of score programs: what instructions name by number. `tools/score_kernels.ts` writes one for each.
 *
 * @module
 */

import { comparisons } from "../../scores/primitives.ts";

const ofWholes = (names: readonly string[]) => names.map((name) => `i${name}`);

/** Operations of two numbers whose second may be read in every way. */
export const binary: readonly string[] = [
  ...["add", "sub", "rsub", "mul", "div", "rdiv", "min", "max", ...comparisons],
  ...ofWholes(["add", "sub", "rsub", "mul", "min", "max", ...comparisons]),
  ...["and", "or"],
  ...[...comparisons, ...ofWholes(comparisons)].map((name) => `mask ${name}`),
];

/** Operations of numbers that are read by a step alone. */
export const strided: Readonly<Record<"unary" | "binary" | "ternary", readonly string[]>> = {
  unary: [
    ...["abs", "neg", "iabs", "ineg", "not", "sqrt", "toF32", "toI32", "copy", "mask"],
    ...["tanh", "exp", "log", "sigmoid"],
  ],
  binary: ["floorDiv", "mod", "ifloorDiv", "imod", "asked", "flip"],
  ternary: ["fma", "select", "clamp", "iclamp", "halve"],
};

/**
 * How the second operand of two is read: eight numbers and a step on (0: the same again), one number for eight, or eight
 * that are held.
 */
export const forms = ["step", "column", "held"] as const;

/** One of them. */
export type Form = typeof forms[number];

/** Every kernel, by its number. */
export const kernelNames: readonly string[] = [
  ...binary.flatMap((name) => forms.map((form) => `${name} ${form}`)),
  ...Object.values(strided).flat(),
  ...["copy column", "gather", "scatter"],
];

/** The number of a kernel. */
export function kernelNumber(name: string): number {
  const at = kernelNames.indexOf(name);
  if (at < 0) throw new Error(`There is no kernel ${name}`);
  return at;
}
