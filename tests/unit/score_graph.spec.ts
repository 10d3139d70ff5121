import { assert, assertEquals, assertThrows } from "@std/assert";
import { test } from "node:test";
import { captured } from "../../src/scores/captured.ts";
import { traceMask, traceScore } from "../../src/scores/graph.ts";
import type { MaskMod, Place, Score, ScoreMod } from "../../src/scores/kinds.ts";
import { where } from "../../src/scores/where.ts";

const table = captured(new Float32Array(12), [3, 4]);
const list = captured(new Int32Array(5), [5]);

/** Functions that TypeScript would not let pass either. */
// deno-lint-ignore no-explicit-any
type Loose = any;

const score = (mod: Loose) => traceScore(mod as ScoreMod);
const mask = (mod: Loose) => traceMask(mod as MaskMod);

test("a function becomes a graph that has each thing once, and nothing that is not used", () => {
  const { nodes, literals, arrays } = score((s: Score, { h, q, k }: Place) => {
    s.mul(3); // Not used.
    return s.add(table.at(h, q.sub(k))).add(table.at(h, q.sub(k)));
  });
  assertEquals(nodes.map(({ operation }) => operation), [
    ...["input", "input", "input", "input", "sub", "at", "add", "add"],
  ]);
  assertEquals(nodes.map(({ input }) => input).slice(0, 4), ["score", "h", "q", "k"]);
  assertEquals([literals, arrays], [[], [table]] as never);
  for (const [at, { operands }] of nodes.entries()) assert(operands.every((one) => one < at));
});

test("numbers and arrays are no part of the structure, their kinds are", () => {
  const of = (number: number, array: typeof table) =>
    score((s: Score, { h, q }: Place) => s.mul(number).add(array.at(h, q.add(number)))).structure;
  const other = captured(new Float32Array(100), [10, 10]);
  assertEquals(of(2, table), of(3, other));
  assertEquals(of(2, table), of(-5, table));
  const whole = captured(new Int32Array(12), [3, 4]);
  const ofWholes = score((s: Score, { h, q }: Place) =>
    s.mul(2).add(whole.at(h, q.add(2)).toF32())
  );
  const same = score((s: Score, { q }: Place) => s.mul(2).add(list.at(q.add(2)).toF32()));
  assert(new Set([of(2, table), ofWholes.structure, same.structure]).size === 3);
});

test("a function may give a literal, a captured number, or what depends on the query alone", () => {
  assertEquals(score(() => 0).literals, [0]);
  assertEquals(mask(() => true).literals, [1]);
  assertEquals(score(() => table.at(0, 1)).nodes.at(-1)!.operation, "at");
  assertEquals(mask(({ q }: Place) => q.gt(3)).nodes.length, 3);
  assertEquals(score(() => -0).literals, [-0]);
  assertEquals(score(() => -Infinity).literals, [-Infinity]);
});

test("a literal takes the kind of the node beside it", () => {
  const { nodes } = mask(({ q }: Place) => q.toF32().mul(0.5).lt(2).and(q.lt(2)));
  const kinds = nodes.filter(({ operation }) => operation === "literal").map(({ kind }) => kind);
  assertEquals(kinds.sort(), ["score", "score", "whole"]);
  assertEquals(score((_: Score, { q }: Place) => where(q.gt(1), 1, 0)).nodes.at(-1)!.kind, "score");
  const whole = score((_: Score, { q }: Place) => where(q.gt(1), 1, q).toF32());
  assertEquals(whole.nodes.at(-2)!.kind, "whole");
  assertEquals(mask(({ q }: Place) => where(q.gt(1), true, false)).nodes.at(-1)!.kind, "condition");
});

/** What is refused of score functions, and what the message says. */
const refusedScores: readonly (readonly [string, Loose])[] = [
  ["`scoreMod` must be a function, got 3", 3],
  ["`a + b` is a.add(b)", (s: Loose) => s + 1],
  ["`a + b` is a.add(b)", (s: Loose) => `${s}`],
  ["`q >= k` is q.ge(k)", (s: Loose, { q, k }: Loose) => q >= k ? s : 0],
  ["`if` and `c ? a : b` are where(c, a, b)", (s: Loose, { q, k }: Loose) => q.ge(k) ? s : 0],
  ["nothing is given back: `return` a score", () => {}],
  ["a promise is given back", async (s: Loose) => await s],
  [
    "what is given back must be a score, got a whole number: write .toF32()",
    (_: Loose, { q }: Loose) => q,
  ],
  [
    "what is given back must be a score, got a condition: write where(",
    (_: Loose, { q }: Loose) => q.gt(1),
  ],
  ['what is given back must be a score or a number, got "x"', () => "x"],
  ["`exp` is for a score, got a whole number: write .toF32()", (_: Loose, { q }: Loose) => q.exp()],
  [
    "`div` is for scores, got a whole number: write a.floorDiv(b)",
    (_: Loose, { q }: Loose) => q.div(2),
  ],
  ["`and` is for a condition, got a score: compare it", (s: Loose, { q }: Loose) => s.and(q.gt(1))],
  [
    "`add` must be a score, got a whole number: write .toF32()",
    (s: Loose, { q }: Loose) => s.add(q),
  ],
  [
    "`add` must be a whole number, got a score: write .toI32()",
    (s: Loose, { q }: Loose) => q.add(s),
  ],
  ["`add` must be a whole number of 32 bits, got 0.5", (_: Loose, { q }: Loose) => q.add(0.5)],
  [
    "`add` must be a whole number of 32 bits, got 2147483648",
    (_: Loose, { q }: Loose) => q.add(2 ** 31),
  ],
  ["`add` must be a whole number or a number, got null", (_: Loose, { q }: Loose) => q.add(null)],
  ["`add` takes 1 argument, got 2", (s: Loose) => s.add(1, 2)],
  ["`clamp` takes 2 arguments, got 1", (s: Loose) => s.clamp(1)],
  [
    "an index of `at` must be a whole number, got a score: write .toI32()",
    (s: Loose) => table.at(s, 0),
  ],
  ["an index of `at` must be a whole number of 32 bits, got 0.5", () => table.at(0.5, 0)],
  ["`at` takes 2 arguments, got 1", (_: Loose, { q }: Loose) => table.at(q)],
  [
    "the first of `where` must be a condition, got a score: compare it",
    (s: Loose) => where(s, s, s),
  ],
  [
    "`where` must be a score, got a whole number",
    (s: Loose, { q }: Loose) => where(q.gt(1), s, q as Loose),
  ],
  ["more than 4096 operations", (s: Loose) => {
    for (let at = 0;; at++) s = s.add(at);
  }],
];

/** The same of mask functions. */
const refusedMasks: readonly (readonly [string, Loose])[] = [
  ["`maskMod` must be a function, got null", null],
  ["`c && d` is c.and(d)", ({ q, k }: Loose) => q.ge(k) && k.ge(3)],
  ["`!c` is c.not()", ({ q, k }: Loose) => !q.ge(k)],
  ["what is given back must be a condition, got a whole number: compare it", ({ q }: Loose) => q],
  ["what is given back must be a condition or a boolean, got 1", () => 1],
  ["`and` must be a condition or a boolean, got 1", ({ q }: Loose) => q.gt(1).and(1)],
];

test("what a graph cannot say is refused, with what to write", () => {
  for (const [message, mod] of refusedScores) assertThrows(() => score(mod), TypeError, message);
  for (const [message, mod] of refusedMasks) assertThrows(() => mask(mod), TypeError, message);
});

test("nodes are of one call, and there are none outside of a function", () => {
  let kept: Loose;
  score((s: Loose) => kept = s);
  const foreign = "a node of another call";
  assertThrows(() => kept.add(1), TypeError, foreign);
  assertThrows(() => score((s: Loose) => s.add(kept)), TypeError, foreign);
  assertThrows(() => score(() => kept), TypeError, foreign);
  assertThrows(() => table.at(0, 0), TypeError, "it is for score and mask functions");
  assertThrows(() => where(true, 1, 2), TypeError, "it is for score and mask functions");
});

test("a function that throws leaves nothing behind", () => {
  const error = new Error("own");
  assertThrows(
    () =>
      score(() => {
        throw error;
      }),
    Error,
    "own",
  );
  assertThrows(() => where(true, 1, 2), TypeError, "it is for score and mask functions");
  assertEquals(score((s: Loose) => s).nodes.length, 1);
});

test("captured() refuses what functions cannot read", () => {
  const call = (...given: unknown[]) => (captured as Loose)(...given);
  const floats = new Float32Array(6), wholes = new Int32Array(6);
  const refused: readonly (readonly [new () => Error, string, ...unknown[]])[] = [
    [TypeError, "`data` must be a Float32Array, Int32Array or GPUBuffer, got Array", [1, 2], [2]],
    [TypeError, "`data` must be a Float32Array, Int32Array", new Float64Array(6), [6]],
    [TypeError, '`dtype` must be "f32" of a Float32Array, got "i32"', floats, [6], {
      dtype: "i32",
    }],
    [TypeError, "unknown option `gradient`", floats, [6], { gradient: true }],
    [TypeError, "`grad` must be true or false, got 1", floats, [6], { grad: 1 }],
    [TypeError, "whole numbers have no gradient", wholes, [6], { grad: true }],
    [RangeError, "shape [2, 4] needs 8 elements, `data` has 6", floats, [2, 4]],
    [RangeError, "`shape` must have one to three extents of at least 1, got []", floats, []],
    [RangeError, "`shape` must have one to three extents of at least 1, got [1, 1, 1, 1]", floats, [
      1,
      1,
      1,
      1,
    ]],
    [RangeError, "`shape` must have one to three extents of at least 1, got [0]", floats, [0]],
    [RangeError, "`shape` must have one to three extents of at least 1, got [1.5]", floats, [1.5]],
    [RangeError, "`shape` must have one to three extents of at least 1, got 6", floats, 6],
  ];
  for (const [error, message, ...given] of refused) {
    assertThrows(() => call(...given), error, `Cannot capture: ${message}`);
  }
  assertThrows(() => new (table.constructor as Loose)(), TypeError, "write captured(data, shape)");
  assertEquals([table.dtype, list.dtype, table.grad], ["f32", "i32", false]);
  assertThrows(() => (table as Loose).data = floats, TypeError);
});
