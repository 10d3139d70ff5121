/**
 * What rounding may do to gradients of score functions: their slopes with bounds, as `score_bounds.ts` has them of numbers. Where a
 * corner is so near that it is not known on which side a number is, nothing is.
 *
 * @module
 */

import type { Graph } from "../../src/scores/graph.ts";
import type { CapturedArray } from "../../src/scores/kinds.ts";
import { placeOf } from "../../src/reference/scores.ts";
import { type Bounded, type BoundedValues, ofProduct, ofQuotient, unit } from "./score_bounds.ts";

/** An operand that a gradient goes to, and what it is multiplied by. */
type Way = readonly [operand: number, slope: Bounded];

const exact = (x: number): Bounded => ({ x, e: 0 });

/** What is lost where f32 has no lesser number, of gradients that are not less than `leastGradient`. */
const lost = 2 ** -60;

/** Lesser ones lose as much as this one does. */
export const leastGradient = 2 ** -88;

/** Where gradients come near to what f32 has no more. */
const mostGradient = 2 ** 100;

/** So many halves of units of the last place more. */
const rounded = ({ x, e }: Bounded, units = 2): Bounded => ({
  x,
  e: Math.abs(x) > mostGradient ? NaN : e + units * unit * (Math.abs(x) + e) + lost,
});

function quotient(x: number, a: Bounded, b: Bounded): Bounded {
  return rounded({ x, e: ofQuotient(x, a, b) });
}

/** On which side of another number it is: -1, 0, 1; `undefined` where that is not known. */
function sideOf(a: Bounded, b: Bounded): number | undefined {
  const apart = a.x - b.x, off = a.e + b.e;
  if (off > 0 && !(Math.abs(apart) > off)) return undefined;
  return Math.sign(apart);
}

const half = exact(0.5), one = exact(1);

function waysOfExtreme(side: number | undefined, sign: number): readonly Way[] | undefined {
  if (side === undefined) return undefined;
  if (side === 0) return [[0, half], [1, half]];
  return [[side === sign ? 0 : 1, one]];
}

function waysOfClamp([x, lo, hi]: readonly Bounded[]): readonly Way[] | undefined {
  const below = sideOf(x, lo), above = sideOf(below !== undefined && below < 0 ? lo : x, hi);
  if (below === undefined || above === undefined) return undefined;
  return [[above > 0 ? 2 : below < 0 ? 1 : 0, one]];
}

/** Slopes of curves, by what they give and by what they are of. */
const slopes: Readonly<Record<string, (value: Bounded, of: Bounded) => Bounded>> = {
  exp: (value) => rounded(value),
  log: (_, of) => quotient(1 / of.x, one, of),
  sqrt: (value) => quotient(0.5 / value.x, half, value),
  tanh: ({ x, e }) => rounded({ x: 1 - x * x, e: 2 * Math.abs(x) * e + e * e + unit * x * x }),
  sigmoid: ({ x, e }) => rounded({ x: x * (1 - x), e: Math.abs(1 - 2 * x) * e + e * e }, 3),
};

/** Where the gradient of a node goes on; `undefined` where that is not known. */
function waysOf(
  operation: string,
  value: Bounded,
  operands: readonly Bounded[],
): readonly Way[] | undefined {
  const [a, b] = operands;
  switch (operation) {
    case "add":
      return [[0, one], [1, one]];
    case "sub":
      return [[0, one], [1, exact(-1)]];
    case "neg":
      return [[0, exact(-1)]];
    case "mul":
      return [[0, b], [1, a]];
    case "div":
      return [
        [0, quotient(1 / b.x, one, b)],
        [1, quotient(-value.x / b.x, value, b)],
      ];
    case "mod":
      return [[0, one], [1, exact(-Math.floor(a.x / b.x))]];
    case "where":
      return [[a.x ? 1 : 2, one]];
    case "min":
    case "max":
      return waysOfExtreme(sideOf(a, b), operation === "min" ? -1 : 1);
    case "clamp":
      return waysOfClamp(operands);
    case "abs": {
      const side = sideOf(a, exact(0));
      return side === undefined ? undefined : side === 0 ? [] : [[0, exact(side)]];
    }
    case "floorDiv":
    case "toF32":
    case "at":
    case "input":
    case "literal":
      return [];
    default:
      return [[0, slopes[operation](value, a)]];
  }
}

/** A gradient with respect to an element of an array. */
export interface ArraySlope {
  readonly array: CapturedArray;
  readonly place: number;
  readonly slope: Bounded;
}

/** What a change of the score, and of elements of arrays, does to what a function gives. */
export interface ScoreSlopes {
  readonly score: Bounded;
  readonly arrays: readonly ArraySlope[];
}

/** Slopes of a function at the numbers that it has; `undefined` where they are not known, or not finite. */
export function slopesOf(
  graph: Graph,
  { values, bounds }: BoundedValues,
): ScoreSlopes | undefined {
  const found: (Bounded | undefined)[] = Array(values.length).fill(undefined);
  found[values.length - 1] = one;
  const arrays: ArraySlope[] = [];
  let score = exact(0);
  for (let at = values.length - 1; at >= 0; at--) {
    const { operation, kind, operands, input, parameter } = graph.nodes[at], gradient = found[at];
    if (gradient === undefined || kind !== "score") continue;
    if (!Number.isFinite(gradient.x + gradient.e)) return undefined;
    if (input === "score") score = gradient;
    const numbers = operands.map((one) => ({ x: values[one], e: bounds[one] }));
    if (operation === "at" && graph.arrays[parameter!].grad) {
      const array = graph.arrays[parameter!], place = placeOf(array, numbers.map(({ x }) => x));
      arrays.push({ array, place, slope: gradient });
    }
    const ways = waysOf(operation, { x: values[at], e: bounds[at] }, numbers);
    if (ways === undefined) return undefined;
    for (const [operand, slope] of ways) {
      const x = gradient.x * slope.x, e = ofProduct(x, gradient, slope);
      const term = rounded({ x, e }), before = found[operands[operand]];
      found[operands[operand]] = before === undefined
        ? term
        : rounded({ x: before.x + x, e: before.e + term.e });
    }
  }
  return { score, arrays };
}
