import type { KvCache, LayeredKvCache, Tensor } from "@flashtile/attention";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { normals, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { contract } from "./backends.ts";

const needs = "kvCache";

const sizes = { batch: 3, kvHeads: 2, headDim: 12, valueDim: 8, pageSize: 16 } as const;
const layers = 3;

const random = seeded(varyingSeed());

function rows(heads: number, count: number, width: number): Tensor {
  const { batch } = sizes;
  return {
    data: normals(batch * heads * count * width, random),
    shape: [batch, heads, count, width],
  };
}

/** Keys and values of some tokens of each layer. */
function tokens(count: number) {
  const { kvHeads, headDim, valueDim } = sizes;
  return Array.from(
    { length: layers },
    () => [rows(kvHeads, count, headDim), rows(kvHeads, count, valueDim)] as const,
  );
}

/** What all layers answer, bit for bit. */
async function answers(of: (layer: number) => KvCache, q: Tensor): Promise<Float32Array> {
  const all: number[] = [];
  for (let layer = 0; layer < layers; layer++) all.push(...(await of(layer).attend(q)).out.data);
  return Float32Array.from(all);
}

contract("a cache of layers is a cache for each, changed together", async (engine) => {
  const cache = engine.kvCache({ ...sizes, layers }),
    apart = tokens(0).map(() => engine.kvCache(sizes));
  const both = async (change: (one: LayeredKvCache | KvCache) => unknown) => {
    change(cache);
    apart.forEach(change);
    assertEquals(cache.lengths, apart[0].lengths);
    assertEquals(cache.pages, apart.reduce((sum, { pages }) => sum + pages, 0));
    assertEquals(cache.bytes, apart.reduce((sum, { bytes }) => sum + bytes, 0));
    assertSameBits(await answers((at) => cache.layer(at), q), await answers((at) => apart[at], q));
  };
  const q = rows(4, 1, sizes.headDim), lengths = [40, 0, 21];
  for (const [layer, [k, v]] of tokens(40).entries()) {
    cache.append(layer, k, v, { lengths });
    apart[layer].append(k, v, { lengths });
  }
  await both((one) => one.fork(0));
  await both((one) => one.keep(1, [30, 33, 39]));
  await both((one) => one.evict({ keepFirst: 3, keepLast: 12 }, 2));
  await both((one) => one.reorder([2, 0, 0]));
  await both((one) => one.evict({ keepFirst: 2, keepLast: 15 }));
  await both((one) => one.truncate(1, 9));
  for (const [layer, [k, v]] of tokens(1).entries()) {
    const options = { causal: true, rope: { theta: 100 }, lse: true } as const;
    const [a, b] = [
      await cache.step(layer, q, k, v, options),
      await apart[layer].step(q, k, v, options),
    ];
    assertSameBits(a.out.data, b.out.data);
    assertSameBits(a.lse.data, b.lse.data);
    assertSameBits(
      (await cache.attend(layer, q)).out.data,
      (await apart[layer].attend(q)).out.data,
    );
  }
  const [all, one] = [await cache.save(), await cache.save(1)],
    before = await answers((at) => cache.layer(at), q);
  await both((one) => one.free(1));
  cache.load(one, 1);
  assertSameBits(await answers((at) => cache.layer(at), q), before);
  cache.free(0);
  cache.load(all);
  assertSameBits(await answers((at) => cache.layer(at), q), before);
  cache.free();
  assertThrows(() => cache.free(), Error, "Cannot free: the cache was freed");
  cache[Symbol.dispose]();
}, { needs: [needs, "rope"] });

contract("a cache of layers changes all of them, or none", async (engine) => {
  const cache = engine.kvCache({ ...sizes, layers, pages: 7 }), q = rows(4, 1, sizes.headDim);
  for (const [layer, [k, v]] of tokens(20).entries()) {
    cache.append(layer, k, v, { lengths: [20, 20, 0] });
  }
  cache.fork(0, 2);
  const saved = await cache.save(), before = await answers((at) => cache.layer(at), q);
  // One layer has no room for the copies that the others could make.
  const [[k, v]] = tokens(50), last = cache.layer(2);
  last.append(k, v, { lengths: [0, 44, 0] });
  assertThrows(
    () => cache.keep(0, [3, 18]),
    RangeError,
    "Cannot keep tokens: layer 2 has 20,64,20 tokens where layer 0 has 20,20,20",
  );
  cache.truncate(1, 20);
  const more = engine.kvCache({ ...sizes, layers, pages: 3 });
  for (const [layer, [k, v]] of tokens(20).entries()) {
    more.append(layer, k, v, { lengths: [20, 0, 0] });
  }
  more.fork(0, 1);
  const full = more.layer(2), fill = tokens(16)[0];
  full.append(...fill, { lengths: [0, 0, 16] });
  full.truncate(2, 0);
  for (const at of [0, 1]) more.layer(at).append(...fill, { lengths: [0, 0, 16] });
  full.append(...fill, { lengths: [0, 0, 16] });
  assertThrows(
    () => more.keep(0, [3, 18]),
    RangeError,
    "Cannot keep: 1 more pages are needed, 0 of 3 are free",
  );
  assertThrows(() => more.load(saved), RangeError, "more pages are needed");
  assertEquals(more.lengths, [20, 20, 16]);
  assertSameBits(await answers((at) => cache.layer(at), q), before);
  const damaged = saved.slice();
  damaged[damaged.length - 9] ^= 4; // Of the last layer.
  const other = saved.slice();
  other[8] ^= 4;
  const refused: [() => unknown, string][] = [
    [
      () => cache.load(damaged),
      "Cannot load a cache: the bytes are damaged, their checksum is another",
    ],
    [
      () => cache.load(other),
      `Cannot load a cache: its layers do not fill the ${other.length} bytes`,
    ],
    [
      () => cache.load(saved.subarray(4)),
      "Cannot load a cache: the bytes are no saved cache of layers",
    ],
    [
      () => engine.kvCache({ ...sizes, layers: 2 }).load(saved),
      "Cannot load a cache: it was saved with layers = 3, this one has 2",
    ],
    [
      () => cache.append(3, k, v),
      "Cannot find a layer: it must be a whole number from 0 to 2, got 3",
    ],
    [
      () => cache.attend(-1, q),
      "Cannot find a layer: it must be a whole number from 0 to 2, got -1",
    ],
    [
      () => cache.layer("0" as never),
      'Cannot find a layer: it must be a whole number from 0 to 2, got "0"',
    ],
    [
      () => cache.truncate(0, 21),
      "Cannot keep tokens: `length` must be a whole number from 0 to 20, got 21",
    ],
    [() => cache.fork(0), "Cannot fork: no sequence is empty, free one or say which is replaced"],
    [
      () => cache.evict({ keepFirst: 1, keepLast: -1 }),
      "Cannot keep tokens: `keepLast` must be a whole number >= 0, got -1",
    ],
    [
      () => cache.reorder([0]),
      "Cannot reorder: `indices` must be one sequence for each, B = 3, got 1",
    ],
    [
      () => engine.kvCache({ ...sizes, layers: 0 }),
      "Cannot make a KV cache: `layers` must be a whole number >= 1, got 0",
    ],
    [
      () => engine.kvCache({ ...sizes, layers: 2000 }),
      "Cannot make a KV cache: `layers` must be at most 1024, got 2000",
    ],
  ];
  for (const [call, message] of refused) await assertRefused(call, RangeError, message);
  await assertRefused(
    () => cache.load([1] as never),
    TypeError,
    "Cannot load a cache: `bytes` must be a Uint8Array",
  );
  assertSameBits(await answers((at) => cache.layer(at), q), before);
  const running = cache.attend(1, q);
  assertThrows(() => cache.truncate(0, 1), Error, "Cannot truncate: a call reads the cache");
  assertThrows(() => cache.free(), Error, "Cannot free: a call reads the cache");
  await running;
  cache.free();
  assert(cache.pages === 0);
}, { needs });
