import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { evaluate } from "../../src/reference/scores.ts";
import { captured } from "../../src/scores/captured.ts";
import { traceMask } from "../../src/scores/graph.ts";
import { compileIntervals } from "../../src/scores/intervals.ts";
import type { MaskMod } from "../../src/scores/kinds.ts";
import { always } from "../support/arbitrary.ts";
import { classify } from "../support/interval_machine.ts";
import { randomMaskMod } from "../support/random_scores.ts";

/** A tile of queries and keys. */
interface Tile {
  readonly query: number;
  readonly key: number;
  readonly queries: number;
  readonly keys: number;
}

const at = { b: 1, h: 2 };

/** What intervals say of a tile. */
function saidOf(maskMod: MaskMod, { query, key, queries, keys }: Tile): string {
  const mask = traceMask(maskMod), { b, h } = at;
  return classify(compileIntervals(mask), mask, {
    ...{ b: [b, b], h: [h, h] },
    ...{ q: [query, query + queries - 1], k: [key, key + keys - 1] },
  });
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

const tiles = fc.record({
  ...{ query: fc.nat(40), key: fc.nat(40) },
  ...{ queries: fc.integer({ min: 1, max: 16 }), keys: fc.integer({ min: 1, max: 16 }) },
});

test("intervals never say of a mask what its elements do not", () => {
  let known = 0;
  fc.assert(
    fc.property(fc.nat(), tiles, (seed, tile) => {
      const mask = randomMaskMod(seed), said = saidOf(mask, tile);
      if (said === "mixed") return;
      known++;
      assertEquals(isOf(mask, tile), said);
    }),
    always(3000),
  );
  assert(known > 300, `${known} tiles are known`);
});

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
