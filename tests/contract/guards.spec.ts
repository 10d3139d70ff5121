import type { CacheDType, DType, Engine } from "@flashtile/attention";
import { assertEquals, assertMatch } from "@std/assert";
import { test } from "node:test";
import { Arena } from "../../src/wasm/memory/arena.ts";
import { clear } from "../readonce/harness.ts";
import { operations } from "../readonce/operations.ts";
import { errorOf } from "../support/errors.ts";
import { watchBlocks, withGuards } from "../support/guards.ts";
import { contract } from "./backends.ts";

const linear = { needs: "linearMemory" } as const;

contract("no operation writes outside of its blocks of memory", async (engine, backend) => {
  await withGuards(async (watch) => {
    for (const operation of operations) {
      if (operation.bare) continue;
      for (const place of ["arrays", "engine memory"] as const) {
        const call = (await operation.ready({ engine, place, seed: 9 }))();
        await call.result;
        clear(call);
        watch.check();
        assertEquals(watch.blocks, 0, `${operation.name} keeps blocks on ${backend.name}`);
      }
    }
  });
}, linear);

/** A tensor of ones in the engine's memory. */
function ones(engine: Engine, shape: readonly number[], dtype: DType) {
  const tensor = engine.tensor(shape, dtype);
  tensor.data.fill(dtype === "f32" || !(tensor.data instanceof Uint16Array) ? 1 : 0x3c00);
  return tensor;
}

contract("no size or storage makes a call write outside of its blocks", async (engine) => {
  await withGuards(async (watch) => {
    for (const dtype of ["f32", "f16", "bf16"] as const) {
      for (const [N, M, D, Dv] of [[1, 1, 1, 1], [3, 7, 5, 3], [9, 70, 33, 2], [65, 257, 7, 66]]) {
        const q = ones(engine, [1, 2, N, D], dtype), k = ones(engine, [1, 1, M, D], dtype);
        const v = ones(engine, [1, 1, M, Dv], dtype), out = ones(engine, [1, 2, N, Dv], dtype);
        const { lse } = await engine.attention(q, k, v, { out, causal: true, lse: true });
        watch.check();
        await engine.attentionBackward(out, q, k, v, { causal: true, out, lse });
        watch.check();
        await engine.mergeAttention([{ out, lse }, { out, lse }]);
        if (D > 1) await engine.rope(q, null, { dims: 2 });
        for (const tensor of [q, k, v, out]) tensor.free();
        watch.check();
      }
    }
    assertEquals(watch.blocks, 0);
  });
}, linear);

contract("no cache writes outside of its pages", async (engine) => {
  await withGuards(async (watch) => {
    for (const dtype of ["f32", "f16", "bf16", "int8", "int4"] as readonly CacheDType[]) {
      for (const [headDim, valueDim] of [[1, 1], [4, 4], [33, 31], [64, 66]]) {
        const smoothKeys = dtype.startsWith("int");
        const sizes = { batch: 2, kvHeads: 2, headDim, valueDim, pageSize: 16, dtype, smoothKeys };
        const cache = engine.kvCache(sizes);
        const keys = ones(engine, [2, 2, 21, headDim], "f32");
        const values = ones(engine, [2, 2, 21, valueDim], "f32");
        cache.append(keys, values, { lengths: [21, 5] });
        cache.fork(0, 1);
        cache.append(keys, values);
        cache.evict({ keepFirst: 3, keepLast: 20 });
        for (const rows of [1, 20]) {
          await cache.attend(ones(engine, [2, 4, rows, headDim], "f32"), {
            offset: 0,
            causal: true,
          });
          watch.check();
        }
        cache.load(await cache.save());
        cache.free();
        watch.check();
      }
    }
  });
}, linear);

test("watchBlocks() tells of bytes written before and behind a block, also of a freed one", async () => {
  const memory = new WebAssembly.Memory({ initial: 2 });
  const arena = new Arena(memory, 1000, 2 * 65536);
  const watch = watchBlocks();
  try {
    const [a, b] = [arena.allocate(100), arena.allocate(7)];
    watch.check();
    new Uint8Array(memory.buffer)[a + 100] = 1;
    assertMatch(
      (await errorOf(() => watch.check()) as Error).message,
      /byte 100 of the block of 100/,
    );
    arena.free(a);
    new Uint8Array(memory.buffer)[b - 1] = 1;
    const { message } = await errorOf(() => watch.check()) as Error;
    assertMatch(message, /byte 100 of the block of 100 at \d+, byte -1 of the block of 7 at \d+$/);
  } finally {
    watch.end();
  }
});
