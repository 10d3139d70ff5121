import type {
  CacheDType,
  Engine,
  HostTensor,
  KvCache,
  KvCacheOptions,
  Tensor,
} from "@flashtile/attention";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { cacheDTypes } from "../../src/contract/pages.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { numbersIn, stored } from "../support/storage.ts";
import {
  emptyCache,
  fillCache,
  queriesOf,
  savedByVersion1 as saved,
} from "../support/saved_cache.ts";
import { backends, contract, withEngine } from "./backends.ts";

const needs = "kvCache";

const sizes = { batch: 2, kvHeads: 2, headDim: 8, valueDim: 4, pageSize: 16 } as const;

/** Keys and values of so many tokens. */
function tokens(
  count: number,
  seed: number,
  { batch, kvHeads, headDim, valueDim }: Record<keyof typeof sizes, number> = sizes,
) {
  const random = seeded(seed);
  const make = (width: number): Tensor => ({
    data: normals(batch * kvHeads * count * width, random),
    shape: [batch, kvHeads, count, width],
  });
  return { k: make(headDim), v: make(valueDim) };
}

function queries(count: number, heads: number, seed = 9): Tensor {
  const { batch, headDim } = sizes;
  return {
    data: normals(batch * heads * count * headDim, seeded(seed)),
    shape: [batch, heads, count, headDim],
  };
}

function filled(engine: Engine, count: number, options: Partial<KvCacheOptions> = {}): KvCache {
  const cache = engine.kvCache({ ...sizes, ...options });
  const { k, v } = tokens(count, 1);
  cache.append(k, v);
  return cache;
}

/** What a cache answers, bit for bit. */
async function answers(cache: KvCache): Promise<Float32Array> {
  return (await cache.attend(queries(1, 2))).out.data;
}

contract("a KV cache is empty at first, and a row that sees nothing gives zero", async (engine) => {
  const cache = engine.kvCache(sizes);
  assertEquals([cache.lengths, cache.pages, cache.bytes], [[0, 0], 0, 0]);
  const { out, lse } = await cache.attend(queries(1, 2), { lse: true });
  assertSameBits(out.data, new Float32Array(16));
  assertSameBits(lse.data, new Float32Array(4).fill(-Infinity));
}, { needs });

contract("appending token by token gives the bits of appending all at once", async (engine) => {
  const { k, v } = tokens(40, 1), one = engine.kvCache(sizes);
  const token = (tensor: Tensor, at: number): Tensor => {
    const [B, H, n, width] = tensor.shape;
    return {
      data: tensor.data,
      shape: [B, H, 1, width],
      strides: [H * n * width, n * width, width, 1],
      offset: at * width,
    };
  };
  for (let at = 0; at < 40; at++) one.append(token(k, at), token(v, at));
  assertEquals(one.lengths, [40, 40]);
  assertSameBits(await answers(one), await answers(filled(engine, 40)));
}, { needs });

contract(
  "a KV cache shares pages on fork, and copies one before it is written to",
  async (engine) => {
    const cache = filled(engine, 20), before = cache.pages;
    assertEquals(cache.fork(0, 1), 1);
    assertEquals(cache.pages, 2); // Those of sequence 1 are free again.
    assertEquals(before, 4);
    const { k, v } = tokens(1, 2);
    cache.append(k, v, { lengths: [0, 1] });
    assertEquals([cache.lengths, cache.pages], [[20, 21], 3]);
    const ours = await answers(cache), alone = await answers(filled(engine, 20));
    assertSameBits(ours.subarray(0, 8), alone.subarray(0, 8));
  },
  { needs },
);

contract("fork() finds an empty sequence, or says that there is none", (engine) => {
  const cache = filled(engine, 3);
  assertThrows(() => cache.fork(0), RangeError, "Cannot fork: no sequence is empty");
  cache.free(1);
  assertEquals([cache.fork(0), cache.lengths], [1, [3, 3]]);
}, { needs });

contract("a full pool, sequence or memory refuses tokens and loses none", async (engine) => {
  const pool = filled(engine, 16, { pages: 3 }), { k, v } = tokens(1, 2);
  const before = await answers(pool);
  assertThrows(
    () => pool.append(k, v),
    RangeError,
    "Cannot append: 2 more pages are needed, 1 of 3 are free",
  );
  assertSameBits(await answers(pool), before);
  pool.append(k, v, { lengths: [1, 0] });
  assertEquals(pool.lengths, [17, 16]);
  const sequence = filled(engine, 16, { capacity: 16 });
  assertThrows(
    () => sequence.append(k, v),
    RangeError,
    "Cannot append: sequence 0 has 16 tokens and would have 17, `capacity` is 16",
  );
  assertEquals(sequence.lengths, [16, 16]);
}, { needs });

contract("a KV cache is loaded as it was saved, and damage is told", async (engine) => {
  const cache = filled(engine, 37, { dtype: "int8" });
  cache.truncate(1, 5);
  const bytes = await cache.save(), other = engine.kvCache({ ...sizes, dtype: "int8" });
  other.load(bytes);
  assertEquals(other.lengths, [37, 5]);
  assertSameBits(await answers(other), await answers(cache));
  for (const at of [3, 5, 40, bytes.length >> 1, bytes.length - 1]) {
    const damaged = bytes.slice();
    damaged[at] ^= 4;
    assertThrows(() => other.load(damaged), RangeError, "Cannot load a cache");
  }
  assertThrows(() => other.load(bytes.subarray(0, 64)), RangeError, "Cannot load a cache");
  assertThrows(
    () => engine.kvCache(sizes).load(bytes),
    RangeError,
    "Cannot load a cache: it was saved with dtype = int8, this one has f32",
  );
  assertSameBits(await answers(other), await answers(cache));
}, { needs });

contract("a KV cache loads files of version 1 as they were saved", async (engine, { name }) => {
  const on = name === "webgpu" ? "webgpu" : "wasm";
  const file = Uint8Array.from(atob(saved[on]), (letter) => letter.charCodeAt(0));
  const cache = emptyCache(engine), same = fillCache(engine);
  cache.load(file);
  assertEquals(cache.lengths, [21, 18]);
  const bytes = await cache.save();
  assertEquals([file[4], bytes[4]], [1, 3]);
  const again = emptyCache(engine);
  again.load(bytes);
  assertEquals(await again.save(), bytes);
  // What numbers become differs by device.
  if (on === "webgpu") return;
  assertEquals(bytes, await same.save());
  for (const count of [1, 5, 30]) {
    const q = queriesOf(count);
    assertSameBits((await cache.attend(q)).out.data, (await same.attend(q)).out.data);
  }
}, { needs });

contract(
  "a saved KV cache is as large as its tokens, and sequences are saved apart",
  async (engine) => {
    const large = { ...sizes, batch: 3, headDim: 64, valueDim: 48, pageSize: 256 };
    for (const dtype of ["f32", "int8"] as const) {
      const cache = engine.kvCache({ ...large, dtype }), { k, v } = tokens(300, 3, large);
      cache.append(k, v, { lengths: [7, 300, 0] });
      const few = await cache.save(0), q = normals(3 * 2 * 64, seeded(4));
      const each = dtype === "f32" ? 4 : 1, content = 7 * 2 * (64 + 48) * each;
      assert(few.length < 2.2 * content + 1000, `${few.length} bytes, ${content} of numbers`);
      const ask = (one: KvCache) => one.attend({ data: q, shape: [3, 2, 1, 64] });
      const other = engine.kvCache({ ...large, dtype }), width = 2 * 48;
      other.append(k, v, { lengths: [20, 0, 2] });
      other.load(await cache.save(1), 0);
      other.load(few, 1);
      assertEquals(other.lengths, [300, 7, 2]);
      other.reorder([1, 0, 2]);
      const [ours, theirs] = [await ask(cache), await ask(other)];
      assertSameBits(theirs.out.data.subarray(0, 2 * width), ours.out.data.subarray(0, 2 * width));
      // What was forgotten is not saved either.
      other.truncate(0, 3);
      assert((await other.save(0)).length < few.length);
      for (const one of [cache, other]) one.free();
    }
    const cache = filled(engine, 20), one = await cache.save(1), all = await cache.save();
    const refused: [() => unknown, string][] = [
      [() => cache.load(one), "Cannot load a cache: it was saved with batch = 1, 2 are replaced"],
      [() => cache.load(all, 0), "Cannot load a cache: it was saved with batch = 2, 1 is replaced"],
      [() => cache.save(2), "Cannot find a sequence: it must be a whole number from 0 to 1, got 2"],
      [
        () => cache.load(one, -1),
        "Cannot find a sequence: it must be a whole number from 0 to 1, got -1",
      ],
    ];
    for (const [call, message] of refused) await assertRefused(call, RangeError, message);
  },
  { needs },
);

contract("evict() keeps the first and the last tokens", async (engine) => {
  const { k, v } = tokens(50, 1), cache = engine.kvCache(sizes), kept = engine.kvCache(sizes);
  cache.append(k, v);
  cache.evict({ keepFirst: 5, keepLast: 12 });
  const pick = (tensor: Tensor): Tensor => {
    const [B, H, n, width] = tensor.shape, rows: number[] = [];
    for (let head = 0; head < B * H; head++) {
      for (let at = 0; at < n; at++) {
        const from = (head * n + at) * width;
        if (at < 5 || at >= 38) rows.push(...tensor.data.subarray(from, from + width));
      }
    }
    return { data: Float32Array.from(rows), shape: [B, H, 17, width] };
  };
  kept.append(pick(k), pick(v));
  assertEquals(cache.lengths, [17, 17]);
  assertSameBits(await answers(cache), await answers(kept));
}, { needs });

contract("a KV cache refuses what does not fit, and is as it was", async (engine) => {
  const cache = filled(engine, 4), { k, v } = tokens(2, 3), before = await answers(cache);
  const refused: [() => unknown, string][] = [
    [
      () => cache.append({ ...k, shape: [2, 2, 4, 4] }, v),
      "Cannot append: `k` must have shape [B, Hkv, n, D] = [2,2,4,8], got [2,2,4,4]",
    ],
    [
      () => cache.append(k, tokens(1, 3).v),
      "Cannot append: `v` must have shape [B, Hkv, n, Dv] = [2,2,2,4], got [2,2,1,4]",
    ],
    [
      () => cache.append(k, v, { lengths: [1] }),
      "Cannot append: `lengths` must have one number per sequence, B = 2, got 1",
    ],
    [
      () => cache.append(k, v, { lengths: [1, 3] }),
      "Cannot append: `lengths` must be whole numbers from 0 to 2, got 3",
    ],
    [
      () => cache.truncate(2, 0),
      "Cannot find a sequence: it must be a whole number from 0 to 1, got 2",
    ],
    [
      () => cache.truncate(0, 5),
      "Cannot keep tokens: `length` must be a whole number from 0 to 4, got 5",
    ],
    [
      () => cache.evict({ keepFirst: -1, keepLast: 2 }),
      "Cannot keep tokens: `keepFirst` must be a whole number >= 0, got -1",
    ],
    [
      () => engine.kvCache({ ...sizes, pageSize: 24 }),
      "Cannot make a KV cache: `pageSize` must be a power of two from 16 to 2048, got 24",
    ],
    [
      () => cache.attend(queries(1, 3)),
      "Cannot attend: Hq must be a multiple of Hkv, got Hq = 3 in `q` and Hkv = 2 in the cache",
    ],
  ];
  for (const [call, message] of refused) await assertRefused(call, RangeError, message);
  await assertRefused(
    () => cache.attend(queries(1, 2), { kvLengths: [1, 1] } as never),
    TypeError,
    "Cannot attend: `kvLengths` cannot be given with a cache, whose sequences say which keys they " +
      "have",
  );
  assertSameBits(await answers(cache), before);
}, { needs });

contract("a KV cache does not change under a call that reads it", async (engine) => {
  const cache = filled(engine, 30), { k, v } = tokens(1, 4);
  const running = cache.attend(queries(1, 2));
  assertThrows(() => cache.append(k, v), Error, "Cannot append: a call reads the cache");
  await running;
  cache.append(k, v);
  cache.free();
  assertThrows(() => cache.append(k, v), Error, "Cannot append: the cache was freed");
  assertThrows(() => cache.free(), Error, "Cannot free: the cache was freed");
}, { needs });

contract("a freed KV cache leaves no memory behind", async (engine) => {
  const use = async () => {
    const cache = filled(engine, 700);
    await answers(cache);
    cache.free();
  };
  await use();
  const { memoryBytes } = engine;
  for (let round = 0; round < 20; round++) await use();
  assertEquals(engine.memoryBytes, memoryBytes);
}, { daily: 1 / 3, needs });

contract("attendSync() gives what attend() gives", async (engine) => {
  const cache = filled(engine, 20), q = queries(3, 4);
  const [one, other] = [cache.attendSync(q, { lse: true }), await cache.attend(q, { lse: true })];
  assertSameBits(one.out.data, other.out.data);
  assertSameBits(one.lse.data, other.lse.data);
}, { needs: "attentionSync" });

contract("many queries see a cache as they see the same keys in arrays", async (engine) => {
  const cache = engine.kvCache(sizes), { k, v } = tokens(300, 5), q = queries(40, 6);
  cache.append(k, v);
  const bias = { data: normals(40 * 300, seeded(6)), shape: [40, 300] };
  const options = { causal: true, window: [200, 3], softcap: 4, bias, lse: true } as const;
  const [ours, plain] = [await cache.attend(q, options), await engine.attention(q, k, v, options)];
  ours.out.data.forEach((x, at) => assert(Math.abs(x - plain.out.data[at]) < 2e-6));
  ours.lse.data.forEach((x, at) => assert(Math.abs(x - plain.lse.data[at]) < 4e-6));
}, { needs });

contract("a KV cache gives the same bits for any number of threads", async (engine, { name }) => {
  if (name !== "wasm, 2 threads" && name !== "wasm, 3 threads") return;
  const one = backends.find((backend) => backend.name === "auto")!;
  // So much that threads take part with one query too, in parts of the keys.
  const large = { ...sizes, headDim: 64, valueDim: 36 };
  const q = (rows: number): Tensor => ({
    data: normals(2 * 2 * rows * 64, seeded(8)),
    shape: [2, 2, rows, 64],
  });
  const parts = Array.from({ length: 5 }, (_, part) => tokens(1000, part, large));
  const run = (engine: Engine, dtype: CacheDType, rows: number) => {
    const cache = engine.kvCache({ ...large, dtype });
    for (const { k, v } of parts) cache.append(k, v);
    return cache.attend(q(rows), { causal: true, lse: true });
  };
  await withEngine(one, async (single) => {
    for (const dtype of cacheDTypes) {
      for (const rows of [1, 3, 40]) {
        const [a, b] = [await run(engine, dtype, rows), await run(single, dtype, rows)];
        assertSameBits(a.out.data, b.out.data, `${dtype}, ${rows} rows`);
        assertSameBits(a.lse.data, b.lse.data, `${dtype}, ${rows} rows`);
      }
    }
  }, { threads: 1 });
}, { needs: "int4Cache" });

/** Numbers as a storage of integers has them: groups of one scale, `to` of each rounded. */
function inGroups(data: Float32Array, size: number, to: (group: Float32Array) => void) {
  const rounded = data.slice();
  for (let at = 0; at < rounded.length; at += size) to(rounded.subarray(at, at + size));
  return rounded;
}

function toBytes(group: Float32Array): void {
  const scale = Math.max(...group.map(Math.abs)) / 127 || 1;
  group.forEach((x, at) => group[at] = Math.round(x / scale) * scale);
}

function toNibbles(group: Float32Array): void {
  const largest = group.reduce((most, x) => Math.abs(x) > Math.abs(most) ? x : most, 0);
  const scale = largest / -8 || 1;
  group.forEach((x, at) => group[at] = Math.min(7, Math.max(-8, Math.round(x / scale))) * scale);
}

for (const [dtype, size, to] of [["int8", 40, toBytes], ["int4", 32, toNibbles]] as const) {
  contract(`many queries see a cache of ${dtype} as they see rounded keys`, async (engine) => {
    const shape = { batch: 1, kvHeads: 2, headDim: 40, valueDim: 40, pageSize: 16 };
    const { k, v } = tokens(150, 7, shape), cache = engine.kvCache({ ...shape, dtype });
    const q = { data: normals(2 * 20 * 40, seeded(3)), shape: [1, 2, 20, 40] };
    cache.append(k, v);
    // Groups end with a row.
    const rounded = (tensor: Tensor) => ({
      ...tensor,
      data: inGroups(tensor.data, 40, (row) => {
        for (let at = 0; at < 40; at += size) to(row.subarray(at, at + size));
      }),
    });
    const [ours, plain] = [
      await cache.attend(q, { lse: true }),
      await engine.attention(q, rounded(k), rounded(v), { lse: true }),
    ];
    ours.out.data.forEach((x, at) => assert(Math.abs(x - plain.out.data[at]) < 4e-6));
    ours.lse.data.forEach((x, at) => assert(Math.abs(x - plain.lse.data[at]) < 4e-6));
  }, { needs: dtype === "int4" ? "int4Cache" : needs });

  contract(`smooth keys of ${dtype} lose nothing to what they have in common`, async (engine) => {
    const { k, v } = tokens(90, 7), q = queries(1, 4);
    // Channels that are far from 0, as those of trained models are.
    k.data.forEach((x, at) => k.data[at] = x + (at % 8 < 2 ? 30 : 0));
    const worst = async (smoothKeys: boolean, rows: Tensor) => {
      const cache = engine.kvCache({ ...sizes, dtype, smoothKeys });
      cache.append(k, v);
      const { lse } = await cache.attend(rows, { lse: true });
      const plain = await engine.attention(rows, k, v, { lse: true });
      return lse.data.reduce((most, x, at) => Math.max(most, Math.abs(x - plain.lse.data[at])), 0);
    };
    for (const rows of [q, queries(12, 4)]) {
      const [plain, smooth] = [await worst(false, rows), await worst(true, rows)];
      assert(smooth * 3 < plain, `${smooth}, not smooth ${plain}`);
    }
  }, { needs: dtype === "int4" ? "int4Cache" : needs });
}

contract("smooth keys stay smooth through fork, evict, truncate and load", async (engine) => {
  const options = { ...sizes, dtype: "int8", smoothKeys: true } as const;
  const cache = engine.kvCache(options), { k, v } = tokens(70, 3), more = tokens(5, 4);
  k.data.forEach((_, at) => k.data[at] += 20);
  more.k.data.forEach((_, at) => more.k.data[at] += 20);
  cache.append(k, v);
  cache.fork(0, 1);
  cache.truncate(1, 33);
  cache.append(more.k, more.v);
  cache.evict({ keepFirst: 7, keepLast: 20 });
  const other = engine.kvCache(options);
  other.load(await cache.save());
  const ours = await answers(cache);
  assertSameBits(await answers(other), ours);
  const exact = engine.kvCache(sizes);
  exact.append(k, v);
  exact.fork(0, 1);
  exact.truncate(1, 33);
  exact.append(more.k, more.v);
  exact.evict({ keepFirst: 7, keepLast: 20 });
  (await answers(exact)).forEach((x, at) => assert(Math.abs(x - ours[at]) < 0.03));
  assertThrows(() => engine.kvCache({ ...sizes, smoothKeys: true }), RangeError, "`smoothKeys`");
}, { needs });

contract("f16 that is not finite leaves its trace where it is seen", async (engine) => {
  const { k, v } = tokens(40, 1), q = queries(1, 2);
  v.data[3 * sizes.valueDim] = Infinity; // Head 0 of batch 0.
  const cache = engine.kvCache({ ...sizes, dtype: "f16" });
  cache.append(k, v);
  const { out } = await cache.attend(q);
  assertEquals(out.data[0], Infinity);
  assert(out.data.subarray(1).every(Number.isFinite));
}, { needs });

contract("a cache on the CPU says what it cannot read", async (engine) => {
  const cache = filled(engine, 3), { k, v } = tokens(1, 2), before = await answers(cache);
  const data = { mapAsync() {}, usage: 0x80, size: 1 << 20 } as unknown as GPUBuffer;
  assertThrows(
    () => cache.append({ ...k, data, dtype: "f32" }, v),
    TypeError,
    "Cannot append: the wasm backend cannot read a GPUBuffer",
  );
  assertSameBits(await answers(cache), before);
}, { needs: "linearMemory" });

contract("a call that a cache refuses leaves it as it was", async (engine) => {
  const small = filled(engine, 16, { pages: 3 }), saved = await filled(engine, 32).save();
  const before = await answers(small);
  assertThrows(() => small.load(saved), RangeError, "Cannot load: 2 more pages are needed");
  assertEquals(small.lengths, [16, 16]);
  assertSameBits(await answers(small), before);
  const bounded = filled(engine, 3, { capacity: 20 });
  assertThrows(() => bounded.load(saved), RangeError, "Cannot load: sequence 0 has 3 tokens");
  const two = engine.kvCache({ ...sizes, pages: 4 }), { k, v } = tokens(64, 1);
  two.append(k, v, { lengths: [64, 0] });
  two.fork(0, 1);
  const both = await answers(two);
  assertThrows(() => two.evict({ keepFirst: 8, keepLast: 24 }), RangeError, "Cannot evict: ");
  assertEquals(two.lengths, [64, 64]);
  assertSameBits(await answers(two), both);
}, { needs });

contract("keys and values may be stored in two ways", async (engine) => {
  const { k, v } = tokens(40, 3), cache = engine.kvCache(sizes), plain = engine.kvCache(sizes);
  const [half, brain] = [stored(k, "f16"), stored(v, "bf16")];
  cache.append(half, brain);
  const widened = ({ data, shape, dtype }: HostTensor): Tensor => ({
    data: numbersIn(data, dtype),
    shape,
  });
  plain.append(widened(half), widened(brain));
  assertSameBits(await answers(cache), await answers(plain));
}, { needs });

contract("long heads of int8 do not overflow", async (engine) => {
  for (const headDim of [516, 517, 1100]) {
    const shape = [1, 1, 1, headDim], ones = { data: new Float32Array(headDim).fill(1), shape };
    const cache = engine.kvCache({ kvHeads: 1, headDim, valueDim: 4, dtype: "int8" });
    cache.append(ones, { data: Float32Array.of(1, 2, 3, 4), shape: [1, 1, 1, 4] });
    const { lse } = await cache.attend(ones, { scale: 1, lse: true });
    assert(Math.abs(lse.data[0] - headDim) < 0.01 * headDim, `${lse.data[0]} of ${headDim}`);
  }
}, { needs });

contract("a page holds nothing of whoever had it before", async (engine, backend) => {
  const save = (engine: Engine) => {
    const cache = filled(engine, 1, { dtype: "f16" });
    return cache.save();
  };
  const used = filled(engine, 200);
  used.free();
  const again = filled(engine, 40);
  again.free(0);
  again.free(1);
  again.append(tokens(1, 1).k, tokens(1, 1).v);
  const bytes = await save(engine);
  await withEngine(backend, async (fresh) => {
    assertEquals(bytes, await save(fresh));
    assertEquals(await again.save(), await filled(fresh, 1).save());
  });
}, { needs });

contract("tokens in the engine's own memory are appended while it grows", (engine) => {
  const shape = [1, 8, 4000, 64],
    k = engine.tensor(shape),
    cache = engine.kvCache({
      kvHeads: 8,
      headDim: 64,
    });
  k.data.fill(0.5);
  cache.append(k, k);
  assertEquals(cache.lengths, [4000]);
}, { needs: "hostTensors", threads: 1 });

for (const dtype of cacheDTypes) {
  contract(`what a row does not see changes no bit of it: ${dtype}`, async (engine) => {
    const { k, v } = tokens(40, 3), clean = engine.kvCache({ ...sizes, dtype });
    const dirty = engine.kvCache({ ...sizes, dtype });
    clean.append(k, v);
    for (const tensor of [k, v]) {
      const width = tensor.shape[3];
      // The token 7 of every head, which the mask hides from some rows, and 36, which the last hides.
      for (let head = 0; head < 4; head++) {
        for (const token of [7, 36]) tensor.data[(head * 40 + token) * width] = NaN;
      }
    }
    dirty.append(k, v);
    for (const group of [1, 3, 8]) {
      const q = queries(1, 2 * group, 5);
      const seen = Uint8Array.from({ length: 40 }, (_, key) => Number(key !== 7 && key !== 36));
      const mask = { data: seen, shape: [1, 40] };
      const [a, b] = [await clean.attend(q, { mask }), await dirty.attend(q, { mask })];
      assertSameBits(a.out.data, b.out.data, `group of ${group}`);
    }
    // The row beside sees what this one does not.
    const q = queries(2, 2, 6), both = new Uint8Array(80).fill(1);
    both[40 + 36] = both[40 + 7] = 0;
    const beside = await dirty.attend(q, { mask: { data: both, shape: [2, 40] } });
    both[7] = both[36] = 0;
    const neither = await dirty.attend(q, { mask: { data: both, shape: [2, 40] } });
    for (let head = 0; head < 4; head++) {
      const row = (2 * head + 1) * sizes.valueDim, end = row + sizes.valueDim;
      assertSameBits(beside.out.data.subarray(row, end), neither.out.data.subarray(row, end));
      assert(Number.isNaN(beside.out.data[row - sizes.valueDim]));
    }
  }, { needs: dtype === "int4" ? "int4Cache" : needs });
}
