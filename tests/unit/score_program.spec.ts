import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { evaluate } from "../../src/reference/scores.ts";
import { captured } from "../../src/scores/captured.ts";
import { traceMask, traceScore } from "../../src/scores/graph.ts";
import type { MaskMod, ScoreMod } from "../../src/scores/kinds.ts";
import { compile } from "../../src/scores/program.ts";
import { always } from "../support/arbitrary.ts";
import { normals, seeded } from "../support/random.ts";
import { scoreCases } from "../support/score_functions.ts";
import { ScoreMachine, type TilePlace } from "../support/score_machine.ts";
import { someFunctions } from "../support/written.ts";
import { longTest } from "../support/share.ts";

/** Asserts that a program does to a tile what its functions do to each score. */
function assertSame(
  scoreMod: ScoreMod | undefined,
  maskMod: MaskMod | undefined,
  place: TilePlace,
): void {
  const score = scoreMod && traceScore(scoreMod), mask = maskMod && traceMask(maskMod);
  const { b, h, query, key, queries, keys } = place;
  const scores = Float64Array.from(normals(queries * keys, seeded(query)));
  const machine = new ScoreMachine(compile(score, mask), { score, mask }, place);
  const expected = scores.map((own, element) => {
    const given = { b, h, q: query + element % queries, k: key + Math.floor(element / queries) };
    if (mask && !evaluate(mask, { ...given, score: 0 }).at(-1)) return -Infinity;
    return score ? evaluate(score, { ...given, score: own }).at(-1)! : own;
  });
  const got = machine.run(scores);
  const wrong = got.findIndex((x, at) => !Object.is(x + 0, expected[at] + 0));
  assert(wrong < 0, `score ${wrong} is ${got[wrong]}, expected ${expected[wrong]}`);
}

const places = fc.record({
  ...{ b: fc.nat(2), h: fc.nat(3), query: fc.nat(40), key: fc.nat(40) },
  ...{ queries: fc.integer({ min: 1, max: 8 }), keys: fc.integer({ min: 1, max: 12 }) },
});

longTest(
  "a program does to tiles what its functions do to each score",
  () => {
    fc.assert(
      fc.property(someFunctions, places, ({ scoreMod, maskMod }, place) => {
        assertSame(scoreMod, maskMod, place);
      }),
      always(1000),
    );
  },
);

longTest(
  "programs of functions that people write do the same",
  () => {
    for (const { read } of scoreCases) {
      const { functions: { scoreMod, maskMod } } = read();
      for (const [query, key] of [[0, 0], [0, 32], [40, 0], [24, 20]]) {
        assertSame(scoreMod, maskMod, { b: 1, h: 2, query, key, queries: 8, keys: 16 });
      }
    }
  },
);

const table = captured(new Float32Array(95), [95]), bias = captured(new Float32Array(12), [4, 3]);
const documents = captured(new Int32Array(48), [48]);

/** Names of kernels by what their numbers differ by. */
function kernelsOf(scoreMod?: ScoreMod, maskMod?: MaskMod): Readonly<Record<string, string[]>> {
  const program = compile(scoreMod && traceScore(scoreMod), maskMod && traceMask(maskMod));
  const { once, query, key, distance, score, mask } = program;
  const sections = Object.entries({ once, query, key, distance, score, mask });
  return Object.fromEntries(
    sections.filter(([, list]) => list.length > 0)
      .map(([name, list]) => [name, list.map(({ kernel }) => kernel)]),
  );
}

test("what does not differ by all is computed once for a query, a key, a distance or a job", () => {
  assertEquals(kernelsOf((score, { q, k }) => score.add(table.at(q.sub(k).add(47)))), {
    distance: ["iadd", "gather"],
    score: ["add"],
  });
  assertEquals(kernelsOf((score, { h, q, k }) => score.add(table.at(h).mul(k.sub(q).toF32()))), {
    once: ["gather"],
    distance: ["ineg", "toF32", "mul"],
    score: ["add"],
  });
  assertEquals(kernelsOf((score, { h, k }) => score.mul(bias.at(h, k)).add(1)), {
    once: ["iclamp", "imul"],
    key: ["iclamp", "iadd", "gather"],
    score: ["fma"],
  });
  assertEquals(kernelsOf((score) => score.div(3).tanh().mul(3)), { score: ["div", "tanh", "mul"] });
  assertEquals(kernelsOf(() => 0), { score: ["copy"] });
  assertEquals(kernelsOf((score) => score), {});
});

test("conditions that are joined mask scores one by one, comparisons as they compare", () => {
  const mask: MaskMod = ({ q, k }) =>
    documents.at(q).eq(documents.at(k)).and(q.sub(k).le(9)).and(q.ge(k));
  assertEquals(kernelsOf(undefined, mask), {
    query: ["gather"],
    key: ["gather"],
    distance: ["ile"],
    mask: ["mask ieq", "mask", "mask ige"],
  });
  assertEquals(kernelsOf(undefined, ({ q, k }) => q.lt(3).or(q.ge(k)).not()), {
    query: ["ilt"],
    mask: ["ige", "or", "not", "mask"],
  });
});

test("temporaries are used again", () => {
  const long = compile(
    traceScore((score) => {
      let sum = score.exp();
      for (let at = 0; at < 100; at++) sum = sum.add(score.mul(at).tanh());
      return sum;
    }),
    undefined,
  );
  assert(long.registers.tile <= 4, `${long.registers.tile} registers`);
});
