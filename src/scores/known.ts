/**
 * Functions that say what an option says: a band of keys, a cap, slopes, a bias. What computes those is faster, and on every
 * backend.
 *
 * @module
 */

import type { Graph, GraphNode, InputName } from "./graph.ts";
import type { CapturedArray } from "./kinds.ts";

/** Keys `q - left <= k <= q + right`. */
export interface KnownBand {
  readonly left: number;
  readonly right: number;
}

/** What a score function is, where it is known. */
export type KnownScore =
  | { readonly kind: "softcap"; readonly softcap: number }
  | { readonly kind: "slopes"; readonly array: CapturedArray }
  | {
    readonly kind: "bias";
    readonly array: CapturedArray;
    /** What each axis is read by. */
    readonly axes: readonly InputName[];
  };

/** Whole numbers that are so many times a query's row, so many times a key's, and a number more. */
interface Linear {
  readonly q: number;
  readonly k: number;
  readonly constant: number;
}

/** Numbers within these wrap around nowhere. */
const mostConstant = 2 ** 30;

/** Reads a graph by its nodes. */
class Reader {
  readonly #graph: Graph;
  /** By node: each once, in their order, since many ways may lead to one. */
  readonly #linear = new Map<GraphNode, Linear | undefined>();

  constructor(graph: Graph) {
    this.#graph = graph;
    for (const node of graph.nodes) this.#linear.set(node, this.#linearBy(node));
  }

  get nodes(): readonly GraphNode[] {
    return this.#graph.nodes;
  }

  get result(): GraphNode {
    return this.nodes.at(-1)!;
  }

  operandsOf({ operands }: GraphNode): readonly GraphNode[] {
    return operands.map((at) => this.#graph.nodes[at]);
  }

  literalOf({ operation, parameter }: GraphNode): number | undefined {
    return operation === "literal" ? this.#graph.literals[parameter!] : undefined;
  }

  arrayOf({ operation, parameter }: GraphNode): CapturedArray | undefined {
    return operation === "at" ? this.#graph.arrays[parameter!] : undefined;
  }

  linearOf(node: GraphNode): Linear | undefined {
    return this.#linear.get(node);
  }

  #linearBy(node: GraphNode): Linear | undefined {
    const constant = this.literalOf(node);
    if (constant !== undefined) return { q: 0, k: 0, constant };
    if (node.input === "q" || node.input === "k") {
      return { q: Number(node.input === "q"), k: Number(node.input === "k"), constant: 0 };
    }
    const [a, b] = this.operandsOf(node);
    if (node.operation === "neg") {
      return combined({ q: 0, k: 0, constant: 0 }, this.linearOf(a), -1);
    }
    if (node.operation === "add") return combined(this.linearOf(a), this.linearOf(b), 1);
    if (node.operation === "sub") return combined(this.linearOf(a), this.linearOf(b), -1);
    return undefined;
  }

  /** Whether it is the distance of both rows, without its sign, as a score. */
  isDistance(node: GraphNode): boolean {
    const [inner] = this.operandsOf(node), names = [node.operation, inner?.operation].join();
    if (names !== "toF32,abs" && names !== "abs,toF32") return false;
    return isApart(this.linearOf(this.operandsOf(inner)[0]), 0);
  }
}

function combined(a: Linear | undefined, b: Linear | undefined, sign: number): Linear | undefined {
  return a && b && {
    ...{ q: a.q + sign * b.q, k: a.k + sign * b.k },
    constant: a.constant + sign * b.constant,
  };
}

/** Whether it is q - k or k - q, and as much more. */
function isApart(linear: Linear | undefined, constant?: number): linear is Linear {
  return linear !== undefined && Math.abs(linear.q) === 1 && linear.k === -linear.q &&
    Math.abs(linear.constant) <= mostConstant &&
    (constant === undefined || linear.constant === constant);
}

/** Whether it wraps around nowhere: two sides that do are in another order than what they are apart. */
function isSmall(linear: Linear | undefined): boolean {
  return linear !== undefined && Math.abs(linear.q) <= 1 && Math.abs(linear.k) <= 1 &&
    Math.abs(linear.constant) <= mostConstant;
}

/** What q - k may be, the last included. */
interface Distances {
  readonly least: number;
  readonly most: number;
}

/** Comparisons, and what they are the other way around: by a map, since all objects may have what some script gave to them. */
const opposite: ReadonlyMap<string, string> = new Map([
  ...[["lt", "gt"], ["le", "ge"], ["gt", "lt"], ["ge", "le"]] as const,
]);

/** Where `sign * (q - k) + constant` compares so with 0. */
function distancesOf(
  operation: string,
  { q: sign, constant }: Linear,
): Distances | undefined {
  if (!opposite.has(operation)) return undefined;
  const strict = Number(operation === "lt" || operation === "gt");
  const isAbove = (operation === "gt" || operation === "ge") === sign > 0;
  // Of k - q the constant counts the other way around.
  const bound = sign > 0 ? -constant : constant;
  return isAbove
    ? { least: bound + strict, most: Infinity }
    : { least: -Infinity, most: bound - strict };
}

/** Where the magnitude of `linear` is at most `most`. */
function within({ q: sign, constant }: Linear, most: number): Distances {
  const center = sign > 0 ? -constant : constant;
  return { least: center - most, most: center + most };
}

function both(a: Distances | undefined, b: Distances | undefined): Distances | undefined {
  return a && b && { least: Math.max(a.least, b.least), most: Math.min(a.most, b.most) };
}

/** The distances of each node, in their order. */
function allDistances(reader: Reader): ReadonlyMap<GraphNode, Distances | undefined> {
  const found = new Map<GraphNode, Distances | undefined>();
  for (const node of reader.nodes) {
    const [a, b] = reader.operandsOf(node);
    const own = node.operation === "and"
      ? both(found.get(a), found.get(b))
      : distancesIn(reader, node);
    found.set(node, own);
  }
  return found;
}

function distancesIn(reader: Reader, node: GraphNode): Distances | undefined {
  const [a, b] = reader.operandsOf(node), { operation } = node;
  const turned = opposite.get(operation);
  if (turned === undefined || a.kind !== "whole") return undefined;
  if (b.operation === "abs") return magnitudeIn(reader, b, turned, a);
  if (a.operation === "abs") return magnitudeIn(reader, a, operation, b);
  const sides = [a, b].map((side) => reader.linearOf(side));
  if (!sides.every(isSmall)) return undefined;
  const apart = combined(sides[0], sides[1], -1);
  return isApart(apart) ? distancesOf(operation, apart) : undefined;
}

function magnitudeIn(
  reader: Reader,
  abs: GraphNode,
  operation: string,
  bound: GraphNode,
): Distances | undefined {
  const [inner] = reader.operandsOf(abs), apart = reader.linearOf(inner);
  const most = reader.literalOf(bound);
  if (!isApart(apart) || most === undefined || Math.abs(most) > mostConstant) return undefined;
  if (operation === "le") return within(apart, most);
  return operation === "lt" ? within(apart, most - 1) : undefined;
}

/** The band that a mask function says, where it says one as options do. */
export function knownBand(mask: Graph): KnownBand | undefined {
  const reader = new Reader(mask), distances = allDistances(reader).get(reader.result);
  if (distances === undefined) return undefined;
  const { least, most } = distances;
  return least <= 0 && most >= 0 ? { left: most, right: 0 - least } : undefined;
}

/** What a score function is, where it is known. */
export function knownScore(score: Graph): KnownScore | undefined {
  const reader = new Reader(score);
  return softcapOf(reader) ?? slopesOf(reader) ?? biasOf(reader);
}

function softcapOf(reader: Reader): KnownScore | undefined {
  const { operation, operands } = reader.result;
  if (operation !== "mul" || operands.length !== 2) return undefined;
  for (const [curve, factor] of pairsOf(reader, reader.result)) {
    if (curve.operation !== "tanh") continue;
    const [quotient] = reader.operandsOf(curve), softcap = reader.literalOf(factor);
    if (quotient.operation !== "div" || softcap === undefined) continue;
    const [own, by] = reader.operandsOf(quotient);
    const isSame = own.input === "score" && reader.literalOf(by) === softcap;
    if (isSame && softcap >= 1e-30 && softcap <= 1e30) return { kind: "softcap", softcap };
  }
  return undefined;
}

/** Both orders of a node's operands. */
function pairsOf(reader: Reader, node: GraphNode): readonly (readonly [GraphNode, GraphNode])[] {
  const [a, b] = reader.operandsOf(node);
  return [[a, b], [b, a]];
}

function slopesOf(reader: Reader): KnownScore | undefined {
  const { result } = reader, [own, product] = reader.operandsOf(result);
  if (result.operation !== "sub" || own.input !== "score" || product.operation !== "mul") {
    return undefined;
  }
  for (const [slope, distance] of pairsOf(reader, product)) {
    const array = reader.arrayOf(slope), indices = reader.operandsOf(slope);
    const isByHead = array?.dtype === "f32" && !array.grad && indices.length === 1 &&
      indices[0].input === "h";
    if (isByHead && reader.isDistance(distance)) return { kind: "slopes", array };
  }
  return undefined;
}

function biasOf(reader: Reader): KnownScore | undefined {
  if (reader.result.operation !== "add") return undefined;
  for (const [own, table] of pairsOf(reader, reader.result)) {
    const array = reader.arrayOf(table), axes = reader.operandsOf(table).map(({ input }) => input);
    const isPlain = own.input === "score" && array?.dtype === "f32" && !array.grad &&
      axes.every((axis) => axis !== undefined && axis !== "score") &&
      new Set(axes).size === axes.length;
    if (isPlain) return { kind: "bias", array: array!, axes: axes as InputName[] };
  }
  return undefined;
}
