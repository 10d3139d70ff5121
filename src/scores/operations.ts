/**
 * What can be done with nodes: of which kinds, and what comes out.
 *
 * @module
 */

import type { Kind } from "./kinds.ts";

/** The kinds that an operation takes: `"same"` is that of the node whose method it is. */
export interface Signature {
  /** Kinds of nodes that have it. */
  readonly of: readonly Kind[];
  /** What its arguments are. */
  readonly takes: readonly (Kind | "same")[];
  /** What it gives. */
  readonly gives: Kind | "same";
}

const numbers: readonly Kind[] = ["score", "whole"];
const joins: Signature = { of: numbers, takes: ["same"], gives: "same" };
const turns: Signature = { of: numbers, takes: [], gives: "same" };
const compares: Signature = { of: numbers, takes: ["same"], gives: "condition" };
const both: Signature = { of: ["condition"], takes: ["condition"], gives: "condition" };
const curve: Signature = { of: ["score"], takes: [], gives: "score" };

/** Every method of a node. */
export const operations = {
  ...{ add: joins, sub: joins, mul: joins, floorDiv: joins, mod: joins, min: joins, max: joins },
  clamp: { of: numbers, takes: ["same", "same"], gives: "same" },
  ...{ abs: turns, neg: turns },
  ...{ lt: compares, le: compares, gt: compares, ge: compares, eq: compares, ne: compares },
  ...{ and: both, or: both, not: { of: ["condition"], takes: [], gives: "condition" } },
  div: { of: ["score"], takes: ["score"], gives: "score" },
  ...{ exp: curve, log: curve, sqrt: curve, tanh: curve, sigmoid: curve },
  toF32: { of: ["whole"], takes: [], gives: "score" },
  toI32: { of: ["score"], takes: [], gives: "whole" },
} as const satisfies Record<string, Signature>;

/** A method of a node, by name. */
export type Method = keyof typeof operations;

/** What a node of a graph is: something done with others, or where numbers come from. */
export type Operation = Method | "where" | "at" | "input" | "literal";

/** Kinds as messages have them. */
export const wordsOf: Readonly<Record<Kind, string>> = {
  score: "a score",
  whole: "a whole number",
  condition: "a condition",
};
