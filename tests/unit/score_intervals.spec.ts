import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { evaluate } from "../../src/reference/scores.ts";
import { captured } from "../../src/scores/captured.ts";
import { traceMask } from "../../src/scores/graph.ts";
import { compileIntervals } from "../../src/scores/intervals.ts";
import type { MaskMod } from "../../src/scores/kinds.ts";
import { always } from "../support/arbitrary.ts";
import { simd } from "../asm/score_program.gen.ts";
import { classify, type Interval } from "../support/interval_machine.ts";
import { loadMeasuring } from "../support/measuring.ts";
import { classifyInWasm, type RangeExports } from "../support/range_binary.ts";
import { maskMods } from "../support/written.ts";
import { longTest } from "../support/share.ts";

/** A tile of queries and keys. */
interface Tile {
  readonly query: number;
  readonly key: number;
  readonly queries: number;
  readonly keys: number;
}

const at = { b: 1, h: 2 };

const exports = loadMeasuring<RangeExports>(simd)!;

/** What intervals say of a tile: in Wasm the same, or less, where many elements are looked up by eights. */
function saidOf(maskMod: MaskMod, { query, key, queries, keys }: Tile): string {
  const mask = traceMask(maskMod), { b, h } = at;
  const ranges: Readonly<Record<"b" | "h" | "q" | "k", Interval>> = {
    ...{ b: [b, b], h: [h, h] },
    ...{ q: [query, query + queries - 1], k: [key, key + keys - 1] },
  };
  const said = classify(compileIntervals(mask), mask, ranges);
  const inWasm = classifyInWasm(exports, mask, ranges);
  assert(inWasm === said || inWasm === "mixed", `${inWasm}, not ${said}`);
  return inWasm;
}

/** What its elements say. */
function isOf(maskMod: MaskMod, { query, key, queries, keys }: Tile): string {
  const mask = traceMask(maskMod);
  let seen = 0;
  for (let q = query; q < query + queries; q++) {
    for (let k = key; k < key + keys; k++) {
      seen += evaluate(mask, { ...at, score: 0, q, k }).at(-1)!;
    }
  }
  return seen === 0 ? "never" : seen === queries * keys ? "always" : "mixed";
}

/** Rows from the first ones to the last that there may be. */
const rows = fc.oneof(
  { weight: 9, arbitrary: fc.nat(40) },
  { weight: 1, arbitrary: fc.constantFrom(293, 65530, 2 ** 30 - 8, 2 ** 31 - 16) },
);

const tiles = fc.record({
  ...{ query: rows, key: rows },
  ...{ queries: fc.integer({ min: 1, max: 16 }), keys: fc.integer({ min: 1, max: 16 }) },
});

longTest(
  "intervals never say of a mask what its elements do not",
  () => {
    let known = 0;
    fc.assert(
      fc.property(maskMods(), tiles, (mask, tile) => {
        const said = saidOf(mask, tile);
        if (said === "mixed") return;
        known++;
        assertEquals(isOf(mask, tile), said);
      }),
      always(3000),
    );
    assert(known > 300, `${known} tiles are known`);
  },
);

const lengths = [5, 20, 13, 26],
  documents = captured(
    Int32Array.from(lengths.flatMap((length, index) => Array(length).fill(index))),
    [64],
  );

/** Masks whose tiles are all known. */
const exact: Readonly<Record<string, MaskMod>> = {
  "causal": ({ q, k }) => q.ge(k),
  "a window": ({ q, k }) => q.sub(k).ge(0).and(q.sub(k).le(9)),
  "a window on both sides": ({ q, k }) => k.sub(q).abs().lt(7),
  "documents": ({ q, k }) => documents.at(q).eq(documents.at(k)),
  "a prefix": ({ q, k }) => k.lt(12).or(q.ge(k)),
  "blocks": ({ q, k }) => q.floorDiv(8).eq(k.floorDiv(8)),
  "no head but one": ({ h, q, k }) => h.eq(2).and(q.ge(k)),
};

test("intervals know each tile of 8 queries and 8 keys of masks that people write", () => {
  for (const [name, mask] of Object.entries(exact)) {
    for (let query = 0; query < 64; query += 8) {
      for (let key = 0; key < 64; key += 8) {
        const tile = { query, key, queries: 8, keys: 8 };
        assertEquals(saidOf(mask, tile), isOf(mask, tile), `${name}, ${query}, ${key}`);
      }
    }
  }
});

test("what wraps around, and what real numbers say, is not known", () => {
  const tile = { query: 0, key: 0, queries: 8, keys: 8 };
  assertEquals(saidOf(({ q }) => q.add(2 ** 31 - 3).gt(0), tile), "mixed");
  assertEquals(saidOf(({ q }) => q.mul(2 ** 30).ge(0), tile), "mixed");
  assertEquals(saidOf(({ q }) => q.toF32().ge(0), tile), "mixed");
  assertEquals(saidOf(({ q }) => q.toF32().toI32().ge(0), tile), "mixed");
  assertEquals(saidOf(({ q }) => q.toF32().ge(0).or(q.ge(0)), tile), "always");
  assertEquals(saidOf(() => true, tile), "always");
  assertEquals(saidOf(({ h }) => h.ne(2), tile), "never");
});

test("the least and the greatest of any elements of an array are known", () => {
  const data = Int32Array.from({ length: 1003 }, (_, at) => at * 7919 % 1009 - 500);
  const array = captured(data, [data.length]);
  for (const [from, to] of [[0, 1002], [5, 5], [3, 18], [3, 19], [8, 23], [7, 500], [990, 2000]]) {
    const isFew = to - from < 16;
    const elements = isFew ? data.subarray(from, to + 1) : data.subarray(from & ~7, (to | 7) + 1);
    const least = Math.min(...elements);
    const tile = { query: 0, key: from, queries: 1, keys: to - from + 1 };
    const isMore = (number: number): MaskMod => ({ k }) => array.at(k).ge(number);
    assertEquals(saidOf(isMore(least), tile), "always", `${from} to ${to}`);
    assertEquals(saidOf(isMore(Math.max(...elements) + 1), tile), "never", `${from} to ${to}`);
  }
});
