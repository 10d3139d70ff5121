import type { Kernels } from "../../src/wasm/binary/kernels.gen.ts";
import { alibiSlopes, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { mostDims } from "../../src/check/words.ts";
import type { Broadcast } from "../../src/tensor/tensor.ts";
import { type Cut, cutPlan, cutWave, partsOf, wavesOf } from "../../src/wasm/attention/jobs.ts";
import { intervalBytes } from "../../src/wasm/attention/key_intervals.ts";
import { writeCommon } from "../../src/wasm/attention/records.ts";
import type { HostPlan, Run } from "../../src/wasm/attention/run.ts";
import {
  measureJob,
  type Needs,
  panelBytes,
  type PlacedWave,
  placeWave,
  placeWaves,
  takeWorkspace,
  type Workspace,
} from "../../src/wasm/attention/workspace.ts";
import { instantiate } from "../../src/wasm/binary/module.ts";
import { Arena } from "../../src/wasm/memory/arena.ts";
import * as job from "../../src/wasm/record/job.gen.ts";
import { cacheStorageOf, JobRecord } from "../../src/wasm/record/job_record.ts";
import { always } from "../support/arbitrary.ts";
import { binaries } from "../support/binaries.ts";
import { anyPlanWithTerms, anyThreads, packedPlanOf, planOf, withTerm } from "../support/plan.ts";
import { longTest } from "../support/share.ts";

const memory = new WebAssembly.Memory({ initial: 16, maximum: 65535 });
const kernels = instantiate<Kernels>(new WebAssembly.Module(binaries.simd), memory);
const arena = new Arena(memory, kernels.heapBase() >>> 0, 65535 * 65536);

/** Plans, and how they are cut for some threads. */
const cases = fc.record({ plan: anyPlanWithTerms, threads: anyThreads })
  .map(({ plan, threads }) => ({ plan, cut: cutPlan(plan, threads) }));

/** What lives elsewhere and needs no place. */
type Elsewhere = Omit<Needs, "job">;

const elsewhere: fc.Arbitrary<Elsewhere> = fc.record({
  q: fc.boolean(),
  values: fc.boolean(),
  out: fc.boolean(),
  bias: fc.boolean(),
});

/** Where everything has to be brought into the workspace. */
const nowhere: Elsewhere = { q: false, values: false, out: false, bias: false };

/** What places of a call need, by the kernels and by what lives elsewhere. */
function needsOf(plan: HostPlan, cut: Cut, where: Elsewhere): Needs {
  const words = new Int32Array(job.words);
  const record = new JobRecord(words);
  writeCommon(record, 0, plan, cut);
  record.set(job.keys, cut.keys);
  return { ...where, job: measureJob(kernels, arena, words) };
}

test("tile memory of the largest dimensions is counted in 32 bits", () => {
  const sizesOf = (D: number, write: (record: JobRecord) => void) => {
    const plan = planOf({ Nq: 64, Nk: 5000, D, Dv: D }), words = new Int32Array(job.words);
    const record = new JobRecord(words), cut = cutPlan(plan, 1);
    writeCommon(record, 0, plan, { ...cut, members: 1 });
    record.set(job.keys, cut.keys);
    write(record);
    return measureJob(kernels, arena, words).scratch;
  };
  const kinds: Record<string, (record: JobRecord) => void> = {
    forward: () => {},
    gradients: (record) => {
      record.set(job.gradient, 1);
      record.set(job.tileKeys, 64);
    },
    decoding: (record) => {
      record.set(job.tokenBlocks, 1);
      record.set(job.blockStorage, cacheStorageOf.int8);
      record.set(job.tileKeys, 256);
    },
  };
  for (const [name, write] of Object.entries(kinds)) {
    const half = sizesOf(mostDims / 2, write), whole = sizesOf(mostDims, write);
    assert(whole > 1.9 * half, `${name}: ${whole} bytes, ${half} of half`);
  }
});

test("a call has room for as many keys as its segments have", () => {
  const plan = planOf({ Nq: 128, Nk: 2 ** 32, D: 64 }, { kvLengths: [4096] });
  const same = planOf({ Nq: 128, Nk: 4096, D: 64 });
  const sizes = (plan: HostPlan) => needsOf(plan, cutPlan(plan, 1), nowhere).job;
  assertEquals(sizes(plan), sizes(same));
});

test("panelBytes() is what tile memory grows by with each panel", () => {
  for (const [D, Dv] of [[64, 64], [1, 1], [33, 6], [300, 5]]) {
    const plan = planOf({ Nq: 1, D, Dv }), cut = cutPlan(plan, 1);
    const sizes = (rows: number) =>
      needsOf(plan, { ...cut, tiles: { rows, keys: 16 } }, nowhere).job;
    for (const rows of [1, 8, 9, 64]) {
      const panels = sizes(64 + Math.ceil(rows / 8) * 8).scratch - sizes(64).scratch;
      assertEquals(panelBytes(sizes(64), rows), panels, `${rows} rows of ${D} and ${Dv}`);
    }
  }
});

/** A place of a workspace: where it begins and how many bytes are needed there. */
type Place = readonly [at: number, bytes: number];

/** Bytes of a term's rows: the kernel reads `rowBytes` of the last, the others lie one behind another. */
function termBytes(
  plan: HostPlan,
  view: Broadcast | null,
  positions: number,
  stride: number,
  rowBytes: number,
): number {
  if (view === null) return 0;
  const rows = (view.strides[1] === 0 ? 1 : plan.group) * (view.strides[2] === 0 ? 1 : positions);
  return (rows - 1) * stride + rowBytes;
}

/** What the kernel reads of a bias: four keys at a time. */
function biasNeeds(plan: HostPlan, { segment, from, to }: Run): number {
  const row = Math.ceil(plan.segments[segment].keys / 4) * 16;
  return termBytes(plan, plan.bias, to - from, row, row);
}

/** What it reads of a mask: sixteen bytes at a time from any key on, or a word from any byte on. */
function maskNeeds(plan: HostPlan, { segment, from, to }: Run): number {
  const { keys } = plan.segments[segment];
  if (keys === 0) return 0;
  return plan.mask?.dtype === "bit"
    ? termBytes(plan, plan.mask, to - from, Math.ceil(keys / 8), Math.floor((keys - 1) / 8) + 4)
    : termBytes(plan, plan.mask, to - from, keys, keys + 15);
}

/** The places that the runs of a wave have. */
function placesOfRuns(
  { runs, places }: PlacedWave,
  plan: HostPlan,
  where: Needs,
): Place[] {
  const { dim, valueDim, group } = plan;
  return runs.flatMap((run, slot): Place[] => {
    const { keys, values, q, out, lse, panels, bias, mask, intervals } = places[slot];
    const rows = (run.to - run.from) * group, parts = partsOf(plan, run);
    const count = plan.segments[run.segment].keys;
    return [
      [keys, Math.ceil(count / 4) * dim * 16],
      [values, where.values ? 0 : Math.ceil(valueDim / 4) * count * 16],
      [q, where.q ? 0 : rows * dim * 4],
      [out, where.out ? 0 : rows * valueDim * 4],
      [lse, rows * 4],
      [panels, parts === 1 ? 0 : (parts + 1) * panelBytes(where.job, rows)],
      [bias, where.bias ? 0 : biasNeeds(plan, run)],
      [mask, maskNeeds(plan, run)],
      [intervals, intervalBytes(plan, run)],
    ];
  });
}

/** The places that all waves have together. */
function commonPlaces(space: Workspace, plan: HostPlan, cut: Cut): Place[] {
  const { dim, valueDim } = plan, tile = needsOf(plan, cut, nowhere).job.scratch;
  const keys = Math.max(0, ...plan.segments.map(({ keys }) => keys));
  assert(space.scratchStride >= tile && space.scratchStride % 16 === 0);
  return [
    [space.staging, Math.min(space.stagingRows, keys) * Math.max(dim, valueDim) * 4],
    [space.scratch, space.scratchStride * (cut.threads - 1) + tile],
    [space.slopes, (plan.slopes?.length ?? 0) * 4],
    [space.sinks, (plan.sinks?.length ?? 0) * 4],
  ];
}

/** Asserts that places are within a workspace, and none over another. */
function assertApart(places: readonly Place[], from: number, to: number): void {
  let end = from;
  for (const [at, bytes] of [...places].sort(([a], [b]) => a - b)) {
    if (bytes === 0) continue;
    assert(at >= end, `${end - at} bytes of one place over another`);
    assertEquals(at % 4, 0);
    end = at + bytes;
  }
  assert(end <= to, `${end - to} bytes too few`);
}

longTest(
  "takeWorkspace() has room for all that jobs read and write",
  () => {
    fc.assert(
      fc.property(cases, elsewhere, ({ plan, cut }, where) => {
        const needs = needsOf(plan, cut, where), space = takeWorkspace(arena, plan, cut, needs);
        // What is taken first is the begin; the arena adds up to a cache line.
        const from = space.staging, to = from + arena.usedBytes - 16;
        const common = commonPlaces(space, plan, cut), { packed, staged } = space;
        // All of a wave that does not pack is behind where heads are packed.
        const packedEnd = Math.min(...staged);
        assert(packed.every((at) => at <= packedEnd));
        let before: Place[] = [];
        for (const wave of placeWaves(plan, cut, needs, space)) {
          const records: Place = [wave.records, cutWave(wave, plan, cut).length * job.bytes];
          const places = [records, ...placesOfRuns(wave, plan, needs)];
          // While a wave runs the next one is staged, if there is a place for it.
          const others = staged.length === 1
            ? []
            : before.filter(([at]) => wave.packs || at >= packedEnd);
          assertApart([...common, ...places, ...others], from, to);
          before = places;
        }
        // Keys are packed four at a time.
        assert(space.stagingRows >= plan.keys || space.stagingRows % 4 === 0);
        space.free();
      }),
      always(300),
    );
  },
);

test("takeWorkspace() keeps slopes and sinks of all segments", () => {
  const alibi = alibiSlopes(6), sinks = { data: new Float32Array(6), shape: [6] };
  const plan = packedPlanOf([[3, 4], [5, 6], [0, 0]], { Hq: 6, D: 8 }, { alibi, sinks });
  const cut = cutPlan(plan, 1),
    space = takeWorkspace(arena, plan, cut, needsOf(plan, cut, nowhere));
  const places = commonPlaces(space, plan, cut);
  assertEquals(places.slice(2).map(([, bytes]) => bytes), [3 * 6 * 4, 6 * 4]);
  assertApart(places, space.staging, space.staging + arena.usedBytes - 16);
  space.free();
});

test("placeWave() has all runs one behind the other, each place on cache lines of its own", () => {
  const plan = packedPlanOf([[40, 30], [17, 9], [30, 50]], { Hq: 4, Hkv: 2, D: 16, Dv: 6 });
  const cut = { ...cutPlan(plan, 1), wave: { rows: 1e9, packedBytes: 1e9, jobs: 64 } };
  const [wave] = wavesOf(plan, cut);
  const needs = needsOf(plan, cut, nowhere);
  const { places, records, ends } = placeWave(plan, cut, needs, wave, 640, 64_000);
  assertEquals([wave.runs.length, places.length, records < ends[1]], [6, 6, true]);
  // 2 heads of 32, 12 and 52 keys of 16, and of 30, 9 and 50 values of 8.
  assertEquals(places.map(({ keys }) => keys - 640), [0, 3008, 6016, 7104, 8192, 13120]);
  assertEquals(ends[0] - 640, 2 * (32 + 12 + 52) * 64 + 2 * (960 + 320 + 1600));
  const { q, out, lse } = places[0];
  assertEquals([out - q, lse - out], [80 * 16 * 4, 80 * 6 * 4]);
});

test("takeWorkspace() has a second place only for what is staged ahead", () => {
  const second = (sizes: Parameters<typeof planOf>[0], threads: number) => {
    const plan = planOf(sizes), cut = cutPlan(plan, threads);
    const space = takeWorkspace(arena, plan, cut, needsOf(plan, cut, nowhere));
    space.free();
    return { staged: space.staged.length === 2, packed: space.packed.length === 2 };
  };
  const heads = { Hq: 4, Nq: 2048, Nk: 2048, D: 64 };
  assertEquals(second(heads, 2), { staged: true, packed: true });
  assertEquals(second(heads, 1), { staged: false, packed: false });
  assertEquals(second({ Nq: 9000, Nk: 9000, D: 64 }, 2), { staged: true, packed: false });
  assertEquals(second({ Nq: 64, Nk: 64, D: 64 }, 2), { staged: false, packed: false });
  // Two heads of 32 MiB: the second is not worth as much again.
  const large = { Hq: 2, Nq: 64, Nk: 65_536, D: 64 };
  assertEquals(second(large, 2), { staged: false, packed: false });
});

/** Most jobs of a wave: all of its records lie in linear memory at once. */
const some = [
  { Nq: 262_144, Nk: 1000, D: 8 },
  { Nq: 32_768, Nk: 1000, D: 64 },
  { Hq: 32, Nq: 300, D: 64 },
  { Hq: 16, Nq: 4096, D: 64 },
  { Hq: 200, Hkv: 1, Nq: 3000, Nk: 100, D: 16 },
  { B: 8, Hq: 64, Nq: 16, Nk: 10_000, D: 64 },
  { B: 64, Hq: 64, Nq: 4, Nk: 400, D: 8 },
].map((sizes) => ({ what: JSON.stringify(sizes), plan: planOf(sizes) }));

/** The same where segments, or members of a group, are many. */
const many = [
  { what: "2000 short sequences", plan: packedPlanOf(new Array(2000).fill([9, 9]), { D: 64 }) },
  {
    what: "300 members with masks of their own",
    plan: planOf({ Hq: 600, Hkv: 2, Nq: 40, D: 64 }, {
      blockMask: blockMask.causal({ queries: 40, heads: 600 }),
    }),
  },
  {
    what: "members of many heads",
    plan: planOf({ B: 4, Hq: 64, Hkv: 16, Nq: 100, D: 64 }, {
      blockMask: blockMask.causal({ queries: 100, heads: 64 }),
    }),
  },
];
const plans = [...some, ...many];

for (const threads of [1, 2, 3, 8, 16, 64, 200]) {
  test(`takeWorkspace() has a record for every job of a wave, ${threads} threads`, () => {
    for (const given of plans) {
      const { plan, what } = given, cut = cutPlan(plan, threads);
      const all = needsOf(plan, cut, { q: true, values: true, out: true, bias: true });
      const space = takeWorkspace(arena, plan, cut, all);
      for (const wave of placeWaves(plan, cut, all, space)) {
        const capacity = Math.floor((wave.ends[1] - wave.records) / job.bytes);
        const jobs = cutWave(wave, plan, cut).length;
        assert(jobs <= capacity, `${jobs} jobs, ${capacity} records: ${what}`);
      }
      space.free();
    }
  });
}

test("takeWorkspace() gives everything back", () => {
  const before = arena.usedBytes;
  const plan = planOf({ Nq: 100, Nk: 1000, D: 64 }), cut = cutPlan(plan, 2);
  const space = takeWorkspace(arena, plan, cut, needsOf(plan, cut, nowhere));
  assert(arena.usedBytes > before);
  space.free();
  space.free();
  assertEquals(arena.usedBytes, before);
});

/** Bytes of a workspace for one thread. */
function usedFor(plan: HostPlan, where: Elsewhere): number {
  const cut = cutPlan(plan, 1), space = takeWorkspace(arena, plan, cut, needsOf(plan, cut, where));
  const bytes = arena.usedBytes;
  space.free();
  return bytes;
}

test("takeWorkspace() takes no more for what is read and written in place", () => {
  const plan = planOf({ Nq: 1000, Nk: 1000, D: 64 }), full = [true, true, true, true];
  const biased = withTerm(plan, { full, dtype: "f32" });
  const saved = (plan: HostPlan, name: keyof Elsewhere) =>
    usedFor(plan, nowhere) - usedFor(plan, { ...nowhere, [name]: true });
  for (const name of ["q", "values", "out"] as const) assert(saved(plan, name) >= 200_000, name);
  assert(saved(biased, "bias") >= 2_000_000);
});
