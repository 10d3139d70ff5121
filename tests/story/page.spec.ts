import { test } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { algorithmOf, algorithms } from "../../examples/story/chapters.ts";
import { record, wordsOf } from "../../examples/story/page/film.ts";
import { type Place, placeAll } from "../../examples/story/page/places.ts";
import { always } from "../support/arbitrary.ts";
import { longTest } from "../support/share.ts";

const sizes = { n: 40, d: 4, m: 100 };

test("record() keeps every move, and what has been counted after it", () => {
  for (const algorithm of algorithms) {
    const { made, steps, freed, most, matrices } = record(algorithm, sizes);
    const { reads, writes } = steps.at(-1)!;
    assertEquals({ reads, writes }, algorithm.traffic(sizes), algorithm.title);
    assert(most <= sizes.m);
    assert(matrices.length > 2);
    for (let at = 1; at < steps.length; at++) {
      const { reads, writes } = steps[at], before = steps[at - 1];
      assert(reads >= before.reads && writes >= before.writes);
    }
    // What is taken is given back.
    const ofSteps = steps.flatMap(({ freed, move, made }) => [...freed, move, ...made]);
    const moves = [...made, ...ofSteps, ...freed];
    const count = (...kinds: string[]) => moves.filter(({ kind }) => kinds.includes(kind)).length;
    assertEquals(count("load", "make"), count("free"), algorithm.title);
  }
});

longTest(
  "record() refuses more moves than can be shown",
  () => {
    const many = { n: 256, d: 16, m: 112 };
    assertThrows(() => record(algorithmOf("naive"), many), RangeError, "take a larger M");
  },
);

test("wordsOf() names the part that moves", () => {
  const { steps } = record(algorithmOf("naive"), sizes);
  assertEquals(wordsOf(steps[0].move), "read Q[0…5]: 24 numbers");
  assertEquals(wordsOf(steps[2].move), "write S[0…5][0…3]: 24 numbers");
});

const thing = fc.record({
  rows: fc.integer({ min: 1, max: 500 }),
  columns: fc.integer({ min: 1, max: 500 }),
});

function overlap(a: Place, b: Place): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

test("placeAll() places everything inside the area, and nothing on something else", () => {
  const area = { x: 7, y: 9, width: 330, height: 260 };
  fc.assert(
    fc.property(fc.array(thing, { maxLength: 12 }), (things) => {
      const named = things.map((one, index) => ({ ...one, name: `m${index}` }));
      const places = [...placeAll(named, area, 4).of.values()];
      assertEquals(places.length, things.length);
      for (const [index, { x, y, width, height }] of places.entries()) {
        assert(x >= 7 && y >= 9 && x + width <= 337.01 && y + height <= 269.01);
        for (const other of places.slice(index + 1)) assert(!overlap(places[index], other));
      }
    }),
    always(50),
  );
});
