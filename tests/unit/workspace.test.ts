import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AttentionPlan } from "../../src/plan.ts";
import { Arena } from "../../src/wasm/arena.ts";
import { encodeJob, type Job, jobBytes } from "../../src/wasm/job_record.ts";
import { type Cut, cutPlan, cutWave, wavesOf } from "../../src/wasm/jobs.ts";
import { binaryBytes, instantiate } from "../../src/wasm/module.ts";
import {
  type Elsewhere,
  scratchBytes,
  takeWorkspace,
  type Workspace,
} from "../../src/wasm/workspace.ts";
import { runs } from "../support/arbitrary.ts";
import { planOf } from "../support/plan.ts";

const memory = new WebAssembly.Memory({ initial: 16, maximum: 65535 });
const kernels = instantiate(new WebAssembly.Module(binaryBytes("simd")), memory);
const arena = new Arena(memory, kernels.heapBase() >>> 0, 65535 * 65536);

/** Plans, and how they are cut for some threads. */
const cases = fc.record({
  Hkv: fc.integer({ min: 1, max: 9 }),
  group: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(64, 65, 200)),
  Nq: fc.oneof(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 1, max: 20_000 })),
  Nk: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 9000 })),
  D: fc.oneof(fc.integer({ min: 1, max: 130 }), fc.constantFrom(256, 700, 3000)),
  Dv: fc.oneof(fc.integer({ min: 1, max: 130 }), fc.constantFrom(256, 700, 3000)),
  threads: fc.constantFrom(1, 1, 2, 3, 8),
}).map(({ threads, group, ...sizes }) => {
  const plan = planOf({ ...sizes, Hq: sizes.Hkv * group });
  return { plan, cut: cutPlan(plan, threads) };
});

const elsewhere = fc.record({ q: fc.boolean(), values: fc.boolean(), out: fc.boolean() });

/** Bytes that the kernel says its tile memory takes. */
function kernelScratchBytes(job: Partial<Job>, at: number): number {
  new Int32Array(memory.buffer, at).set(encodeJob(job, 1));
  return kernels.scratchBytes(at) >>> 0;
}

/** The end of the block that a workspace lies in, without the bytes that the arena adds. */
function endOf(space: Workspace): number {
  return space.staging + arena.usedBytes - 64;
}

test("scratchBytes() is what the kernel says its tile memory takes", () => {
  const at = arena.allocate(jobBytes);
  fc.assert(
    fc.property(cases, ({ plan, cut }) => {
      const { dim, valueDim } = plan, { tiles } = cut;
      const job = { dim, valueDim, tileRows: tiles.rows, tileKeys: tiles.keys };
      assertEquals(scratchBytes(plan, cut), kernelScratchBytes(job, at));
    }),
    runs(400),
  );
  arena.free(at);
});

/** The places that a wave has: where each begins and how many bytes it needs. */
function placesOf(
  { packed, staged, ...space }: Workspace,
  copy: 0 | 1,
  plan: AttentionPlan,
  cut: Cut,
  where: Elsewhere,
): [at: number, bytes: number][] {
  const { keys, dim, valueDim, group } = plan, { heads, parts, threads } = cut;
  const rows = cut.positions * heads * group;
  const { keys: keysAt, values } = packed[copy % packed.length];
  const { records, q, out, lse, panels: panelsAt } = staged[copy % staged.length];
  const packedKeys = Math.ceil(keys / 4) * dim * 16;
  const packedValues = where.values ? 0 : Math.ceil(valueDim / 4) * keys * 16;
  const tile = scratchBytes(plan, cut), panels = tile - cut.tiles.keys * 32;
  const all = (stride: number, count: number, bytes: number) => {
    assert(count === 1 || stride >= bytes && stride % 16 === 0);
    return stride * (count - 1) + bytes;
  };
  return [
    [records, heads * parts * jobBytes],
    [keysAt, all(space.keysStride, heads, packedKeys)],
    [values, all(space.valuesStride, heads, packedValues)],
    [space.staging, Math.min(space.stagingRows, keys) * Math.max(dim, valueDim) * 4],
    [q, where.q ? 0 : rows * dim * 4],
    [out, where.out ? 0 : rows * valueDim * 4],
    [lse, rows * 4],
    [panelsAt, parts === 1 ? 0 : all(space.panelsStride, heads * parts, panels)],
    [space.scratch, all(space.scratchStride, threads, tile)],
  ];
}

test("takeWorkspace() has room for all that jobs read and write", () => {
  fc.assert(
    fc.property(cases, elsewhere, ({ plan, cut }, where) => {
      const space = takeWorkspace(arena, plan, cut, where);
      const copies = ([0, 1] as const).flatMap((copy) => placesOf(space, copy, plan, cut, where));
      const places = new Map(copies.filter(([, bytes]) => bytes > 0));
      let end = 0;
      for (const [at, bytes] of [...places].sort(([a], [b]) => a - b)) {
        assert(at >= end && at % 16 === 0);
        end = at + bytes;
      }
      assert(end <= endOf(space), `${end - endOf(space)} bytes too few`);
      // Keys are packed four at a time.
      assert(space.stagingRows >= plan.keys || space.stagingRows % 4 === 0);
      space.free();
    }),
    runs(400),
  );
});

test("takeWorkspace() has a second place only for what is staged ahead", () => {
  const where = { q: false, values: false, out: false };
  const second = (sizes: Parameters<typeof planOf>[0], threads: number) => {
    const plan = planOf(sizes), space = takeWorkspace(arena, plan, cutPlan(plan, threads), where);
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
const sizes = [
  { Nq: 262_144, Nk: 1000, D: 8 },
  { Nq: 32_768, Nk: 1000, D: 64 },
  { Hq: 32, Nq: 300, D: 64 },
  { Hq: 16, Nq: 4096, D: 64 },
  { Hq: 200, Hkv: 1, Nq: 3000, Nk: 100, D: 16 },
  { B: 8, Hq: 64, Nq: 16, Nk: 10_000, D: 64 },
  { B: 64, Hq: 64, Nq: 4, Nk: 400, D: 8 },
];

for (const threads of [1, 2, 3, 8, 16, 64, 200]) {
  test(`takeWorkspace() has a record for every job of a wave, ${threads} threads`, () => {
    for (const given of sizes) {
      const plan = planOf(given), cut = cutPlan(plan, threads);
      const space = takeWorkspace(arena, plan, cut, { q: true, values: true, out: true });
      const { records, q } = space.staged[0];
      const capacity = Math.floor((q - records) / jobBytes);
      let most = 0;
      for (const wave of wavesOf(plan, cut)) {
        most = Math.max(most, cutWave(wave, plan.group, cut).length);
      }
      space.free();
      assert(most <= capacity, `${most} jobs, ${capacity} records: ${JSON.stringify(given)}`);
    }
  });
}

test("takeWorkspace() gives everything back", () => {
  const before = arena.usedBytes;
  const plan = planOf({ Nq: 100, Nk: 1000, D: 64 });
  const where = { q: false, values: false, out: false };
  const space = takeWorkspace(arena, plan, cutPlan(plan, 2), where);
  assert(arena.usedBytes > before);
  space.free();
  space.free();
  assertEquals(arena.usedBytes, before);
});

test("takeWorkspace() takes no more for what is read and written in place", () => {
  const plan = planOf({ Nq: 1000, Nk: 1000, D: 64 });
  const used = (where: { q: boolean; values: boolean; out: boolean }) => {
    const space = takeWorkspace(arena, plan, cutPlan(plan, 1), where);
    const bytes = arena.usedBytes;
    space.free();
    return bytes;
  };
  const all = used({ q: false, values: false, out: false });
  assert(all - used({ q: true, values: false, out: false }) >= 200_000);
  assert(all - used({ q: false, values: true, out: false }) >= 200_000);
  assert(all - used({ q: false, values: false, out: true }) >= 200_000);
});
