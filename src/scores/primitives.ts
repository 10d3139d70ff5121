/**
 * A function in the operations that a machine has: whole numbers and scores apart, indices of several axes as one.
 * Equal nodes are one.
 *
 * @module
 */

import { readOf } from "../tensor/arrays.ts";
import type { Graph, GraphNode, InputName } from "./graph.ts";
import type { Kind } from "./kinds.ts";

/** Operations of scores and of whole numbers, which have an `i` in front; conditions are all bits or none. */
export type Primitive =
  | ("add" | "sub" | "mul" | "div" | "floorDiv" | "mod" | "min" | "max")
  | ("lt" | "le" | "gt" | "ge" | "eq" | "ne")
  | ("abs" | "neg" | "exp" | "log" | "sqrt" | "tanh" | "sigmoid" | "clamp")
  | ("iadd" | "isub" | "imul" | "ifloorDiv" | "imod" | "imin" | "imax")
  | ("ilt" | "ile" | "igt" | "ige" | "ieq" | "ine")
  | ("iabs" | "ineg" | "iclamp" | "toF32" | "toI32")
  | ("and" | "or" | "not" | "select" | "gather")
  | ("input" | "constant");

/** Comparisons of scores; those of whole numbers have an `i` in front. */
export const comparisons = ["lt", "le", "gt", "ge", "eq", "ne"] as const;

/**
 * Where a constant is from: the place of a literal, an extent of an array, or one less where it `isLast`; or it is a whole 0, or a
 * score that is the same for all functions.
 */
export type ConstantSource =
  | { readonly from: "literal"; readonly literal: number; readonly kind: Kind }
  | {
    readonly from: "extent";
    readonly array: number;
    readonly axis: number;
    readonly isLast: boolean;
  }
  | { readonly from: "zero" }
  | { readonly from: "number"; readonly number: number };

/** A node. */
export interface PrimitiveNode {
  readonly primitive: Primitive;
  readonly operands: readonly PrimitiveNode[];
  /** Of an input; `dScore` is the gradient with respect to what a score function gives. */
  readonly input?: InputName | "dScore" | undefined;
  /** Of a constant. */
  readonly source?: ConstantSource | undefined;
  /** The place of the array that is read. */
  readonly array?: number | undefined;
}

/** Operations that scores and whole numbers have under one name. */
const twofold = new Set([
  ...["add", "sub", "mul", "floorDiv", "mod", "min", "max", "clamp", "abs", "neg"],
  ...["lt", "le", "gt", "ge", "eq", "ne"],
]);

/** A constant's name: not by `JSON`, which asks what all objects have. */
export function nameOf(source: ConstantSource): string {
  const { from } = source;
  if (from === "literal") return `${from} ${source.literal} ${source.kind}`;
  if (from === "extent") return `${from} ${source.array} ${source.axis} ${source.isLast}`;
  return from === "number" ? `${from} ${source.number}` : from;
}

/** Makes nodes, each once. */
export class Expansion {
  readonly #arrays: Graph["arrays"];
  readonly #known = new Map<string, PrimitiveNode>();
  readonly #ids = new Map<PrimitiveNode, number>();

  constructor({ arrays }: Graph) {
    this.#arrays = arrays;
  }

  make(given: PrimitiveNode): PrimitiveNode {
    const { primitive, operands } = given;
    // Whatever it has not is its own too: nothing is taken of what some script gave to all objects.
    const [input, source, array] = [
      readOf(given, "input"),
      readOf(given, "source"),
      readOf(given, "array"),
    ];
    const node = { primitive, operands, input, source, array };
    const key = [
      ...[primitive, input ?? "", array ?? "", source === undefined ? "" : nameOf(source)],
      ...operands.map((operand) => this.#ids.get(operand)),
    ].join("/");
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.#known.set(key, node);
    this.#ids.set(node, this.#ids.size);
    return node;
  }

  do(primitive: Primitive, ...operands: PrimitiveNode[]): PrimitiveNode {
    // What is computed of k - q is then computed once for all queries and keys that are as far apart.
    if (primitive === "isub" && operands[0].input === "k" && operands[1].input === "q") {
      return this.do("ineg", this.do("isub", operands[1], operands[0]));
    }
    return this.make({ primitive, operands });
  }

  constant(source: ConstantSource): PrimitiveNode {
    return this.make({ primitive: "constant", operands: [], source });
  }

  /** An element of an array: each index within its axis, the one of all of them among the elements. */
  gather(array: number, indices: readonly PrimitiveNode[]): PrimitiveNode {
    const { length } = this.#arrays[array].shape;
    const last = (axis: number) => this.constant({ from: "extent", array, axis, isLast: true });
    const zero = this.constant({ from: "zero" });
    const within = (axis: number) => this.do("iclamp", indices[axis], zero, last(axis));
    // The only axis is the elements', whose bounds whoever reads looks at.
    let index = length === 1 ? indices[0] : within(0);
    for (let axis = 1; axis < length; axis++) {
      const extent = this.constant({ from: "extent", array, axis, isLast: false });
      index = this.do("iadd", this.do("imul", index, extent), within(axis));
    }
    return this.make({ primitive: "gather", operands: [index], array });
  }

  of(
    { operation, kind, input, parameter }: GraphNode,
    operands: PrimitiveNode[],
    of: Kind,
  ): PrimitiveNode {
    if (operation === "input") return this.make({ primitive: "input", operands, input });
    if (operation === "at") return this.gather(parameter!, operands);
    if (operation === "where") return this.do("select", ...operands);
    if (operation === "literal") {
      return this.constant({ from: "literal", literal: parameter!, kind });
    }
    const isWhole = of === "whole" && twofold.has(operation);
    return this.do((isWhole ? `i${operation}` : operation) as Primitive, ...operands);
  }
}

/** Nodes that others are made of, each behind its operands: not by recursion, since a function may be as deep as it has nodes. */
export function inOrder(
  roots: readonly PrimitiveNode[],
  operandsOf = ({ operands }: PrimitiveNode) => operands,
): PrimitiveNode[] {
  const order: PrimitiveNode[] = [], done = new Set<PrimitiveNode>();
  for (const root of roots) {
    const open = [{ node: root, rest: operandsOf(root).values() }];
    for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
      const { value: operand } = last.rest.next();
      if (operand === undefined) {
        open.pop();
        if (!done.has(last.node)) order.push(last.node);
        done.add(last.node);
      } else if (!done.has(operand)) {
        open.push({ node: operand, rest: operandsOf(operand).values() });
      }
    }
  }
  return order;
}

/** The result of a function, with all that it is made of. */
export function expand(graph: Graph, expansion: Expansion = new Expansion(graph)): PrimitiveNode {
  const nodes: PrimitiveNode[] = [];
  for (const node of graph.nodes) {
    const operands = node.operands.map((at) => nodes[at]);
    // A comparison has the kind of what it compares, all else its own.
    const of = node.operands.length > 0 ? graph.nodes[node.operands[0]].kind : node.kind;
    nodes.push(expansion.of(node, operands, of));
  }
  return nodes.at(-1)!;
}
