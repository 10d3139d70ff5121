/**
 * Programs of intervals as words that `asm/scored/intervals.ts` runs.
 *
 * @module
 */

import type {
  IntervalKernel,
  IntervalProgram,
  IntervalSource,
  IntervalStep,
} from "../../scores/intervals.ts";

/** What steps do, by number. */
const intervalKernels: readonly IntervalKernel[] = [
  ...(["iadd", "isub", "imul", "ifloorDiv", "imod", "imin", "imax", "iabs", "ineg"] as const),
  ...(["ilt", "ile", "ieq", "and", "or", "not", "select", "gather"] as const),
];

/** Bytes of an interval. */
const rangeBytes = 8;

/** A program of intervals as words, and where its registers are. */
export interface EncodedRanges {
  /** Steps that no key changes, and the others. */
  readonly querySteps: readonly number[];
  readonly steps: readonly number[];
  /** Registers that are written before: a place, the least, and the greatest. */
  readonly ranges: readonly number[];
  readonly bytes: number;
  /** Where what is given is, by name, and the result. */
  readonly inputs: ReadonlyMap<string, number>;
  readonly result: number;
}

function boundsOf(
  source: IntervalSource,
  numberOf: (source: Exclude<IntervalSource, { readonly from: "anything" | "either" }>) => number,
): readonly [number, number] {
  if (source.from === "anything") return [-(2 ** 31), 2 ** 31 - 1];
  if (source.from === "either") return [0, 1];
  const number = numberOf(source),
    isCondition = source.from === "literal" &&
      source.kind === "condition";
  // Conditions are all bits or none elsewhere, and here 1 or 0.
  return isCondition ? [-number, -number] : [number, number];
}

/**
 * Writes a program of intervals.
 *
 * @param numberOf A constant.
 * @param tableOf Where the least and the greatest elements of an array are.
 */
export function encodeRanges(
  { steps, inputs, constants, registers, result }: IntervalProgram,
  numberOf: (source: Exclude<IntervalSource, { readonly from: "anything" | "either" }>) => number,
  tableOf: (array: number) => number,
): EncodedRanges {
  // None is at 0, which stands for none.
  const placeOf = (register: number) => (register + 1) * rangeBytes;
  const encoded = (some: readonly IntervalStep[]) =>
    some.flatMap(({ kernel, to, operands: [a, b = a, c = a], array }) => [
      ...[intervalKernels.indexOf(kernel), placeOf(to), placeOf(a), placeOf(b), placeOf(c)],
      array === undefined ? 0 : tableOf(array),
    ]);
  const byKey = new Set([inputs.get("k")]);
  for (const { to, operands } of steps) if (operands.some((one) => byKey.has(one))) byKey.add(to);
  return {
    querySteps: encoded(steps.filter(({ to }) => !byKey.has(to))),
    steps: encoded(steps.filter(({ to }) => byKey.has(to))),
    ranges: constants.flatMap(({ to, source }) => [placeOf(to), ...boundsOf(source, numberOf)]),
    bytes: placeOf(registers),
    inputs: new Map([...inputs].map(([name, register]) => [name, placeOf(register)])),
    result: placeOf(result),
  };
}
