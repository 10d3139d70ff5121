import {
  alibiSlopes,
  type AttentionOptions,
  type CacheAttentionOptions,
  type Engine,
  type KvCache,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { cacheDTypes } from "../../src/contract/pages.ts";
import { assertRefused } from "../support/errors.ts";
import { gpuRequired } from "../support/gpu.ts";
import { assertNear } from "../support/near.ts";
import { normals, type Random, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { isWhole, sharedOut, sharedOutByShader } from "../support/share.ts";
import { contract } from "./backends.ts";

const needs = "kvCache";

const sizes = { kvHeads: 2, headDim: 12, valueDim: 8, pageSize: 16 } as const;
const queryHeads = 4;

/** Random rows `[batch, heads, count, width]`. */
function rows(random: Random, batch: number, heads: number, count: number, width: number): Tensor {
  const shape = [batch, heads, count, width];
  return { data: normals(batch * heads * count * width, random), shape };
}

function tokensOf(random: Random, count: number, batch = 1) {
  const { kvHeads, headDim, valueDim } = sizes;
  return {
    q: rows(random, batch, queryHeads, count, headDim),
    k: rows(random, batch, kvHeads, count, headDim),
    v: rows(random, batch, kvHeads, count, valueDim),
  };
}

/** A number from 0 to before `end`. */
function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}

/** All tokens that a sequence ever had, row by row. */
interface Plain {
  readonly k: readonly Float32Array[];
  readonly v: readonly Float32Array[];
}

/** The rows of one batch that count, each with all heads. */
function apart({ data, shape: [, H, N, D] }: Tensor, batch: number, count: number): Float32Array[] {
  return Array.from({ length: count }, (_, row) => {
    const all = new Float32Array(H * D);
    for (let head = 0; head < H; head++) {
      const from = ((batch * H + head) * N + row) * D;
      all.set(data.subarray(from, from + D), head * D);
    }
    return all;
  });
}

/** Such rows as a tensor `[1, H, count, D]`. */
function together(all: readonly Float32Array[], H: number, D: number): Tensor {
  const data = new Float32Array(H * all.length * D);
  for (const [row, numbers] of all.entries()) {
    for (let head = 0; head < H; head++) {
      const part = numbers.subarray(head * D, (head + 1) * D);
      data.set(part, (head * all.length + row) * D);
    }
  }
  return { data, shape: [1, H, all.length, D] };
}

/** Which of so many tokens the newest rows see, as bytes `[count, tokens]`. */
function windowMask(
  count: number,
  tokens: number,
  { keepFirst, keepLast, left }: { keepFirst: number; keepLast: number; left: number },
) {
  const data = new Uint8Array(count * tokens);
  for (let row = 0; row < count; row++) {
    const place = tokens - count + row;
    for (let key = 0; key <= place; key++) {
      const distance = place - key;
      data[row * tokens + key] = Number(key < keepFirst || distance < Math.min(keepLast, left + 1));
    }
  }
  return { data, shape: [count, tokens] };
}

/** Options of a call, some of them. */
function asked(random: Random) {
  const left = random() < 0.3 ? below(random, 24) : Infinity;
  const options: AttentionOptions & CacheAttentionOptions = {
    causal: true,
    ...(left < Infinity && { window: [left, null] as const }),
    ...(random() < 0.4 && { alibi: alibiSlopes(queryHeads) }),
    ...(random() < 0.3 && { softcap: 3 }),
    ...(random() < 0.3 && { sinks: normals(queryHeads, random) }),
  };
  return { left, options };
}

/** What a sequence's newest rows should be given. */
function expected(
  { k, v }: Plain,
  q: readonly Float32Array[],
  kept: { keepFirst: number; keepLast: number; left: number },
  { causal: _, window: __, ...options }: AttentionOptions,
) {
  const { kvHeads, headDim, valueDim } = sizes, count = q.length, offset = k.length - count;
  return referenceAttention(
    together(q, queryHeads, headDim),
    together(k, kvHeads, headDim),
    together(v, kvHeads, valueDim),
    { ...options, offset, mask: windowMask(count, k.length, kept), lse: true },
  );
}

/** A random life of a cache that is a window, beside all tokens that it ever had. */
async function live(engine: Engine, random: Random, acts: number): Promise<void> {
  const batch = 3, keepFirst = [0, 1, 4, 16, 21][below(random, 5)];
  const keepLast = 1 + below(random, 60);
  const options = { ...sizes, batch, keepFirst, keepLast };
  let cache = engine.kvCache(options);
  const plain: Plain[] = Array.from({ length: batch }, () => ({ k: [], v: [] }));
  for (let act = 0; act < acts; act++) {
    const counts = plain.map(() =>
      random() < 0.2 ? 0 : random() < 0.2 ? 1 + below(random, 50) : 1 + below(random, 4)
    );
    const most = Math.max(1, ...counts), { q, k, v } = tokensOf(random, most, batch);
    const { left, options: wanted } = asked(random);
    const call = { ...wanted, lengths: counts, lse: true } as const;
    const isStep = random() < 0.3;
    if (!isStep) cache.append(k, v, { lengths: counts });
    const { out, lse } = await (isStep ? cache.step(q, k, v, call) : cache.attend(q, call));
    for (const [at, count] of counts.entries()) {
      plain[at] = {
        k: [...plain[at].k, ...apart(k, at, count)],
        v: [...plain[at].v, ...apart(v, at, count)],
      };
      if (count === 0) continue;
      const exact = expected(plain[at], apart(q, at, count), { keepFirst, keepLast, left }, wanted);
      const ours = together(apart(out, at, count), queryHeads, sizes.valueDim).data;
      const rowsOfLse = { data: lse.data, shape: [batch, queryHeads, most, 1] };
      const logs = together(apart(rowsOfLse, at, count), queryHeads, 1).data;
      const what = `sequence ${at} of ${plain[at].k.length}, ${keepFirst} and ${keepLast}`;
      assertNear(ours, exact.out.data, 1e-5, `out: ${what}`);
      assertNear(logs, exact.lse.data, 1e-5, `lse: ${what}`);
    }
    assertEquals(cache.lengths, plain.map((one) => one.k.length));
    const kind = random();
    if (kind < 0.1) {
      const [from, to] = [below(random, batch), below(random, batch)];
      cache.fork(from, to);
      plain[to] = plain[from];
    } else if (kind < 0.2) {
      const order = plain.map(() => below(random, batch)), before = [...plain];
      cache.reorder(order);
      for (const [at, from] of order.entries()) plain[at] = before[from];
    } else if (kind < 0.3) {
      const bytes = await cache.save();
      cache.free();
      cache = engine.kvCache(options);
      cache.load(bytes);
      assertEquals(cache.lengths, plain.map((one) => one.k.length));
    } else if (kind < 0.4) {
      const at = below(random, batch);
      cache.free(at);
      plain[at] = { k: [], v: [] };
    }
  }
  cache.free();
}

contract("a cache that is a window answers as if it had all tokens", async (engine) => {
  const random = seeded(varyingSeed()), lives = gpuRequired ? 3 : isWhole ? 12 : 1;
  for (let one = 0; one < lives; one++) await live(engine, random, gpuRequired ? 8 : 14);
}, { needs });

/** Appends tokens one by one. */
function grow(cache: KvCache, random: Random, tokens: number): void {
  for (let token = 0; token < tokens; token++) {
    const { k, v } = tokensOf(random, 1);
    cache.append(k, v);
  }
}

contract(
  "every storage of a window has the numbers of one that has all",
  async (engine, { lacks }) => {
    const all = cacheDTypes.filter((dtype) => dtype !== "int4" || lacks?.int4Cache === undefined);
    const some = gpuRequired ? sharedOutByShader(all, 0.5, "kept") : sharedOut(all, 2, "kept");
    const random = seeded(varyingSeed());
    for (const dtype of some) {
      const smoothKeys = dtype.startsWith("int"), keepFirst = 5, keepLast = 20;
      const whole = engine.kvCache({ ...sizes, dtype, smoothKeys });
      const window = engine.kvCache({ ...sizes, dtype, smoothKeys, keepFirst, keepLast });
      const last = engine.kvCache({ ...sizes, dtype, smoothKeys, keepLast });
      for (const count of [30, 40, 1, 1, 3, 9]) {
        const { q, k, v } = tokensOf(random, count);
        for (const one of [whole, window, last]) one.append(k, v);
        const tokens = whole.lengths[0], causal = true;
        const mask = windowMask(count, tokens, { keepFirst, keepLast, left: Infinity });
        const wanted = await whole.attend(q, { mask }), ours = await window.attend(q, { causal });
        assertNear(ours.out.data, wanted.out.data, 1e-3, `${dtype}, ${count} rows`);
        assertNear(
          (await last.attend(q, { causal })).out.data,
          (await whole.attend(q, { causal, window: keepLast })).out.data,
          1e-3,
          `${dtype}, ${count} rows, no first`,
        );
      }
      assert(window.pages < whole.pages && last.pages < window.pages);
      for (const one of [whole, window, last]) one.free();
    }
  },
  { needs },
);

contract("a window has no more pages than it needs, however many tokens come", (engine) => {
  const random = seeded(varyingSeed()), pages = 1 + 3 + 1;
  // The pool has no more: those that are dropped are taken again.
  const cache = engine.kvCache({ ...sizes, keepFirst: 4, keepLast: 40, pages });
  for (let token = 0; token < 200; token++) {
    grow(cache, random, 1);
    assert(cache.pages <= pages, `${cache.pages}`);
  }
  assertEquals(cache.lengths, [200]);
  cache.free();
}, { needs });

contract("a window is truncated where its tokens are, and else refuses", async (engine) => {
  const random = seeded(varyingSeed()), causal = true;
  const cache = engine.kvCache({ ...sizes, batch: 2, keepFirst: 4, keepLast: 20 });
  for (let token = 0; token < 100; token++) {
    const { k, v } = tokensOf(random, 1);
    cache.append(k, v, { sequences: [0] });
  }
  // Before token 99 was appended, those before 79 were behind: pages to 63 are whole there.
  const words = "sequence 0 has dropped its tokens from 16 to 63, got";
  for (const length of [17, 40, 64]) {
    const message = `Cannot truncate: ${words} \`length\` ${length}`;
    await assertRefused(() => cache.truncate(0, length), RangeError, message);
  }
  for (const [first, got] of [[16, 16], [63, 63], [3, 3]]) {
    const message = `Cannot keep tokens: ${words} token ${got}`;
    await assertRefused(() => cache.keep(0, [first, 99]), RangeError, message);
  }
  assertEquals(cache.lengths, [100, 0]);
  const { q } = tokensOf(random, 1), sequences = [0];
  const full = await cache.attend(q, { causal, sequences });
  cache.fork(0, 1);
  cache.keep(1, [80, 82, 99]);
  assertEquals(cache.lengths, [100, 83]);
  cache.truncate(1, 82);
  // It stands on token 81, and sees those from 62 on.
  await assertRefused(
    () => cache.attend(q, { causal, sequences: [1] }),
    RangeError,
    "Cannot attend: the first query of sequence 1 stands on token 81 and sees those from 62 on, of " +
      "which those before 64 were dropped; attend before more is appended, or ask for a smaller `window`",
  );
  await cache.attend(q, { causal, sequences: [1], window: 18 });
  cache.truncate(1, 16);
  assertEquals(cache.pages, 4);
  await cache.attend(q, { causal, sequences: [1] });
  cache.keep(1, [3, 15]);
  assertEquals(cache.lengths, [100, 5]);
  assertEquals(
    (await cache.attend(q, { causal, sequences })).out.data,
    full.out.data,
    "the other has its own",
  );
  cache.free();
}, { needs });

contract("a step of a window that fails takes back what it appended", async (engine) => {
  const random = seeded(varyingSeed());
  const cache = engine.kvCache({ ...sizes, keepFirst: 2, keepLast: 18 });
  grow(cache, random, 63);
  const { q, k, v } = tokensOf(random, 1), causal = true;
  const before = (await cache.attend(q, { causal })).out.data;
  for (let time = 0; time < 3; time++) {
    const controller = new AbortController(), { signal } = controller;
    const running = cache.step(q, k, v, { causal, signal });
    controller.abort();
    await running.then(() => cache.truncate(0, 63), () => {});
    assertEquals(cache.lengths, [63]);
    assertEquals((await cache.attend(q, { causal })).out.data, before);
  }
  cache.free();
}, { needs });

contract("windows of all layers are dropped from alike, and saved", async (engine) => {
  const random = seeded(varyingSeed()), options = { ...sizes, keepFirst: 3, keepLast: 17 };
  const cache = engine.kvCache({ ...options, layers: 2 }), causal = true;
  for (let token = 0; token < 60; token++) {
    for (const layer of [0, 1]) {
      const { k, v } = tokensOf(random, 1);
      cache.append(layer, k, v);
    }
  }
  assertEquals(cache.lengths, [60]);
  assertEquals(cache.options.keepLast, 17);
  assertEquals(cache.pages, 2 * 3);
  const { q } = tokensOf(random, 1), { out } = await cache.attend(1, q, { causal });
  const bytes = await cache.save(), other = engine.kvCache({ ...options, layers: 2 });
  other.load(bytes);
  assertEquals((await other.attend(1, q, { causal })).out.data, out.data);
  assertThrows(() => cache.truncate(0, 20), RangeError, "Cannot truncate: sequence 0 has dropped");
  assertThrows(() => cache.keep(0, [20, 59]), RangeError, "Cannot keep tokens: sequence 0 has");
  assertThrows(() => cache.evict({ keepFirst: 1, keepLast: 1 }), TypeError, "has `keepLast`");
  assertEquals(cache.lengths, [60]);
  cache.truncate(0, 59);
  assertEquals(cache.lengths, [59]);
  for (const one of [cache, other]) one.free();
}, { needs });

contract("windows are loaded by windows that keep as much", async (engine) => {
  const random = seeded(varyingSeed()), options = { ...sizes, keepFirst: 3, keepLast: 17 };
  const cache = engine.kvCache(options), plain = engine.kvCache(sizes);
  grow(cache, random, 60);
  grow(plain, random, 3);
  const [bytes, whole] = [await cache.save(), await plain.save()];
  const less = engine.kvCache({ ...options, keepLast: 16 });
  for (
    const [to, from, words] of [
      [plain, bytes, "it was saved with `keepLast`, this one has none"],
      [cache, whole, "it was saved without `keepLast`, this one has 17"],
      [less, bytes, "it was saved with keepLast = 17, this one has 16"],
    ] as const
  ) {
    await assertRefused(() => to.load(from), RangeError, `Cannot load a cache: ${words}`);
  }
  // What is said to be dropped, and the checksum made anew.
  const words = new Uint32Array(bytes.slice().buffer), at = 2 + 10 + 2;
  assertEquals(words[at], 16);
  for (const dropped of [15, 64, 2 ** 31]) {
    words[at] = dropped;
    let hash = 0x811c9dc5;
    for (const word of words.subarray(0, -1)) hash = Math.imul(hash ^ word, 0x01000193);
    words[words.length - 1] = hash;
    await assertRefused(
      () => cache.load(new Uint8Array(words.buffer)),
      RangeError,
      `Cannot load a cache: sequence 0 cannot have dropped ${dropped} of 60 tokens`,
    );
  }
  assertEquals(cache.lengths, [60]);
  for (const one of [cache, plain, less]) one.free();
}, { needs });

contract("what makes no window is refused, and what is about all tokens", async (engine) => {
  for (
    const [given, Kind, words] of [
      [
        { keepFirst: 4 },
        TypeError,
        "`keepFirst` needs `keepLast`, the tokens that stay at the end",
      ],
      [{ keepLast: 0 }, RangeError, "`keepLast` must be a whole number >= 1, got 0"],
      [{ keepLast: 1.5 }, RangeError, "`keepLast` must be a whole number >= 1, got 1.5"],
      [
        { keepLast: 4, keepFirst: -1 },
        RangeError,
        "`keepFirst` must be a whole number >= 0, got -1",
      ],
    ] as const
  ) {
    await assertRefused(
      () => engine.kvCache({ ...sizes, ...given }),
      Kind,
      `Cannot make a KV cache: ${words}`,
    );
  }
  const random = seeded(varyingSeed()), cache = engine.kvCache({ ...sizes, keepLast: 4 });
  assertEquals([cache.options.keepFirst, cache.options.keepLast], [0, 4]);
  grow(cache, random, 5);
  const { q, k, v } = tokensOf(random, 1);
  const options: Record<string, CacheAttentionOptions> = {
    mask: { mask: { data: new Uint8Array(5), shape: [1, 5] } },
    bias: { bias: { data: new Float32Array(5), shape: [1, 5] } },
    scoreMod: { scoreMod: (score) => score },
    maskMod: { maskMod: ({ q, k }) => q.ge(k) },
    chunk: { chunk: 4 },
  };
  for (const [name, option] of Object.entries(options)) {
    const words =
      `Cannot attend: \`${name}\` cannot be given with a cache that has \`keepLast\`: it is ` +
      "about all tokens, of which some are dropped";
    await assertRefused(() => cache.attend(q, option), TypeError, words);
    await assertRefused(() => cache.step(q, k, v, option), TypeError, words);
  }
  await assertRefused(
    () => cache.evict({ keepFirst: 1, keepLast: 1 }),
    TypeError,
    "Cannot evict: the cache has `keepLast`, and drops tokens by itself",
  );
  await assertRefused(
    () => engine.cascadeAttention(q, { k, v }, cache),
    TypeError,
    "Cannot attend in a cascade: `suffix` is a cache that drops tokens by `keepLast`",
  );
  assertEquals(cache.lengths, [5]);
  cache.free();
}, { needs });
