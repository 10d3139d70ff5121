/**
 * Random score and mask functions as they are written: lines that each do one thing with what is given, with lines before them, and
 * with arrays. A failure shrinks to few lines, and prints them; what is printed is what runs.
 *
 * @module
 */

import fc from "fast-check";
import { type Captured, captured } from "../../src/scores/captured.ts";
import type { Kind, MaskMod, ScoreFunctions, ScoreMod } from "../../src/scores/kinds.ts";
import { operations, type Signature } from "../../src/scores/operations.ts";
import { where } from "../../src/scores/where.ts";
import { normals, seeded } from "./random.ts";

const mostWhole = 2 ** 31 - 1, leastWhole = -(2 ** 31);

/** What functions read, by the names that they print: some have gradients, some what is rarely there. */
export const arrays: Readonly<Record<string, Captured>> = {
  line: captured(normals(7, seeded(0)), [7], { grad: true }),
  grid: captured(normals(12, seeded(1)), [3, 4], { grad: true }),
  block: captured(normals(24, seeded(2)), [2, 3, 4]),
  odd: captured(
    Float32Array.of(0, -0, 1, NaN, Infinity, -Infinity, 1e30, -1e-40, 3.4e38, 0.5),
    [10],
  ),
  ids: captured(Int32Array.from({ length: 300 }, (_, at) => Math.floor(at / 7)), [300]),
  mixed: captured(Int32Array.from({ length: 20 }, (_, at) => at * 7 % 11 - 3), [4, 5]),
  cube: captured(Int32Array.from({ length: 12 }, (_, at) => at * 5 % 12), [3, 2, 2]),
  ends: captured(
    Int32Array.of(leastWhole, mostWhole, -1, 0, 1, leastWhole + 1, 2 ** 30, -(2 ** 16), 65537),
    [9],
  ),
};

/** An operand: a line so many before, of those of its kind; something that is given; a number. */
type Operand = { readonly back: number } | { readonly text: string };

/** What a line does. */
interface Form {
  readonly takes: readonly Kind[];
  readonly gives: Kind;
  /** How often it comes. */
  readonly weight: number;
  /** How many of its operands must be nodes: a number has no methods. */
  readonly nodes: number;
  write(operands: readonly string[]): string;
}

/** A line. */
interface Line {
  readonly form: Form;
  readonly operands: readonly Operand[];
}

/** A function: what its last line gives that gives what it must, and what is done to it then. */
interface Written {
  readonly lines: readonly Line[];
  readonly end: string;
}

/** Every method of every kind of node, as the library's own table has them. */
const methods: readonly Form[] = Object.entries<Signature>(operations).flatMap(
  ([name, { of, takes, gives }]) =>
    of.map((kind): Form => ({
      takes: [kind, ...takes.map((one) => one === "same" ? kind : one)],
      gives: gives === "same" ? kind : gives,
      ...{ weight: name.startsWith("to") ? 12 : 3, nodes: 1 },
      write: ([self, ...others]) => `${self}.${name}(${others.join(", ")})`,
    })),
);

const choices = (["score", "whole", "condition"] as const).map((kind): Form => ({
  ...{ takes: ["condition", kind, kind], gives: kind, weight: 12, nodes: 2 },
  write: (operands) => `where(${operands.join(", ")})`,
}));

const gathers = Object.entries(arrays).map(([name, { dtype, shape, grad }]): Form => ({
  takes: shape.map(() => "whole"),
  gives: dtype === "f32" ? "score" : "whole",
  ...{ weight: grad ? 15 : name === "odd" || name === "ends" ? 2 : 5, nodes: 0 },
  write: (indices) => `${name}.at(${indices.join(", ")})`,
}));

/** Operations on what suits them, as people write them: the bare ones mostly overflow, or give NaN. */
const mild: readonly Form[] = ([
  ["score", 2, ([a, b]) => `${a}.div(${b}.abs().add(0.5))`],
  ["score", 1, ([a]) => `${a}.clamp(-4, 3).exp()`],
  ["score", 1, ([a]) => `${a}.abs().add(0.25).log()`],
  ["score", 1, ([a]) => `${a}.abs().add(0.25).sqrt()`],
  ["score", 1, ([a]) => `${a}.mod(1.5)`],
  ["score", 1, ([a]) => `${a}.floorDiv(-0.75)`],
  ["score", 1, ([a]) => `${a}.clamp(-2, 2)`],
  ["score", 2, ([a, b]) => `${a}.tanh().mul(${b}.tanh())`],
  ["whole", 1, ([a]) => `${a}.mod(7)`],
  ["whole", 1, ([a]) => `${a}.mod(-5)`],
  ["whole", 1, ([a]) => `${a}.floorDiv(4)`],
  ["whole", 1, ([a]) => `${a}.floorDiv(-3)`],
  ["whole", 1, ([a]) => `${a}.clamp(-3, 20)`],
  ["whole", 0, () => "q.sub(k)"],
  ["whole", 0, () => "k.sub(q)"],
] as const satisfies readonly (readonly [Kind, number, Form["write"]])[])
  .map(([kind, count, write]) => ({
    ...{ takes: Array<Kind>(count).fill(kind), gives: kind, weight: 3, nodes: count, write },
  }));

const everyForm: readonly Form[] = [...methods, ...choices, ...gathers, ...mild];

/** Forms whose numbers are whole: the same on every machine. */
const isWhole = ({ takes, gives }: Form) => gives !== "score" && !takes.includes("score");

const round = Math.fround;

const literals: Readonly<Record<Kind, fc.Arbitrary<number | boolean>>> = {
  score: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -40, max: 40 }).map((n) => round(n / 10)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity, NaN, 1e30, round(1e-30)),
    },
  ),
  whole: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -9, max: 40 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, -1, leastWhole, mostWhole, 2 ** 30, 65536, -65537) },
  ),
  condition: fc.boolean(),
};

/** How a number is written: JavaScript has no literal of -0 but this. */
const textOf = (number: number | boolean) => Object.is(number, -0) ? "-0" : `${number}`;

const givenNames: Readonly<Record<Kind, readonly string[]>> = {
  ...{ score: ["score"], whole: ["q", "k", "q", "k", "h", "b"] },
  condition: ["q.ge(k)", "k.mod(3).eq(0)", "q.sub(k).abs().le(4)", "h.eq(0)"],
};

/** Lines so many before are mostly the last ones. */
const backs = fc.oneof({ weight: 3, arbitrary: fc.nat(2) }, { weight: 1, arbitrary: fc.nat(30) })
  .map((back): Operand => ({ back }));

function operand(kind: Kind, isNode: boolean): fc.Arbitrary<Operand> {
  const given = fc.constantFrom(...givenNames[kind]).map((text): Operand => ({ text }));
  const literal = literals[kind].map((number): Operand => ({ text: textOf(number) }));
  return fc.oneof(
    { weight: 7, arbitrary: backs },
    { weight: 2, arbitrary: given },
    ...(isNode ? [] : [{ weight: 2, arbitrary: literal }]),
  );
}

function lineOf(form: Form): fc.Arbitrary<Line> {
  const { takes, nodes } = form;
  // Of a choice the condition may be a literal, and what is chosen must be a node: else nobody knows its kind.
  const isNode = (at: number) => form.takes.length === 3 && nodes === 2 ? at === 1 : at < nodes;
  return fc.tuple(...takes.map((kind, at) => operand(kind, isNode(at))))
    .map((operands) => ({ form, operands }));
}

/** How often lines give what. */
const shares: Readonly<Record<Kind, number>> = { score: 5, whole: 3, condition: 2 };

/** Lines of functions: most have some, some have hundreds. */
function linesOf(forms: readonly Form[], most: number): fc.Arbitrary<readonly Line[]> {
  const kinds = (Object.keys(shares) as Kind[]).flatMap((kind) => {
    const own = forms.filter(({ gives }) => gives === kind);
    const lines = own.map((form) => ({ weight: form.weight, arbitrary: lineOf(form) }));
    return own.length === 0 ? [] : [{ weight: shares[kind], arbitrary: fc.oneof(...lines) }];
  });
  const some = (minLength: number, maxLength: number) =>
    fc.array(fc.oneof(...kinds), { minLength, maxLength, size: "max" });
  // What is rare is among the literals: bias would make most operands the line before.
  return fc.noBias(
    fc.oneof({ weight: 20, arbitrary: some(1, 60) }, { weight: 1, arbitrary: some(1, most) }),
  );
}

/** What is said of no line before the first. */
const first: Readonly<Record<Kind, string>> = {
  ...{ score: "score", whole: "q", condition: "q.ge(k)" },
};

/** The lines that a result is made of, as text. Nobody may leave a condition unused. */
function bodyOf({ lines, end }: Written, kind: Kind, start: string): string {
  const before: Record<Kind, number[]> = { score: [], whole: [], condition: [] };
  const refers = lines.map(({ form, operands }, at) => {
    const found = operands.map((one, index) => {
      const list = before[form.takes[index]];
      return "back" in one && list.length > 0 ? list[list.length - 1 - one.back % list.length] : -1;
    });
    before[form.gives].push(at);
    return found;
  });
  const last = before[kind].at(-1) ?? -1, isUsed = lines.map((_, at) => at === last);
  for (let at = lines.length - 1; at >= 0; at--) {
    if (isUsed[at]) { for (const one of refers[at]) if (one >= 0) isUsed[one] = true; }
  }
  const initial = { ...first, score: start };
  const text = lines.map(({ form, operands }, at) => {
    const written = operands.map((one, index) =>
      "text" in one
        ? one.text.replace(/^score$/, start)
        : refers[at][index] >= 0
        ? `x${refers[at][index]}`
        : initial[form.takes[index]]
    );
    return `  const x${at} = ${form.write(written)};`;
  }).filter((_, at) => isUsed[at]);
  const result = end.replaceAll("_", last < 0 ? initial[kind] : `x${last}`);
  return [...text, `  return ${result};`].join("\n");
}

/** A function that is run as it is printed. */
function made<Made>(given: string, body: string): Made {
  const text = `(${given}) => {\n${body}\n}`;
  const make = new Function("where", ...Object.keys(arrays), `"use strict"; return ${text};`);
  const own = make(where, ...Object.values(arrays)) as Made;
  return Object.defineProperty(own, fc.toStringMethod, { value: () => text });
}

/** What scores are at last: mostly within some bounds, since else one key has all of the weight. */
const ends = fc.constantFrom(
  ...["_", "_", "_.clamp(-6, 6)", "score.add(_.clamp(-3, 3))", "score.add(_.tanh())"],
  ...["score.mul(_.sigmoid())", "score.sub(_.mod(3))", "_.div(_.abs().add(1)).mul(4)"],
);

/** Random score functions. */
export function scoreMods(most = 260): fc.Arbitrary<ScoreMod> {
  return fc.record({ lines: linesOf(everyForm, most), end: ends }).map((written) =>
    made("score, { b, h, q, k }", bodyOf(written, "score", "score"))
  );
}

/** Random mask functions; `areWhole` for those of whole numbers alone. */
export function maskMods(areWhole = false, most = 260): fc.Arbitrary<MaskMod> {
  const forms = areWhole ? everyForm.filter(isWhole) : everyForm;
  const masks = fc.constantFrom("_", "_", "_.or(q.eq(k))", "_.and(q.ge(k))", "_.not()");
  return fc.record({ lines: linesOf(forms, most), end: masks }).map((written) =>
    made("{ b, h, q, k }", bodyOf(written, "condition", "q.sub(k).toF32()"))
  );
}

/** One function, or both. */
export const someFunctions: fc.Arbitrary<ScoreFunctions> = fc.oneof(
  { weight: 2, arbitrary: scoreMods().map((scoreMod) => ({ scoreMod })) },
  { weight: 1, arbitrary: maskMods().map((maskMod) => ({ maskMod })) },
  { weight: 1, arbitrary: maskMods(true).map((maskMod) => ({ maskMod })) },
  { weight: 2, arbitrary: fc.record({ scoreMod: scoreMods(), maskMod: maskMods() }) },
);
