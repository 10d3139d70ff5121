import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  chooseTiles,
  type Cut,
  cutPlan,
  cutWave,
  keysPerPart,
  type Piece,
  type Wave,
  wavesOf,
} from "../../src/wasm/jobs.ts";
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

const threads = fc.constantFrom(1, 1, 2, 3, 4, 8, 16);

/** Plans whose waves are few enough to look at each. */
const smallPlans = fc.record({
  B: fc.integer({ min: 0, max: 4 }),
  Hkv: fc.integer({ min: 1, max: 8 }),
  group: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(16, 17, 64, 65, 200)),
  Nq: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 4000 })),
  Nk: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 20_000 })),
  D: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.constantFrom(512, 3000)),
  Dv: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.constantFrom(512, 3000)),
}).map(({ group, ...sizes }) => planOf({ ...sizes, Hq: sizes.Hkv * group }));

test("wavesOf() covers every query position of every head once, in order", () => {
  fc.assert(
    fc.property(smallPlans, threads, (plan, threads) => {
      const cut = cutPlan(plan, threads);
      const next = new Map<string, number>();
      for (const { runs } of wavesOf(plan, cut)) {
        assert(runs.length >= 1 && runs.length <= cut.heads);
        for (const { batch, keyHead, from, to } of runs) {
          const head = `${batch}, ${keyHead}`;
          assertEquals(from, next.get(head) ?? 0);
          assert(to > from && to - from <= cut.positions);
          assert(batch < plan.batch && keyHead < plan.keyHeads);
          next.set(head, to);
        }
      }
      assertEquals(next.size, plan.queries === 0 ? 0 : plan.batch * plan.keyHeads);
      assert([...next.values()].every((end) => end === plan.queries));
    }),
    runs(200),
  );
});

test("wavesOf() packs a head with its first wave, and keeps it for those that follow", () => {
  fc.assert(
    fc.property(smallPlans, threads, (plan, threads) => {
      let packed = "";
      for (const { runs, packs } of wavesOf(plan, cutPlan(plan, threads))) {
        const heads = JSON.stringify(runs.map(({ batch, keyHead }) => [batch, keyHead]));
        if (packs) packed = heads;
        assertEquals(packs, runs[0].from === 0);
        assertEquals(heads, packed);
      }
    }),
    runs(200),
  );
});

test("cutPlan() bounds the bytes and the work of a wave", () => {
  fc.assert(
    fc.property(plans, threads, (plan, threads) => {
      const { dim, valueDim, group, keys, queries } = plan;
      const { positions, heads, ...cut } = cutPlan(plan, threads);
      assert(Number.isSafeInteger(positions) && Number.isSafeInteger(heads));
      assert(positions >= Math.min(1, queries) && positions <= queries);
      assert(heads >= 1 && (heads === 1 || positions === queries));
      const rows = positions * group * heads;
      const panel = Math.max(1, Math.floor(8 / group)), least = positions <= panel && heads === 1;
      const bytes = rows * Math.max(dim, valueDim) * 4;
      assert(least || bytes <= cut.threads * 512 * 1024, `${bytes} bytes`);
      const work = rows * keys * (dim + valueDim);
      assert(least || work <= cut.threads * 500e6, `${work} multiply-adds`);
      const packed = heads * keys * (dim + valueDim) * 4;
      assert(heads === 1 || packed <= cut.threads * 1024 * 1024, `${packed} bytes packed`);
    }),
    runs(500),
  );
});

test("cutPlan() fills whole tiles where a wave has room for one", () => {
  for (const [Nq, Nk, D, Hq] of [[5000, 5000, 64, 1], [5000, 5000, 64, 8], [9000, 100, 128, 3]]) {
    const rows = cutPlan(planOf({ Nq, Nk, D, Hq, Hkv: 1 }), 1).positions * Hq;
    assert(Math.ceil(rows / 64) * 64 - rows < Hq, `${rows} rows`);
  }
});

test("cutPlan() leaves small work to one thread, and large work to all", () => {
  assertEquals(cutPlan(planOf({ Hq: 2, Nq: 16, Nk: 100, D: 64 }), 4).threads, 1);
  assertEquals(cutPlan(planOf({ Hq: 4, Nq: 300, D: 64 }), 4).threads, 4);
  assertEquals(cutPlan(planOf({ Hq: 4, Nq: 300, D: 64 }), 1).threads, 1);
});

test("cutPlan() takes several heads in a wave for several threads alone", () => {
  const plan = planOf({ B: 2, Hq: 8, Nq: 100, D: 64 });
  assertEquals(cutPlan(plan, 1).heads, 1);
  assert(cutPlan(plan, 4).heads > 1);
});

test("cutPlan() splits the keys of heads of at most 16 rows, for any threads alike", () => {
  const cases: [Hq: number, Nq: number, Nk: number, parts: number][] = [
    [1, 16, 2048, 1],
    [1, 16, 2049, 2],
    [1, 1, 10_000, 5],
    [16, 1, 4096, 2],
    [4, 4, 4097, 3],
    [1, 17, 10_000, 1],
    [17, 1, 10_000, 1],
    [8, 3, 10_000, 1],
  ];
  for (const [Hq, Nq, Nk, parts] of cases) {
    for (const threads of [1, 2, 3, 16]) {
      const plan = planOf({ B: 3, Hq, Hkv: 1, Nq, Nk, D: 64 });
      assertEquals(cutPlan(plan, threads).parts, parts, `${Hq}, ${Nq}, ${Nk}, ${threads}`);
    }
  }
  // Panels are packed four keys at a time, so a part begins with one.
  assertEquals(keysPerPart % 4, 0);
});

/** Every row of a wave as `slot, position, part`, as its jobs have them. */
function rowsOf(pieces: readonly Piece[]): string[] {
  return pieces.flatMap(({ slot, from, to, part }) =>
    Array.from({ length: to - from }, (_, at) => `${slot}, ${from + at}, ${part}`)
  );
}

function expectedRows({ runs }: Wave, { parts }: Cut): string[] {
  return runs.flatMap(({ from, to }, slot) =>
    Array.from({ length: parts }, (_, part) => rowsOf([{ slot, from, to, part }])).flat()
  );
}

test("cutWave() gives every position and part of a wave to one job", () => {
  fc.assert(
    fc.property(smallPlans, threads, (plan, threads) => {
      const cut = cutPlan(plan, threads);
      for (const wave of wavesOf(plan, cut)) {
        const pieces = cutWave(wave, plan.group, cut);
        assert(pieces.every(({ from, to }) => to > from));
        assertEquals(rowsOf(pieces).sort(), expectedRows(wave, cut).sort());
        break; // The first: the others differ in their heads alone, but for the last.
      }
    }),
    runs(150),
  );
});

test("cutWave() puts the parts of a slot behind one another, as they are merged", () => {
  const plan = planOf({ B: 2, Hq: 8, Nq: 3, Nk: 10_000, D: 32 });
  for (const threads of [1, 3]) {
    const cut = cutPlan(plan, threads);
    for (const wave of wavesOf(plan, cut)) {
      const places = cutWave(wave, plan.group, cut).map(({ slot, part }) => slot * 5 + part);
      assertEquals(places, places.map((_, at) => at));
    }
  }
});

test("cutWave() leaves a wave in one job per head for one thread", () => {
  const plan = planOf({ Hq: 3, Nq: 500, D: 64 });
  const cut = cutPlan(plan, 1);
  for (const wave of wavesOf(plan, cut)) assertEquals(cutWave(wave, plan.group, cut).length, 1);
});

test("cutWave() makes jobs smaller towards the end, so that threads finish together", () => {
  for (const threads of [2, 3, 8]) {
    const plan = planOf({ Nq: 4096, Nk: 512, D: 64 });
    const cut = cutPlan(plan, threads);
    const [wave] = wavesOf(plan, cut);
    const rows = cutWave(wave, plan.group, cut).map(({ from, to }) => to - from);
    rows.forEach((count, at) => assert(at === 0 || count <= rows[at - 1]));
    assert(rows.length >= 2 * threads && rows.at(-1)! <= 8, `${rows}`);
  }
});
