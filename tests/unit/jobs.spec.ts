import { blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import {
  chooseTiles,
  type Cut,
  cutPlan,
  cutWave,
  jobsPerWave,
  type Load,
  partsOf,
  type Piece,
  type Wave,
  wavesOf,
} from "../../src/wasm/attention/jobs.ts";
import type { HostPlan, Run } from "../../src/wasm/attention/run.ts";
import { termBytesPerPosition } from "../../src/wasm/attention/terms.ts";
import { keysPerPart } from "../../src/wasm/record/job_record.ts";
import { always } from "../support/arbitrary.ts";
import {
  anyPlan,
  anyPlanWithTerms,
  anyThreads,
  type Lengths,
  packedPlanOf,
  planOf,
} from "../support/plan.ts";
import { longTest } from "../support/share.ts";

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
    always(300),
  );
});

test("chooseTiles() keeps the keys and values of a tile in 96 KiB", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const { keys } = chooseTiles(plan);
      const bytes = keys * (plan.dim + plan.valueDim) * 4;
      assert(keys <= 16 || bytes <= 96 * 1024, `${bytes} bytes`);
    }),
    always(300),
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

longTest(
  "wavesOf() covers every query position of every head once, in order",
  () => {
    fc.assert(
      fc.property(anyPlan, anyThreads, (plan, threads) => {
        const cut = cutPlan(plan, threads);
        const next = new Map<string, number>();
        for (const { runs } of wavesOf(plan, cut)) {
          for (const { segment, keyHead, from, to } of runs) {
            const head = `${segment}, ${keyHead}`;
            assertEquals(from, next.get(head) ?? 0);
            assert(to > from && to - from <= cut.positions);
            next.set(head, to);
          }
        }
        for (const [segment, { queries }] of plan.segments.entries()) {
          for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) {
            assertEquals(next.get(`${segment}, ${keyHead}`) ?? 0, queries);
          }
        }
      }),
      always(200),
    );
  },
);

longTest(
  "wavesOf() packs a head with its first wave, and keeps it for those that follow",
  () => {
    fc.assert(
      fc.property(anyPlan, anyThreads, (plan, threads) => {
        let packed = "";
        for (const { runs, packs } of wavesOf(plan, cutPlan(plan, threads))) {
          const heads = JSON.stringify(runs.map(({ segment, keyHead }) => [segment, keyHead]));
          if (packs) packed = heads;
          assertEquals(packs, runs[0].from === 0);
          assertEquals(heads, packed);
        }
      }),
      always(200),
    );
  },
);

/** What runs carry together. */
function loadOf(plan: HostPlan, { members }: Cut, runs: readonly Run[]): Load {
  const sum = (of: (run: Run) => number) => runs.reduce((total, run) => total + of(run), 0);
  const perKey = (plan.dim + plan.valueDim) * 4;
  return {
    rows: sum(({ from, to }) => (to - from) * plan.group),
    packedBytes: sum(({ segment }) => plan.segments[segment].keys * perKey),
    jobs: sum((run) => partsOf(plan, run) * members),
  };
}

function fits({ rows, packedBytes, jobs }: Load, most: Load): boolean {
  return rows <= most.rows && packedBytes <= most.packedBytes && jobs <= most.jobs;
}

longTest(
  "wavesOf() gathers whole heads as long as a wave may have them, and no longer",
  () => {
    let gathered = 0;
    fc.assert(
      fc.property(anyPlan, anyThreads, (plan, threads) => {
        const cut = cutPlan(plan, threads), waves = [...wavesOf(plan, cut)];
        const isWhole = ({ segment, from, to }: Run) =>
          from === 0 && to === plan.segments[segment].queries;
        const splits = ({ runs }: Wave) => partsOf(plan, runs[0]) > 1;
        // Parts of keys are small jobs: there may be more of them.
        const mostOf = (wave: Wave): Load =>
          splits(wave) ? { ...cut.wave, jobs: jobsPerWave } : cut.wave;
        for (const [at, wave] of waves.entries()) {
          const { runs } = wave;
          if (runs.length > 1) {
            gathered++;
            assert(runs.every(isWhole) && fits(loadOf(plan, cut, runs), mostOf(wave)));
            assertEquals(new Set(runs.map((run) => partsOf(plan, run) > 1)).size, 1);
          }
          const next = waves[at + 1];
          if (next === undefined || splits(wave) !== splits(next)) continue;
          if (![...runs, ...next.runs].every(isWhole)) continue;
          assert(!fits(loadOf(plan, cut, [...runs, next.runs[0]]), mostOf(wave)));
        }
      }),
      always(200),
    );
    assert(gathered > 40, `${gathered}`);
  },
);

test("wavesOf() takes many short sequences together, for one thread as many as stay in L2", () => {
  const plan = packedPlanOf(new Array(300).fill([40, 40]), { D: 16 });
  const alone = [...wavesOf(plan, cutPlan(plan, 1))];
  assertEquals(alone.map(({ runs }) => runs.length), new Array(50).fill(6));
  const waves = [...wavesOf(plan, cutPlan(plan, 2))];
  assertEquals(waves.map(({ runs }) => runs.length), [64, 64, 64, 64, 44]);
});

test("wavesOf() keeps heads whose keys are split apart from others, which are cut otherwise", () => {
  const lengths: Lengths[] = [[300, 4000], [2, 9000], [3, 5000], [300, 400], [9, 9]];
  const plan = packedPlanOf(lengths, { D: 4 });
  const segments = [...wavesOf(plan, cutPlan(plan, 2))].map(({ runs }) =>
    runs.map(({ segment }) => segment)
  );
  assertEquals(segments, [[0], [1, 2], [3, 4]]);
});

test("wavesOf() leaves out sequences without a query, not those without a key", () => {
  const plan = packedPlanOf([[0, 5], [2, 0], [0, 0], [1, 3], [0, 1]], { D: 4 });
  const segments = [...wavesOf(plan, cutPlan(plan, 1))].flatMap(({ runs }) =>
    runs.map(({ segment }) => segment)
  );
  assertEquals(segments, [1, 3]);
});

longTest(
  "cutPlan() bounds the bytes and the work of a wave",
  () => {
    fc.assert(
      fc.property(fc.oneof(plans, anyPlanWithTerms), anyThreads, (plan, threads) => {
        const { dim, valueDim, group } = plan;
        const { positions, wave, ...cut } = cutPlan(plan, threads);
        const longest = Math.max(0, ...plan.segments.map(({ queries }) => queries));
        const keys = Math.max(0, ...plan.segments.map(({ keys }) => keys));
        assert(Number.isSafeInteger(positions));
        assert(positions >= Math.min(1, longest) && positions <= longest);
        if (cut.threads === 1) assert(wave.rows <= 256 && wave.packedBytes <= 2 ** 16);
        const assertBounded = (rows: number) => {
          const bytes = rows * Math.max(dim, valueDim) * 4;
          assert(bytes <= cut.threads * 512 * 1024, `${bytes} bytes`);
          const work = rows * keys * (dim + valueDim);
          assert(work <= cut.threads * 500e6, `${work} multiply-adds`);
          const terms = rows / group * termBytesPerPosition(plan);
          assert(terms <= cut.threads * 2 ** 21, `${terms} bytes of terms`);
        };
        const panel = Math.max(1, Math.floor(8 / group));
        if (positions > panel) assertBounded(positions * group);
        assertBounded(Math.floor(wave.rows));
        if (cut.threads > 1) assertEquals(wave.packedBytes, cut.threads * 1024 * 1024);
      }),
      always(500),
    );
  },
);

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
  // What counts is what sequences see, not all queries times all keys.
  assertEquals(cutPlan(packedPlanOf(new Array(100).fill([3, 3]), { D: 64 }), 4).threads, 1);
  assertEquals(cutPlan(packedPlanOf([[300, 300], [0, 0]], { D: 64 }), 4).threads, 4);
  const narrow = planOf({ Hq: 4, Nq: 300, D: 64 }, { window: [3, 0] });
  assertEquals(cutPlan(narrow, 4).threads, 1);
});

test("cutPlan() gives query heads jobs of their own where their block masks differ", () => {
  const membersOf = (heads: number, Hq: number, Hkv: number) => {
    const mask = blockMask.causal({ queries: 9, heads });
    return cutPlan(planOf({ Hq, Hkv, Nq: 9, D: 4 }, { blockMask: mask }), 1).members;
  };
  assertEquals([membersOf(1, 6, 2), membersOf(6, 6, 2), membersOf(6, 6, 6)], [1, 3, 1]);
  assertEquals(cutPlan(planOf({ Hq: 6, Hkv: 2, Nq: 9, D: 4 }), 1).members, 1);
});

/** Parts of the keys of each segment. */
function partsOfAll(plan: HostPlan): number[] {
  return plan.segments.map((_, segment) => partsOf(plan, { segment }));
}

test("partsOf() splits the keys of heads of at most 16 rows", () => {
  const cases: [Hq: number, Nq: number, Nk: number, parts: number][] = [
    [1, 16, 2048, 1],
    [1, 16, 2049, 2],
    [1, 1, 10_000, 5],
    [16, 1, 4096, 2],
    [4, 4, 4097, 3],
    [1, 17, 10_000, 1],
    [17, 1, 10_000, 1],
    [8, 3, 10_000, 1],
    [1, 1, 0, 1],
  ];
  for (const [Hq, Nq, Nk, parts] of cases) {
    const plan = planOf({ B: 2, Hq, Hkv: 1, Nq, Nk, D: 64 });
    assertEquals(partsOfAll(plan), [parts, parts], `${Hq}, ${Nq}, ${Nk}`);
  }
  // Panels are packed four keys at a time, so a part begins with one; masks are read by whole bytes.
  assertEquals(keysPerPart % 8, 0);
});

test("partsOf() looks at a segment alone, and at the keys that count in it", () => {
  const packed = packedPlanOf([[1, 5000], [17, 5000], [16, 2048], [2, 2049]], { D: 8 });
  assertEquals(partsOfAll(packed), [3, 1, 1, 2]);
  const batches = planOf({ B: 3, Nq: 1, Nk: 5000, D: 8 }, { kvLengths: [0, 2048, 4097] });
  assertEquals(partsOfAll(batches), [1, 1, 3]);
});

test("partsOf() is 1 where a block mask says which keys are visited", () => {
  const mask = blockMask.causal({ queries: 1, keys: 5000 });
  assertEquals(partsOfAll(planOf({ Nq: 1, Nk: 5000, D: 8 }, { blockMask: mask })), [1]);
});

/** Every row of a wave as `slot, member, position, part`, as its jobs have them. */
function rowsOf(pieces: readonly Piece[]): string[] {
  return pieces.flatMap(({ slot, member, from, to, part }) =>
    Array.from({ length: to - from }, (_, at) => `${slot}, ${member}, ${from + at}, ${part}`)
  );
}

function expectedRows({ runs }: Wave, plan: HostPlan, { members }: Cut): string[] {
  const count = (length: number) => Array.from({ length }, (_, at) => at);
  return runs.flatMap((run, slot) =>
    count(partsOf(plan, run)).flatMap((part) =>
      count(members).flatMap((member) => rowsOf([{ ...run, slot, member, part }]))
    )
  );
}

longTest(
  "cutWave() gives every position, member and part of a wave to one job",
  () => {
    fc.assert(
      fc.property(anyPlan, anyThreads, (plan, threads) => {
        const cut = cutPlan(plan, threads), waves = [...wavesOf(plan, cut)];
        // The first, the last, and some between: the others are like them.
        const step = Math.max(1, Math.floor(waves.length / 4));
        for (const wave of waves.filter((_, at) => at % step === 0 || at === waves.length - 1)) {
          const pieces = cutWave(wave, plan, cut);
          assert(pieces.every(({ from, to }) => to > from));
          assertEquals(rowsOf(pieces).sort(), expectedRows(wave, plan, cut).sort());
        }
      }),
      always(150),
    );
  },
);

test("cutWave() puts the parts of a slot behind one another, as they are merged", () => {
  const plan = planOf({ B: 2, Hq: 8, Nq: 3, Nk: 10_000, D: 32 });
  for (const threads of [1, 3]) {
    const cut = cutPlan(plan, threads);
    for (const wave of wavesOf(plan, cut)) {
      const places = cutWave(wave, plan, cut).map(({ slot, part }) => slot * 5 + part);
      assertEquals(places, places.map((_, at) => at));
    }
  }
});

test("cutWave() leaves a wave in one job per head for one thread", () => {
  const plan = planOf({ Hq: 3, Nq: 500, D: 64 });
  const cut = cutPlan(plan, 1);
  for (const wave of wavesOf(plan, cut)) assertEquals(cutWave(wave, plan, cut).length, 1);
});

test("cutWave() makes jobs smaller towards the end, so that threads finish together", () => {
  for (const threads of [2, 3, 8]) {
    const plan = planOf({ Nq: 4096, Nk: 512, D: 64 });
    const cut = cutPlan(plan, threads);
    const [wave] = wavesOf(plan, cut);
    const rows = cutWave(wave, plan, cut).map(({ from, to }) => to - from);
    rows.forEach((count, at) => assert(at === 0 || count <= rows[at - 1]));
    assert(rows.length >= 2 * threads && rows.at(-1)! <= 8, `${rows}`);
  }
});
