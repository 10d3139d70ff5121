/**
 * Score and mask functions as WGSL: one function for each, four rows abreast, in which each line is a node. Their literals and
 * arrays are words of the tables, so that with others nothing is compiled anew.
 *
 * @module
 */

import { type Derivative, differentiate } from "../../scores/derivative.ts";
import type { Functions } from "../../scores/functions.ts";
import type { Graph } from "../../scores/graph.ts";
import { compileIntervals, type IntervalSource } from "../../scores/intervals.ts";
import {
  comparisons,
  type ConstantSource,
  expand,
  Expansion,
  inOrder,
  nameOf,
  type Primitive,
  type PrimitiveNode,
} from "../../scores/primitives.ts";
import type { Owner } from "../../scores/program.ts";
import { Structures } from "../../scores/structures.ts";
import { calls, rangeCalls, written } from "./calls.ts";

/** A word that shaders read: a constant of one of the two functions. */
export interface Word {
  readonly source: ConstantSource;
  readonly of: Owner;
}

/** What is compiled of two functions. */
export interface FunctionCode {
  /** What shaders import as `scored/functions.wgsl`. */
  readonly source: string;
  /** Constants, in the order of their words. */
  readonly words: readonly Word[];
  /** Whether scores change: one may come out that masks. */
  readonly changes: boolean;
  /** How many gathers there are whose elements have gradients. */
  readonly scattered: number;
}

/** The words of constants: each is there once. */
class Words {
  readonly all: Word[] = [];
  readonly #places = new Map<string, number>();

  placeOf(source: ConstantSource, of: Owner): number {
    const key = `${of} ${nameOf(source)}`, known = this.#places.get(key);
    if (known !== undefined) return known;
    const place = this.all.push({ source, of }) - 1;
    this.#places.set(key, place);
    return place;
  }
}

type Write = (...operands: readonly string[]) => string;

/** An operation between its operands. */
function between(sign: string): Write {
  return (a, b) => `${a} ${sign} ${b}`;
}

function call(name: string): Write {
  return (...operands) => `${name}(${operands.join(", ")})`;
}

const signs: Readonly<Record<typeof comparisons[number], string>> = {
  ...{ lt: "<", le: "<=", gt: ">", ge: ">=", eq: "==", ne: "!=" },
};

/** What is written of each operation. */
const operations: Readonly<Partial<Record<Primitive, Write>>> = {
  ...{ add: between("+"), sub: between("-"), mul: between("*"), div: between("/") },
  ...{ iadd: between("+"), isub: between("-"), imul: between("*") },
  ...Object.fromEntries(
    comparisons.flatMap((name) => ["", "i"].map((kind) => [kind + name, between(signs[name])])),
  ),
  ...{ and: between("&"), or: between("|"), not: (a) => `!${a}` },
  ...{ neg: (a) => `-${a}`, ineg: (a) => `-${a}`, abs: call("abs"), iabs: call("abs") },
  ...{ floorDiv: call(calls.floorDiv), mod: call(calls.mod) },
  ...{ ifloorDiv: call(calls.ifloorDiv), imod: call(calls.imod) },
  ...{ min: call(calls.min), max: call(calls.max), imin: call("min"), imax: call("max") },
  clamp: (x, lo, hi) => `${calls.min}(${calls.max}(${x}, ${lo}), ${hi})`,
  iclamp: (x, lo, hi) => `min(max(${x}, ${lo}), ${hi})`,
  ...{ exp: call(calls.exp), log: call(calls.log), sqrt: call("sqrt") },
  ...{ tanh: call(calls.tanh), sigmoid: call(calls.sigmoid) },
  ...{ toF32: call("vec4f"), toI32: call(calls.toI32) },
  select: (c, a, b) => `select(${b}, ${a}, ${c})`,
};

/** What functions are given. */
const inputs = {
  ...{ score: "score", dScore: "gradient", b: "place.b", h: "place.h", q: "place.q", k: "key" },
} as const;

/** An f32, as it is written down. */
function floatOf(number: number): string {
  const text = String(Math.fround(number));
  return `vec4f(${text})`;
}

/** Writes the nodes of one function. */
class Writer {
  readonly lines: string[] = [];
  readonly #names = new Map<PrimitiveNode, string>();
  readonly #of: Owner;
  readonly #graph: Graph;
  readonly #words: Words;
  /** Its first array among those of both. */
  readonly #firstArray: number;

  constructor(of: Owner, graph: Graph, words: Words, firstArray: number) {
    this.#of = of;
    this.#graph = graph;
    this.#words = words;
    this.#firstArray = firstArray;
  }

  /** What a node is called, once the lines that make it are written. */
  lower(result: PrimitiveNode): string {
    for (const node of inOrder([result], (one) => this.#names.has(one) ? [] : one.operands)) {
      if (!this.#names.has(node)) this.#names.set(node, this.#write(node));
    }
    return this.#names.get(result)!;
  }

  #write(node: PrimitiveNode): string {
    if (node.input !== undefined) return inputs[node.input];
    const text = node.source === undefined ? this.#operation(node) : this.#constant(node.source);
    return `n${this.lines.push(`let n${this.lines.length} = ${text};`) - 1}`;
  }

  #operation({ primitive, operands, array }: PrimitiveNode): string {
    const from = operands.map((one) => this.#names.get(one)!);
    if (array === undefined) return operations[primitive]!(...from);
    const isFloat = this.#graph.arrays[array].dtype === "f32";
    const name = isFloat ? calls.elements : calls.wholeElements;
    return `${name}(${this.#firstArray + array}, ${from})`;
  }

  #constant(source: ConstantSource): string {
    if (source.from === "zero") return "vec4i(0)";
    if (source.from === "number") return floatOf(source.number);
    const at = this.#words.placeOf(source, this.#of);
    const kind = source.from === "literal" ? source.kind : "whole";
    if (kind === "score") return `${calls.literal}(${at})`;
    return `${calls.wholeLiteral}(${at})${kind === "condition" ? " != vec4i(0)" : ""}`;
  }
}

/** A function of WGSL. */
function functionOf(
  name: string,
  parameters: string,
  type: string,
  lines: readonly string[],
  result: string,
): string {
  return [`fn ${name}(${parameters}) -> ${type} {`, ...lines, `return ${result};`, "}"].join("\n");
}

const ofPlace = "place: Place, key: vec4i";

/** What says which keys rows see. */
function maskCode(mask: Graph | undefined, words: Words, firstArray: number): string {
  if (mask === undefined) {
    return functionOf(written.shown, ofPlace, "vec4<bool>", [], "vec4<bool>(true)");
  }
  const writer = new Writer("mask", mask, words, firstArray), result = writer.lower(expand(mask));
  return functionOf(written.shown, ofPlace, "vec4<bool>", writer.lines, result);
}

/** What the score and mask functions say of many rows and keys at once. */
function kindCode(mask: Graph | undefined, words: Words, firstArray: number): string {
  const ranged = mask && new RangeWriter(words, firstArray).write(mask);
  const { ofRows, ofKeys, kept, result } = ranged ??
    { ofRows: [], ofKeys: [], kept: [], result: "vec2i(1)" };
  const members = ["q", ...kept].map((name) => `${name}: vec2i,`);
  return [
    `struct Ranges {\n${members.join("\n")}\n}`,
    functionOf(
      written.ranges,
      "rows: RowRange",
      "Ranges",
      ofRows,
      `Ranges(${["rows.q", ...kept]})`,
    ),
    functionOf(
      written.kind,
      "ranges: Ranges, key: vec2i",
      "u32",
      [...kept.map((name) => `let ${name} = ranges.${name};`), ...ofKeys, `let seen = ${result};`],
      "select(select(MIXED, WHOLE, seen.x == 1), SKIPPED, seen.y == 0)",
    ),
  ].join("\n");
}

/** What is written of each operation on intervals. */
const rangeOperations: Readonly<Record<string, Write>> = {
  ...Object.fromEntries(Object.entries(rangeCalls).map(([kernel, name]) => [kernel, call(name)])),
  ...{ imin: call("min"), imax: call("max"), and: between("&"), or: between("|") },
  not: (a) => `1 - ${a}.yx`,
};

/** Writes the steps of intervals: those that no key changes apart. */
class RangeWriter {
  readonly #words: Words;
  readonly #firstArray: number;

  constructor(words: Words, firstArray: number) {
    this.#words = words;
    this.#firstArray = firstArray;
  }

  write(mask: Graph) {
    const { steps, inputs, constants, result } = compileIntervals(mask);
    const names = new Map(
      [...inputs].map(([name, at]) => [at, name === "k" ? "key" : `rows.${name}`]),
    );
    const nameOf = (register: number) => names.get(register) ?? `r${register}`;
    const ofRows = constants.map(({ to, source }) => `let r${to} = ${this.#bounds(source)};`);
    const ofKeys: string[] = [], kept = constants.map(({ to }) => `r${to}`);
    // What the key's steps read of the rows themselves is kept under a name, too.
    for (const [name, at] of inputs) {
      if (name === "k") continue;
      ofRows.push(`let r${at} = rows.${name};`);
      names.set(at, `r${at}`);
      kept.push(`r${at}`);
    }
    const byKey = new Set([inputs.get("k")]);
    for (const { kernel, to, operands, array } of steps) {
      const from = operands.map(nameOf);
      const given = array === undefined ? from : [`${this.#firstArray + array}`, ...from];
      const line = `let r${to} = ${rangeOperations[kernel](...given)};`;
      if (operands.some((one) => byKey.has(one))) {
        byKey.add(to);
        ofKeys.push(line);
      } else {
        ofRows.push(line);
        kept.push(`r${to}`);
      }
    }
    return { ofRows, ofKeys, kept, result: nameOf(result) };
  }

  #bounds(source: IntervalSource): string {
    if (source.from === "anything") return "ANYTHING";
    if (source.from === "either") return "vec2i(0, 1)";
    if (source.from === "zero") return "vec2i(0)";
    const text = `${rangeCalls.literal}(${this.#words.placeOf(source, "mask")})`;
    // Conditions are all bits or none elsewhere, and here 1 or 0.
    return source.from === "literal" && source.kind === "condition" ? `-${text}` : text;
  }
}

const ofGradient = `score: vec4f, gradient: vec4f, ${ofPlace}`;

/** What becomes of gradients of what the score function gives. */
function gradientCode({ score, gathered }: Derivative, writer: Writer): string {
  const result = score === undefined ? "vec4f(0)" : writer.lower(score);
  const slope = functionOf(written.slope, ofGradient, "vec4f", writer.lines, result);
  if (gathered.length === 0) return slope;
  const values = gathered.flatMap(({ array, index, term }) => [
    ...[`${array}`, writer.lower(index), writer.lower(term)],
  ]);
  const members = gathered.flatMap((_, at) => [
    ...[`place_${at}: u32,`, `index_${at}: vec4i,`, `term_${at}: vec4f,`],
  ]);
  return [
    slope,
    `struct ArrayTerms {\n${members.join("\n")}\n}`,
    functionOf(written.terms, ofGradient, "ArrayTerms", writer.lines, `ArrayTerms(${values})`),
  ].join("\n");
}

/** Both functions of scores. */
function scoreCode(score: Graph | undefined, words: Words, hasGradient: boolean) {
  const given = `score: vec4f, ${ofPlace}`;
  if (score === undefined) {
    const same = [
      functionOf(written.changed, given, "vec4f", [], "score"),
      functionOf(written.slope, ofGradient, "vec4f", [], "gradient"),
    ];
    return { sources: same, scattered: 0 };
  }
  const expansion = new Expansion(score), result = expand(score, expansion);
  const writer = new Writer("score", score, words, 0), name = writer.lower(result);
  const changed = functionOf(written.changed, given, "vec4f", writer.lines, name);
  if (!hasGradient) return { sources: [changed], scattered: 0 };
  const derivative = differentiate(result, expansion, score);
  return {
    sources: [changed, gradientCode(derivative, new Writer("score", score, words, 0))],
    scattered: derivative.gathered.length,
  };
}

function compile({ score, mask }: Functions, hasGradient: boolean): FunctionCode {
  const words = new Words(), firstOfMask = score?.arrays.length ?? 0;
  const { sources, scattered } = scoreCode(score, words, hasGradient);
  const all = [
    ...["#import scored/numbers.wgsl", "#import scored/ranges.wgsl", ...sources],
    ...[maskCode(mask, words, firstOfMask), kindCode(mask, words, firstOfMask)],
  ];
  return { source: all.join("\n"), words: words.all, changes: score !== undefined, scattered };
}

/** What is written of functions. */
export const codes: Structures<FunctionCode> = new Structures(compile);
