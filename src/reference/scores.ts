/**
 * Score and mask functions by their graphs, one element after the other, in float64; whole numbers in 32 bits.
 *
 * @module
 */

import type { CapturedArray } from "../scores/kinds.ts";
import type { Graph, GraphNode, InputName } from "../scores/graph.ts";

/** Numbers of a function's nodes: conditions are 1 or 0. */
export type Values = Float64Array;

type Compute = (...operands: number[]) => number;

/** Of both kinds of numbers, and of conditions. */
const common: Readonly<Record<string, Compute>> = {
  min: Math.min,
  max: Math.max,
  clamp: (x, lo, hi) => Math.min(Math.max(x, lo), hi),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  not: (a) => 1 - a,
  where: (c, a, b) => c ? a : b,
  toF32: (a) => a,
};

const ofScores: Readonly<Record<string, Compute>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  floorDiv: (a, b) => Math.floor(a / b),
  mod: (a, b) => a - b * Math.floor(a / b),
  abs: Math.abs,
  neg: (a) => -a,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
};

/** What is beyond 32 bits wraps around. */
const ofWholes: Readonly<Record<string, Compute>> = {
  add: (a, b) => a + b | 0,
  sub: (a, b) => a - b | 0,
  mul: Math.imul,
  floorDiv: (a, b) => b === 0 ? 0 : Math.floor(a / b) | 0,
  mod: (a, b) => b === 0 ? 0 : a - Math.imul(b, Math.floor(a / b)) | 0,
  abs: (a) => Math.abs(a) | 0,
  neg: (a) => -a | 0,
  toI32: (a) => Math.min(Math.max(Math.trunc(a) || 0, -(2 ** 31)), 2 ** 31 - 1),
};

/** Where an array is read: indices beyond an axis are the nearest. */
export function placeOf({ shape }: CapturedArray, indices: readonly number[]): number {
  return indices.reduce(
    (place, index, axis) => place * shape[axis] + Math.min(Math.max(index, 0), shape[axis] - 1),
    0,
  );
}

/** What a function is given. */
export type Given = Readonly<Record<InputName, number>>;

function valueOf(graph: Graph, node: GraphNode, operands: number[], given: Given): number {
  const { operation, kind, input, parameter } = node;
  if (operation === "input") return given[input!];
  if (operation === "literal") return graph.literals[parameter!];
  if (operation === "at") {
    const array = graph.arrays[parameter!];
    return (array.data as Float32Array | Int32Array)[placeOf(array, operands)];
  }
  const compute = common[operation] ?? (kind === "score" ? ofScores : ofWholes)[operation];
  return compute(...operands);
}

/** The number of every node, the last of which is what the function gives. */
export function evaluate(graph: Graph, given: Given): Values {
  const values = new Float64Array(graph.nodes.length);
  graph.nodes.forEach((node, at) => {
    values[at] = valueOf(graph, node, node.operands.map((operand) => values[operand]), given);
  });
  return values;
}

/** What a change of each operand does to a score, by its operands and by itself. */
const slopes: Readonly<Record<string, (operands: number[], value: number) => number[]>> = {
  add: () => [1, 1],
  sub: () => [1, -1],
  mul: ([a, b]) => [b, a],
  div: ([a, b]) => [1 / b, -a / b / b],
  floorDiv: () => [0, 0],
  mod: ([a, b]) => [1, -Math.floor(a / b)],
  min: ([a, b]) => a === b ? [0.5, 0.5] : [Number(a < b), Number(b < a)],
  max: ([a, b]) => a === b ? [0.5, 0.5] : [Number(a > b), Number(b > a)],
  clamp: ([x, lo, hi]) => Math.max(x, lo) > hi ? [0, 0, 1] : x < lo ? [0, 1, 0] : [1, 0, 0],
  abs: ([a]) => [Math.sign(a)],
  neg: () => [-1],
  where: ([c]) => [0, Number(c === 1), Number(c === 0)],
  exp: (_, value) => [value],
  log: ([a]) => [1 / a],
  sqrt: (_, value) => [0.5 / value],
  tanh: (_, value) => [1 - value * value],
  sigmoid: (_, value) => [value * (1 - value)],
};

/** Adds to the gradient of an array's element. */
export type AddTo = (array: CapturedArray, place: number, term: number) => void;

/**
 * What a change of the score that a function is given does to what it gives; arrays that ask for it are added to.
 *
 * @param seed The gradient with respect to what the function gives.
 * @returns The gradient with respect to `score`.
 */
export function differentiateScore(
  graph: Graph,
  values: Values,
  seed: number,
  addTo: AddTo,
): number {
  const gradients = new Float64Array(values.length);
  gradients[values.length - 1] = seed;
  let ofScore = 0;
  for (let at = values.length - 1; at >= 0; at--) {
    const { operation, kind, operands, input, parameter } = graph.nodes[at],
      gradient = gradients[at];
    // What is not taken adds nothing, whatever its own slope is.
    if (kind !== "score" || gradient === 0) continue;
    if (input === "score") ofScore = gradient;
    const numbers = operands.map((operand) => values[operand]);
    if (operation === "at" && graph.arrays[parameter!].grad) {
      addTo(graph.arrays[parameter!], placeOf(graph.arrays[parameter!], numbers), gradient);
    }
    const byOperand = slopes[operation]?.(numbers, values[at]) ?? [];
    byOperand.forEach((slope, index) => {
      if (slope !== 0) gradients[operands[index]] += gradient * slope;
    });
  }
  return ofScore;
}
