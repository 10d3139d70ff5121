/**
 * What rounding may do to score and mask functions: the numbers of the oracle, each with a bound of how far one that is computed in
 * f32 may be from it (a running error analysis; Higham, Accuracy and Stability of Numerical Algorithms, 3.3). Where a comparison, a
 * floor or a whole number would come out otherwise within these bounds nothing is known, which NaN stands for.
 *
 * @module
 */

import { evaluate, type Given } from "../../src/reference/scores.ts";
import type { Graph, GraphNode } from "../../src/scores/graph.ts";

/** Half a unit of the last place of 1. */
export const unit = 2 ** -24;

/** The least number beside 0, twice. */
const least = 2 ** -148;

/** Where f32 rounds to infinity. */
const most = 2 ** 128 * (1 - 2 ** -25);

/** Nothing is known. */
const unknown = NaN;

/** A number, and how far it may be off. */
export interface Bounded {
  readonly x: number;
  readonly e: number;
}

/** What one rounding does to a number that is off by `e` already: nothing to an exact one that f32 has. */
function roundedOnce({ x, e }: Bounded, units = 1): number {
  if (!Number.isFinite(x)) return e;
  if (Math.abs(x) + e >= most) return unknown;
  if (e === 0 && Math.fround(x) === x) return 0;
  return e + units * unit * (Math.abs(x) + e) + least;
}

/** Whether a number's sign, or that it is 0, is beyond doubt. */
const isSure = ({ x, e }: Bounded) => e === 0 || Math.abs(x) > e;

/** How far a product is off before it is rounded. */
export function ofProduct(x: number, a: Bounded, b: Bounded): number {
  if (!Number.isFinite(x)) return isSure(a) && isSure(b) ? 0 : unknown;
  return Math.abs(a.x) * b.e + Math.abs(b.x) * a.e + a.e * b.e;
}

export function ofQuotient(x: number, a: Bounded, b: Bounded): number {
  if (!isSure(b)) return unknown;
  // Nobody says which sign a 0 has.
  if (b.x === 0) return Number.isNaN(x) && isSure(a) ? 0 : unknown;
  if (!Number.isFinite(x)) return isSure(a) ? 0 : unknown;
  if (!Number.isFinite(b.x)) return 0;
  return (Math.abs(x) * b.e + a.e) / (Math.abs(b.x) - b.e);
}

/** Of a floor: none where it is the same for all numbers so near. */
function ofFloor(quotient: Bounded): number {
  const { x, e } = quotient;
  if (!Number.isFinite(x)) return e;
  return Math.floor(x - e) === Math.floor(x + e) ? 0 : unknown;
}

const quotientOf = (a: Bounded, b: Bounded): Bounded => {
  const x = a.x / b.x;
  return { x, e: roundedOnce({ x, e: ofQuotient(x, a, b) }) };
};

const ofSum = (x: number, a: Bounded, b: Bounded) => Number.isFinite(x) ? a.e + b.e : 0;

/** A number less its divisor's whole multiple, as it is computed: both are rounded. */
function ofRemainder(x: number, a: Bounded, b: Bounded): number {
  const quotient = quotientOf(a, b), floor = Math.floor(quotient.x);
  if (Number.isNaN(ofFloor(quotient))) return unknown;
  if (!Number.isFinite(x)) return 0;
  return a.e + roundedOnce({ x: b.x * floor, e: b.e * Math.abs(floor) });
}

/** Of two: that of the one that it surely is, or that of both. */
function ofExtreme(a: Bounded, b: Bounded, takesLess: boolean): number {
  if (Number.isNaN(a.x) || Number.isNaN(b.x)) return 0;
  if (Math.abs(a.x - b.x) > a.e + b.e) return a.x < b.x === takesLess ? a.e : b.e;
  return Math.max(a.e, b.e);
}

function ofClamp(x: Bounded, lo: Bounded, hi: Bounded): number {
  const above = { x: Math.max(x.x, lo.x), e: ofExtreme(x, lo, false) };
  return ofExtreme(above, hi, true);
}

const curves: Readonly<Record<string, (x: number) => number>> = {
  ...{ exp: Math.exp, log: Math.log, sqrt: Math.sqrt, tanh: Math.tanh },
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

/** Where a sigmoid is 1 over what f32 has no more. */
const leastSigmoid = 2 ** -126;

/** All of them rise. They are right to 3 units of the last place, which are six halves; a root is rounded once. */
function ofCurve(name: string, x: number, a: Bounded): number {
  const curve = curves[name], ends = [curve(a.x - a.e), curve(a.x + a.e)];
  if (a.e > 0 && !(Number.isFinite(x) && ends.every(Number.isFinite))) {
    return ends.every((end) => Object.is(end, x)) ? 0 : unknown;
  }
  const e = a.e === 0 ? 0 : Math.max(Math.abs(ends[0] - x), Math.abs(ends[1] - x));
  if (name === "sqrt") return roundedOnce({ x, e });
  const isExact = a.e === 0 && (a.x === 0 || (name === "log" && a.x === 1));
  if (isExact || !Number.isFinite(x)) return e;
  if (Math.abs(x) + e >= most) return unknown;
  return e + 6 * unit * (Math.abs(x) + e) + (name === "sigmoid" ? leastSigmoid : least);
}

/** Scores by their operands, before they are rounded. */
const ofScores: Readonly<Record<string, (x: number, ...operands: Bounded[]) => number>> = {
  ...{ add: ofSum, sub: ofSum, mul: ofProduct, div: ofQuotient, mod: ofRemainder },
};

const exactly: Readonly<Record<string, (x: number, ...operands: Bounded[]) => number>> = {
  floorDiv: (_, a, b) => ofFloor(quotientOf(a, b)),
  min: (_, a, b) => ofExtreme(a, b, true),
  max: (_, a, b) => ofExtreme(a, b, false),
  clamp: (_, x, lo, hi) => ofClamp(x, lo, hi),
  abs: (_, a) => a.e,
  neg: (_, a) => a.e,
};

const comparisons = new Set(["lt", "le", "gt", "ge", "eq", "ne"]);

/** Whether it is the same for all numbers so near. */
function ofComparison(a: Bounded, b: Bounded): number {
  const off = a.e + b.e;
  return off === 0 || Number.isNaN(a.x - b.x) || Math.abs(a.x - b.x) > off ? 0 : unknown;
}

function ofWhole(x: number, a: Bounded): number {
  const within = (y: number) => Math.min(Math.max(Math.trunc(y) || 0, -(2 ** 31)), 2 ** 31 - 1);
  return within(a.x - a.e) === x && within(a.x + a.e) === x ? 0 : unknown;
}

function ofNode(
  { operation, kind }: GraphNode,
  x: number,
  operands: readonly Bounded[],
  given: number,
): number {
  const [a, b, c] = operands;
  if (operation === "input") return kind === "score" ? given : 0;
  if (operation === "literal") return 0;
  if (operation === "where") return Number.isNaN(a.e) ? unknown : a.x ? b.e : c.e;
  // What is sure of one side is sure of both.
  if (operation === "and") return isFalse(a) || isFalse(b) ? 0 : a.e + b.e;
  if (operation === "or") return isTrue(a) || isTrue(b) ? 0 : a.e + b.e;
  if (operands.some(({ e }) => Number.isNaN(e))) return unknown;
  if (comparisons.has(operation)) return ofComparison(a, b);
  if (operation === "toI32") return ofWhole(x, a);
  if (operation === "toF32") return roundedOnce({ x, e: 0 });
  if (operation in curves) return ofCurve(operation, x, a);
  if (kind !== "score") return 0; // Whole numbers are exact, conditions are sure.
  if (operation in exactly) return exactly[operation](x, ...operands);
  if (operation === "at") return 0;
  return roundedOnce({ x, e: ofScores[operation](x, ...operands) });
}

const isFalse = ({ x, e }: Bounded) => e === 0 && x === 0;
const isTrue = ({ x, e }: Bounded) => e === 0 && x === 1;

/** The numbers of a function for one score, and their bounds. */
export interface BoundedValues {
  readonly values: Float64Array;
  readonly bounds: Float64Array;
  /** Of what it gives. */
  readonly result: number;
  /** NaN where nothing is known of it. */
  readonly bound: number;
}

/** Evaluates a function whose score is off by at most `off`. */
export function evaluateBounded(graph: Graph, given: Given, off: number): BoundedValues {
  const values = evaluate(graph, given), bounds = new Float64Array(values.length);
  graph.nodes.forEach((node, at) => {
    const operands = node.operands.map((one) => ({ x: values[one], e: bounds[one] }));
    bounds[at] = ofNode(node, values[at], operands, off);
  });
  return { values, bounds, result: values.at(-1)!, bound: bounds.at(-1)! };
}
