import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { blocksOf } from "../../examples/story/blocks.ts";
import { algorithmOf, algorithms, count } from "../../examples/story/chapters.ts";
import { flashOrder, standardOrder } from "../../examples/story/closed.ts";
import { crossoverOf, totalOf } from "../../examples/story/crossover.ts";
import { Matrix, Memory } from "../../examples/story/memory.ts";
import type { Sizes } from "../../examples/story/problem.ts";
import { always } from "../support/arbitrary.ts";

/** N, d and M at random; M from the least that works to more than everything. */
const sizes: fc.Arbitrary<Sizes> = fc.record({
  n: fc.integer({ min: 1, max: 40 }),
  d: fc.integer({ min: 1, max: 10 }),
  rows: fc.oneof(
    fc.double({ min: 1, max: 12, noNaN: true }),
    fc.double({ min: 1, max: 60, noNaN: true }),
  ),
}).map(({ n, d, rows }) => ({ n, d, m: Math.ceil(7 * d * rows) }));

for (const algorithm of algorithms) {
  test(`${algorithm.title} reads and writes what its formulas say, for 50 random (N, d, M)`, () => {
    fc.assert(
      fc.property(sizes, (given) => {
        const { reads, writes, most, used } = count(algorithm, given);
        assertEquals({ reads, writes }, algorithm.traffic(given));
        assertEquals(used, 0);
        assert(most <= given.m);
      }),
      always(50),
    );
  });
}

/** What a formula that is shown comes to. */
function evaluate(formula: string, { n, d, m }: Sizes, tiles: number, parts: number): number {
  const t = Math.ceil(n / blocksOf(m, d, tiles).outer);
  const source = formula.replaceAll("²", "**2").replaceAll("parts", "p")
    .replace(/(?<=[\w)]) (?=[\w(])/g, " * ");
  return new Function("N", "d", "M", "T", "p", `return ${source}`)(n, d, m, t, parts);
}

test("the formulas that are shown are those that are computed", () => {
  fc.assert(
    fc.property(sizes, (given) => {
      const parts = Math.ceil(given.n / Math.ceil(given.n / 8));
      for (const { formulas, tiles, traffic } of algorithms) {
        const [reads, writes] = formulas.map((one) => evaluate(one, given, tiles, parts));
        assertEquals({ reads, writes }, traffic(given));
      }
    }),
    always(50),
  );
});

test("blocksOf() gives the paper's sizes where 4d divides M, as after rounding it up", () => {
  fc.assert(
    fc.property(sizes, ({ d, m }) => {
      const rows = Math.ceil(m / (4 * d));
      assertEquals(blocksOf(4 * d * rows, d), { outer: rows, inner: Math.min(rows, d) });
    }),
    always(50),
  );
});

test("blocksOf() refuses a memory that does not hold a row of each tile", () => {
  assertThrows(() => blocksOf(255, 64), RangeError, "take M >= 256 or a smaller d");
  assertEquals(blocksOf(256, 64), { outer: 1, inner: 1 });
});

test("Memory refuses a tile that does not fit, and counts nothing for it", () => {
  const memory = new Memory(10), q = new Matrix("Q", 4, 3);
  const rows = (count: number) => ({ start: 0, count });
  const tile = memory.load(q, rows(3));
  assertThrows(() => memory.load(q, rows(1)), RangeError, "A tile of Q of 1 x 3 numbers does not");
  assertThrows(() => memory.make(q, rows(1)), RangeError, "where 1 of M = 10 are free");
  assertEquals([memory.reads, memory.writes, memory.used], [9, 0, 9]);
  memory.free(tile);
  memory.free(memory.load(q, rows(3)));
  assertEquals([memory.reads, memory.most], [18, 9]);
});

test("crossoverOf() is the least M at which FlashAttention moves less", () => {
  fc.assert(
    fc.property(sizes, ({ n, d }) => {
      const gains = (m: number) =>
        ["flash1", "naive"].map((name) => algorithmOf(name as "flash1"))
          .map(({ traffic }) => totalOf(traffic({ n, d, m }))).reduce((flash, naive) =>
            naive - flash
          );
      const from = crossoverOf({ n, d, m: 0 });
      if (from === undefined) return assert(gains(4 * d * n) <= 0);
      assert(gains(from) > 0);
      if (from > 4 * d) assert(gains(from - 1) <= 0);
    }),
    always(50),
  );
});

test("FlashAttention moves a bounded multiple of N² d² / M, standard attention of N d + N²", () => {
  fc.assert(
    fc.property(sizes, (given) => {
      // As the theorem has it: M from d² up to N d.
      const m = Math.max(4 * given.d ** 2, Math.min(given.m, given.n * given.d));
      const sizes = { ...given, m },
        total = (name: "naive" | "flash2") => totalOf(algorithmOf(name).traffic(sizes));
      assert(total("naive") <= 10 * standardOrder(sizes));
      if (m <= given.n * given.d) assert(total("flash2") <= 21 * flashOrder(sizes));
    }),
    always(50),
  );
});
