import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { chooseTiles, headsOf, positionsPerJob, runsOf } from "../../src/wasm/jobs.ts";
import { runs } from "../support/arbitrary.ts";
import { planOf } from "../support/plan.ts";

/** Sizes far beyond what tests can compute. */
const plans = fc.record({
  B: fc.integer({ min: 0, max: 4 }),
  Hkv: fc.integer({ min: 1, max: 8 }),
  group: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(64, 65, 200)),
  Nq: fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 200_000 })),
  Nk: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 2_000_000 })),
  D: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(512, 1024, 70_000)),
  Dv: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(512, 1024, 70_000)),
}).map(({ group, ...sizes }) => planOf({ ...sizes, Hq: sizes.Hkv * group }));

test("chooseTiles() gives tiles of whole panels that hold no more than the plan", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { rows, keys } = chooseTiles(plan);
      assertEquals([rows % 8, keys % 4], [0, 0]);
      assert(rows >= 8 && rows <= 64);
      assert(keys >= 4 && keys <= 256);
      assert(rows < Math.max(1, plan.queries * plan.group) + 8);
      assert(keys < plan.keys + 4);
    }),
    runs(300),
  );
});

test("chooseTiles() keeps the keys and values of a tile in 96 KiB", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { keys } = chooseTiles(plan);
      const bytes = keys * (plan.dim + plan.valueDim) * 4;
      assert(keys <= 16 || bytes <= 96 * 1024, `${bytes} bytes`);
    }),
    runs(300),
  );
});

test("chooseTiles() cuts the keys of a head alike whatever queries there are", () => {
  // Else rows would not have the same bits in another batch, split or group.
  for (const [D, Nk] of [[64, 1000], [128, 300], [20, 50]]) {
    const keys = new Set<number>();
    for (const Nq of [1, 7, 64, 1000]) {
      for (const Hq of [1, 2, 8]) keys.add(chooseTiles(planOf({ Nq, Nk, D, Hq, Hkv: 1 })).keys);
    }
    assertEquals(keys.size, 1);
  }
});

test("runsOf() covers every query position once, in order", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      let next = 0;
      for (const { from, to } of runsOf(plan)) {
        assertEquals(from, next);
        assert(to > from && to - from <= positionsPerJob(plan));
        next = to;
      }
      assertEquals(next, plan.queries);
    }),
    runs(200),
  );
});

test("positionsPerJob() bounds the bytes and the work of a job", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { dim, valueDim, group, keys, queries } = plan;
      const positions = positionsPerJob(plan);
      assert(Number.isSafeInteger(positions));
      assert(positions >= Math.min(1, queries) && positions <= queries);
      const tile = Math.max(1, Math.floor(64 / group));
      const bytes = positions * group * Math.max(dim, valueDim) * 4;
      assert(positions <= 1 || bytes <= 256 * 1024, `${bytes} bytes`);
      const work = positions * group * keys * (dim + valueDim);
      assert(positions <= tile || work <= 250e6, `${work} multiply-adds`);
    }),
    runs(300),
  );
});

test("positionsPerJob() fills whole tiles where a job has room for one", () => {
  for (const [Nq, Nk, D, Hq] of [[5000, 5000, 64, 1], [5000, 5000, 64, 8], [900, 100, 128, 3]]) {
    const positions = positionsPerJob(planOf({ Nq, Nk, D, Hq, Hkv: 1 }));
    assertEquals(positions % Math.floor(64 / Hq), 0);
  }
});

test("headsOf() visits every key/value head of every batch once", () => {
  const heads = [...headsOf(planOf({ B: 2, Hq: 6, Hkv: 3, Nq: 1, D: 1 }))];
  assertEquals(heads.map(({ batch, keyHead }) => [batch, keyHead]), [
    [0, 0],
    [0, 1],
    [0, 2],
    [1, 0],
    [1, 1],
    [1, 2],
  ]);
});
