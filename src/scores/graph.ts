/**
 * A score or mask function as backends read it: what is computed from what, each thing once.
 *
 * @module
 */

import { kindOf } from "../check/words.ts";
import type { CapturedArray, Kind, MaskMod, Place, Score, ScoreMod } from "./kinds.ts";
import type { Operation } from "./operations.ts";
import { type Node, Tracer } from "./tracer.ts";

/** What a function is given, by name. */
export const inputKinds = {
  ...{ score: "score", b: "whole", h: "whole", q: "whole", k: "whole" },
} as const satisfies Record<string, Kind>;

/** The name of something that a function is given. */
export type InputName = keyof typeof inputKinds;

/** A node, its operands before it. */
export interface GraphNode {
  readonly operation: Operation;
  readonly kind: Kind;
  /** Places of what it is made of. */
  readonly operands: readonly number[];
  /** Of an input. */
  readonly input: InputName | undefined;
  /** The place of a literal's number among the graph's, or of an array. */
  readonly parameter: number | undefined;
}

/** A function: nodes in an order in which they can be computed, the last of which is what it gives. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  /** Its literals. They are no part of the structure: with others, what was compiled serves as well. */
  readonly literals: readonly number[];
  /** The arrays that it reads. */
  readonly arrays: readonly CapturedArray[];
  /** Two functions of one structure have the same. */
  readonly structure: string;
}

/** What JavaScript's own words do with a condition: they take it for true, and drop it. */
const unused =
  "a condition is not used: `if` and `c ? a : b` are where(c, a, b), `c && d` is c.and(d), " +
  "`c || d` is c.or(d), `!c` is c.not()";

/** The nodes that a result is made of, each behind its operands. */
function reachedFrom(result: Node, { nodes }: Tracer): Node[] {
  const reached = new Set([result]);
  // Operands are older: whoever needs a node has been looked at before it.
  for (let id = result.id; id >= 0; id--) {
    if (reached.has(nodes[id])) {
      for (const operand of nodes[id].made.operands) reached.add(operand);
    }
  }
  const lost = nodes.find((node) => node.made.kind === "condition" && !reached.has(node));
  if (lost !== undefined) throw result.tracer.refusal(unused);
  return nodes.filter((node) => reached.has(node));
}

/** The place of an array in a list, at whose end it is put where it is not there. */
function placeIn(list: CapturedArray[], array: CapturedArray): number {
  const at = list.indexOf(array);
  return at < 0 ? list.push(array) - 1 : at;
}

function graphOf(result: Node, tracer: Tracer): Graph {
  const reached = reachedFrom(result, tracer),
    places = new Map(reached.map((node, at) => [node, at]));
  const literals: number[] = [], arrays: CapturedArray[] = [];
  // Whatever a node has not is its own too: nothing is taken of what some script gave to all objects.
  const written = reached.map(({ made: { operation, kind, operands, source } }): GraphNode => ({
    ...{ operation, kind, operands: operands.map((operand) => places.get(operand)!) },
    input: operation === "input" ? source as InputName : undefined,
    parameter: operation === "literal"
      ? literals.push(source as number) - 1
      : operation === "at"
      ? placeIn(arrays, source as CapturedArray)
      : undefined,
  }));
  const lines = written.map(({ operation, kind, operands, input, parameter }) =>
    [operation, kind, ...operands, input ?? "", parameter ?? ""].join(" ")
  );
  const stored = arrays.map(({ dtype, shape }) => `${dtype} ${shape.length}`);
  return { nodes: written, literals, arrays, structure: [...lines, ...stored].join("\n") };
}

function trace(name: string, given: unknown, kind: Kind): Graph {
  if (typeof given !== "function") {
    throw new TypeError(`Cannot attend: \`${name}\` must be a function, got ${kindOf(given)}`);
  }
  const tracer = new Tracer(name);
  const inputs = Object.fromEntries(
    Object.entries(inputKinds).map(([input, own]) => [input, tracer.input(input, own)]),
  ) as unknown as Place & { readonly score: Score };
  const { score, ...place } = inputs;
  const result = tracer.run(() =>
    tracer.result(kind === "score" ? given(score, place) : given(place), kind)
  );
  return graphOf(result, tracer);
}

/**
 * Runs a score function, and gives what it does as a graph.
 *
 * @throws {TypeError} When it does what a graph cannot say, with what to write instead.
 */
export function traceScore(scoreMod: ScoreMod): Graph {
  return trace("scoreMod", scoreMod, "score");
}

/** The same of a mask function. */
export function traceMask(maskMod: MaskMod): Graph {
  return trace("maskMod", maskMod, "condition");
}
