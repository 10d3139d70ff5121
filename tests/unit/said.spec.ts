import { blockMask, createEngine } from "@flashtile/attention";
import { KvCache } from "../../src/cache/kv_cache.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { test } from "node:test";
import { inspect } from "node:util";

test("consoles say what an engine, a tensor, a cache and a mask are, in one line each", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const tensor = engine.tensor([2, 3]),
    cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 4 });
  const rows = { data: new Float32Array(48), shape: [2, 2, 3, 4] };
  cache.append(rows, rows, { lengths: [3, 1] });
  const mask = blockMask.causal(64);
  try {
    assertMatch(inspect(engine), /^Engine on wasm, [^\n]+$/);
    assertEquals(inspect(tensor), "EngineTensor [2, 3], f32, in Wasm memory");
    assertMatch(
      inspect(cache),
      /^KvCache of f32, Hkv = 2, D = 4, tokens \[3, 1\], [\d.]+ KiB in 2 pages$/,
    );
    assertEquals(inspect(mask), "BlockMask [1, 1, 64, 64], blocks of 64 x 64, density 0.508");
    assertEquals(String(mask).split("\n")[0], inspect(mask));
    const many = engine.kvCache({ batch: 9, kvHeads: 1, headDim: 4 });
    assertMatch(inspect(many), /tokens \[0, 0, 0, 0, 0, 0, 0, 0, \.\.\.\], 0 KiB in 0 pages$/);
  } finally {
    tensor.free();
    cache.free();
    await engine.close();
  }
  assertEquals(inspect(tensor), "EngineTensor [2, 3], f32, freed");
  assertEquals(inspect(cache), "KvCache, freed");
  assertMatch(inspect(engine), /^Engine on wasm, /);
});

test("what consoles say is no part of a view, nor asked of what is only like one", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const view = { ...engine.tensor([2, 3]), shape: [3, 2] };
    assertEquals(Object.getOwnPropertySymbols(view), [Symbol.dispose]);
    assertEquals(inspect(Object.create(KvCache.prototype)), "KvCache");
    assertEquals(inspect(Object.create(Object.getPrototypeOf(blockMask.causal(1)))), "BlockMask");
  } finally {
    await engine.close();
  }
});
