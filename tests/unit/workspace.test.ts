import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Arena } from "../../src/wasm/arena.ts";
import { type Job, jobBytes, jobFields, writeJob } from "../../src/wasm/job_record.ts";
import { chooseTiles, positionsPerJob } from "../../src/wasm/jobs.ts";
import { binaryBytes, instantiate } from "../../src/wasm/module.ts";
import { takeWorkspace, type Workspace } from "../../src/wasm/workspace.ts";
import { runs } from "../support/arbitrary.ts";
import { planOf } from "../support/plan.ts";

const memory = new WebAssembly.Memory({ initial: 16, maximum: 65535 });
const kernels = instantiate(new WebAssembly.Module(binaryBytes("simd")), memory);
const arena = new Arena(memory, kernels.heapBase() >>> 0, 65535 * 65536);

const plans = fc.record({
  Hkv: fc.constant(1),
  Hq: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(64, 65, 200)),
  Nq: fc.oneof(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 1, max: 20_000 })),
  Nk: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 5000 })),
  D: fc.oneof(fc.integer({ min: 1, max: 130 }), fc.constantFrom(256, 700, 3000)),
  Dv: fc.oneof(fc.integer({ min: 1, max: 130 }), fc.constantFrom(256, 700, 3000)),
}).map((sizes) => planOf(sizes));

const elsewhere = fc.record({ q: fc.boolean(), values: fc.boolean(), out: fc.boolean() });

const zero = Object.fromEntries(Object.keys(jobFields).map((name) => [name, 0])) as Job;

/** Bytes that the kernel says its tile memory takes. */
function scratchBytes(job: Partial<Job>, at: number): number {
  writeJob(new DataView(memory.buffer), at, { ...zero, ...job });
  return kernels.scratchBytes(at) >>> 0;
}

/** The end of the block that a workspace lies in, without the bytes that the arena adds. */
function endOf(space: Workspace): number {
  return space.record + arena.usedBytes - 64;
}

test("takeWorkspace() has room for the kernel's tile memory", () => {
  fc.assert(
    fc.property(plans, elsewhere, (plan, where) => {
      const tiles = chooseTiles(plan);
      const space = takeWorkspace(arena, plan, tiles, where);
      const { dim, valueDim } = plan;
      const job = { dim, valueDim, tileRows: tiles.rows, tileKeys: tiles.keys };
      const needed = scratchBytes(job, space.record);
      assert(needed > 0);
      assert(space.scratch + needed <= endOf(space), `${needed} bytes`);
      assertEquals(space.scratch % 16, 0);
      space.free();
    }),
    runs(400),
  );
});

test("takeWorkspace() has room for all that a job reads and writes", () => {
  fc.assert(
    fc.property(plans, elsewhere, (plan, where) => {
      const space = takeWorkspace(arena, plan, chooseTiles(plan), where);
      const { keys, dim, valueDim, group } = plan;
      const rows = positionsPerJob(plan) * group;
      const stagedAtOnce = Math.min(space.stagingRows, keys);
      const places: [at: number, bytes: number][] = [
        [space.record, jobBytes],
        [space.keys, Math.ceil(keys / 4) * dim * 16],
        [space.values, where.values ? 0 : Math.ceil(valueDim / 4) * keys * 16],
        [space.staging, stagedAtOnce * Math.max(dim, valueDim) * 4],
        [space.q, where.q ? 0 : rows * dim * 4],
        [space.out, where.out ? 0 : rows * valueDim * 4],
        [space.lse, rows * 4],
        [space.scratch, 0],
      ];
      places.reduce((end, [at, bytes]) => {
        assert(at >= end && at % 16 === 0);
        return at + bytes;
      }, 0);
      // Keys are packed four at a time.
      assert(stagedAtOnce === keys || space.stagingRows % 4 === 0);
      space.free();
    }),
    runs(400),
  );
});

test("takeWorkspace() gives everything back", () => {
  const before = arena.usedBytes;
  const plan = planOf({ Nq: 100, Nk: 1000, D: 64 });
  const where = { q: false, values: false, out: false };
  const space = takeWorkspace(arena, plan, chooseTiles(plan), where);
  assert(arena.usedBytes > before);
  space.free();
  space.free();
  assertEquals(arena.usedBytes, before);
});

test("takeWorkspace() takes no more for what is read and written in place", () => {
  const plan = planOf({ Nq: 1000, Nk: 1000, D: 64 });
  const used = (where: { q: boolean; values: boolean; out: boolean }) => {
    const space = takeWorkspace(arena, plan, chooseTiles(plan), where);
    const bytes = arena.usedBytes;
    space.free();
    return bytes;
  };
  const all = used({ q: false, values: false, out: false });
  assert(all - used({ q: true, values: false, out: false }) >= 200_000);
  assert(all - used({ q: false, values: true, out: false }) >= 200_000);
  assert(all - used({ q: false, values: false, out: true }) >= 200_000);
});
