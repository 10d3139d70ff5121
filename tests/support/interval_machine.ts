/**
 * A machine for programs of intervals, as backends have one.
 *
 * @module
 */

import type { Graph } from "../../src/scores/graph.ts";
import type {
  IntervalKernel,
  IntervalProgram,
  IntervalSource,
} from "../../src/scores/intervals.ts";

/** The least and the greatest. */
export type Interval = readonly [least: number, greatest: number];

const everything: Interval = [-(2 ** 31), 2 ** 31 - 1];
const isNever = (c: Interval) => c[1] === 0, isAlways = (c: Interval) => c[0] === 1;

function around(...numbers: number[]): Interval {
  return [Math.min(...numbers), Math.max(...numbers)];
}

/** What remains of an interval that may wrap around. */
function wrapped([least, greatest]: Interval): Interval {
  return least < everything[0] || greatest > everything[1] ? everything : [least, greatest];
}

/** Corners of a function that rises or falls with each operand. */
function corners(f: (a: number, b: number) => number, a: Interval, b: Interval): Interval {
  return wrapped(around(f(a[0], b[0]), f(a[0], b[1]), f(a[1], b[0]), f(a[1], b[1])));
}

function divide(a: Interval, b: Interval): Interval {
  if (b[0] <= 0 && b[1] >= 0) return everything;
  return corners((x, y) => Math.floor(x / y), a, b);
}

function remainder(a: Interval, b: Interval): Interval {
  const isOne = b[0] === b[1] && b[0] > 0;
  if (isOne && Math.floor(a[0] / b[0]) === Math.floor(a[1] / b[0])) {
    const below = b[0] * Math.floor(a[0] / b[0]);
    return [a[0] - below, a[1] - below];
  }
  return [Math.min(b[0] + 1, 0), Math.max(b[1] - 1, 0)];
}

const compute: Readonly<
  Record<Exclude<IntervalKernel, "gather">, (a: Interval, b: Interval, c: Interval) => Interval>
> = {
  iadd: (a, b) => wrapped([a[0] + b[0], a[1] + b[1]]),
  isub: (a, b) => wrapped([a[0] - b[1], a[1] - b[0]]),
  imul: (a, b) => corners((x, y) => x * y, a, b),
  ifloorDiv: divide,
  imod: remainder,
  imin: (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1])],
  imax: (a, b) => [Math.max(a[0], b[0]), Math.max(a[1], b[1])],
  iabs: ([least, greatest]) => {
    const most = around(Math.abs(least), Math.abs(greatest));
    return wrapped([least <= 0 && greatest >= 0 ? 0 : most[0], most[1]]);
  },
  ineg: (a) => wrapped([-a[1], -a[0]]),
  ilt: (a, b) => [Number(a[1] < b[0]), Number(a[0] < b[1])],
  ile: (a, b) => [Number(a[1] <= b[0]), Number(a[0] <= b[1])],
  ieq: (a, b) => [
    Number(a[0] === a[1] && b[0] === b[1] && a[0] === b[0]),
    Number(a[0] <= b[1] && b[0] <= a[1]),
  ],
  and: (a, b) => [a[0] & b[0], a[1] & b[1]],
  or: (a, b) => [a[0] | b[0], a[1] | b[1]],
  not: (a) => [1 - a[1], 1 - a[0]],
  select: (c, a, b) => isAlways(c) ? a : isNever(c) ? b : around(...a, ...b),
};

function gather({ data, shape }: Graph["arrays"][number], [from, to]: Interval): Interval {
  const last = shape.reduce((a, b) => a * b, 1) - 1;
  const within = (index: number) => Math.min(Math.max(index, 0), last);
  const elements = (data as Int32Array).subarray(within(from), within(to) + 1);
  return [Math.min(...elements), Math.max(...elements)];
}

function intervalOf(source: IntervalSource, { literals, arrays }: Graph): Interval {
  if (source.from === "anything") return everything;
  if (source.from === "either") return [0, 1];
  if (source.from === "zero") return [0, 0];
  if (source.from === "number") return everything; // Of scores alone.
  const number = source.from === "literal"
    ? literals[source.literal]
    : arrays[source.array].shape[source.axis] - Number(source.isLast);
  return [number, number];
}

/** What a program says of ranges of what it is given. */
export function classify(
  { steps, inputs, constants, result }: IntervalProgram,
  mask: Graph,
  ranges: Readonly<Record<string, Interval>>,
): "never" | "mixed" | "always" {
  const registers: Interval[] = [];
  for (const [name, to] of inputs) registers[to] = ranges[name];
  for (const { to, source } of constants) registers[to] = intervalOf(source, mask);
  for (const { kernel, to, operands, array } of steps) {
    const [a, b, c] = operands.map((at) => registers[at]);
    registers[to] = kernel === "gather" ? gather(mask.arrays[array!], a) : compute[kernel](a, b, c);
  }
  const found = registers[result];
  return isNever(found) ? "never" : isAlways(found) ? "always" : "mixed";
}
