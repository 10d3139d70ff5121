import type {
  CacheDType,
  Engine,
  KvCache,
  Place,
  Score,
  StepOptions,
  Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { cacheDTypes } from "../../src/contract/pages.ts";
import { assertSameBits } from "../support/bits.ts";
import { type ErrorClass, errorOf } from "../support/errors.ts";
import { gpuRequired } from "../support/gpu.ts";
import { normals, type Random, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { isWhole, sharedOut, sharedOutByShader, untilWhole } from "../support/share.ts";
import { stored } from "../support/storage.ts";
import { type BackendUnderTest, contract } from "./backends.ts";

const needs = "kvCache";

const sizes = { batch: 3, kvHeads: 2, headDim: 12, valueDim: 8, pageSize: 16 } as const;

/** Random rows `[batch, heads, count, width]`. */
function rows(random: Random, batch: number, heads: number, count: number, width: number): Tensor {
  return {
    data: normals(batch * heads * count * width, random),
    shape: [batch, heads, count, width],
  };
}

/** Queries, keys and values of so many tokens of some sequences. */
function tokens(random: Random, count: number, batch: number = sizes.batch) {
  const { kvHeads, headDim, valueDim } = sizes;
  return {
    q: rows(random, batch, 2 * kvHeads, count, headDim),
    k: rows(random, batch, kvHeads, count, headDim),
    v: rows(random, batch, kvHeads, count, valueDim),
  };
}

/** Some rows of one batch, as a view. */
function part({ data, shape, dtype }: Tensor, batch: number, from: number, to: number): Tensor {
  const [, H, N, D] = shape;
  return {
    ...{ data, dtype, shape: [1, H, to - from, D], strides: [H * N * D, N * D, D, 1] },
    offset: (batch * H * N + from) * D,
  };
}

/** A copy of views one after the other, `[1, H, all rows, D]`. */
function packed(parts: readonly Tensor[]): Tensor {
  const [, H, , D] = parts[0].shape, total = parts.reduce((sum, { shape }) => sum + shape[2], 0);
  const data = new Float32Array(H * total * D);
  for (let head = 0; head < H; head++) {
    let at = head * total * D;
    for (const { data: from, shape, strides, offset } of parts) {
      for (let row = 0; row < shape[2]; row++, at += D) {
        const first = offset! + head * strides![1] + row * strides![2];
        data.set(from.subarray(first, first + D), at);
      }
    }
  }
  return { data, shape: [1, H, total, D] };
}

/** Asserts that an error is of a class, and how its message begins. */
async function assertSays(act: () => unknown, Kind: ErrorClass, words: string): Promise<void> {
  const error = await errorOf(act);
  assertInstanceOf(error, Kind);
  assertEquals((error as Error).message.slice(0, words.length), words);
}

function assertClose(a: ArrayLike<number>, b: ArrayLike<number>, most: number, what = ""): void {
  assertEquals(a.length, b.length);
  for (let at = 0; at < a.length; at++) {
    assert(
      Object.is(a[at], b[at]) || Math.abs(a[at] - b[at]) <= most,
      `${what} ${at}: ${a[at]}, ${b[at]}`,
    );
  }
}

/** Some of a list; one on a GPU, which has shaders to compile for each. */
function some<T>(all: readonly T[], count: number, what: string): readonly T[] {
  return gpuRequired ? sharedOutByShader(all, 1, what) : sharedOut(all, count, what);
}

/** Storages of caches that a backend has: some of them. */
function someDTypes(
  { lacks }: BackendUnderTest,
  count: number,
  what: string,
): readonly CacheDType[] {
  return some(
    cacheDTypes.filter((dtype) => dtype !== "int4" || lacks?.int4Cache === undefined),
    count,
    what,
  );
}

/** What three calls do. */
async function inThree(
  engine: Engine,
  cache: KvCache,
  { q, k, v }: ReturnType<typeof tokens>,
  { rope, layout, lengths, ...options }: StepOptions & { positions: number[] },
) {
  const { positions, ...asked } = options,
    copy = (one: Tensor) => ({ ...one, data: one.data.slice() });
  const [turnedQ, turnedK] = [copy(q), copy(k)];
  if (rope) await engine.rope(turnedQ, turnedK, { ...rope, positions, layout });
  cache.append(turnedK, v, { layout, lengths });
  return await cache.attend(turnedQ, { ...asked, layout, lengths, lse: true });
}

contract("step() gives the bits of rope(), append() and attend()", async (engine, backend) => {
  const random = seeded(varyingSeed());
  for (const dtype of someDTypes(backend, 2, "step")) {
    const smoothKeys = dtype.startsWith("int");
    const [one, other] = [0, 1].map(() => engine.kvCache({ ...sizes, dtype, smoothKeys }));
    for (const [count, lengths] of [[19, [19, 4, 0]], [1, undefined], [3, [1, 3, 2]]] as const) {
      const before = one.lengths, given = tokens(random, count), q = given.q.data.slice();
      const positions = before.flatMap((length) =>
        Array.from({ length: count }, (_, at) => length + at)
      );
      const options = {
        causal: true,
        lengths,
        rope: { theta: 500, style: "interleaved" },
      } as const;
      const ours = await one.step(given.q, given.k, given.v, { ...options, lse: true });
      assertSameBits(given.q.data, q);
      // What does not count may stand anywhere.
      const three = await inThree(engine, other, given, { ...options, positions });
      assertEquals(one.lengths, other.lengths);
      assertSameBits(ours.out.data, three.out.data, dtype);
      assertSameBits(ours.lse.data, three.lse.data, dtype);
    }
    for (const cache of [one, other]) cache.free();
  }
}, { needs: [needs, "rope"] });

contract("step() turns rows of any storage and order, and as it is told to", async (engine) => {
  const random = seeded(varyingSeed()), { kvHeads, headDim, valueDim } = sizes;
  const dtypes = some(["f16", "bf16"] as const, 1, "rows of a step");
  for (const dtype of dtypes) {
    const [one, other] = [0, 1].map(() => engine.kvCache({ ...sizes, dtype }));
    for (const rope of [undefined, { dims: 6, scaling: { type: "linear", factor: 2 } } as const]) {
      const make = (heads: number, width: number) =>
        stored(rows(random, sizes.batch, 2, heads, width), dtype) as unknown as Tensor;
      const given = {
        q: make(2 * kvHeads, headDim),
        k: make(kvHeads, headDim),
        v: make(kvHeads, valueDim),
      };
      const { length } = one.lengths,
        positions = Array.from({ length: 2 * length }, (_, at) => 40 + at);
      const options = { causal: true, layout: "bnhd", softcap: 3 } as const;
      const asked = rope && { ...rope, positions };
      const ours = await one.step(given.q, given.k, given.v, {
        ...options,
        rope: asked,
        lse: true,
      });
      const three = await inThree(engine, other, given, { ...options, rope, positions });
      assertSameBits(ours.out.data, three.out.data, dtype);
      assertSameBits(ours.lse.data, three.lse.data, dtype);
    }
  }
}, { needs: [needs, "rope"] });

contract(
  "a step that fails leaves the cache as it was, and one is alone with it",
  async (engine) => {
    const random = seeded(varyingSeed()), cache = engine.kvCache({ ...sizes, capacity: 40 });
    const first = tokens(random, 17), { q, k, v } = tokens(random, 3), rope = { theta: 100 };
    cache.append(first.k, first.v);
    const before = (await cache.attend(q)).out.data;
    const ended = AbortSignal.abort(new Error("enough"));
    await assertRejects(() => cache.step(q, k, v, { rope, signal: ended }), Error, "enough");
    const many = tokens(random, 24);
    const refused: [() => Promise<unknown>, string][] = [
      [
        () => cache.step(many.q, many.k, many.v),
        "Cannot step: sequence 0 has 17 tokens and would have 41",
      ],
      [() => cache.step(many.q, k, v), "Cannot step: `q` must have as many rows as `k`, 3, got 24"],
      [() => cache.step(q, many.k, v), "Cannot step: `v` must have shape"],
      [() => cache.step(q, k, v, { rope: { theta: -1 } }), "Cannot rotate: `theta`"],
      [() => cache.step(q, k, v, { scale: NaN }), "Cannot attend: `scale`"],
      [
        () => cache.step(q, k, v, { lengths: [4, 0, 0] }),
        "Cannot step: `lengths` must be whole numbers",
      ],
    ];
    for (const [call, message] of refused) await assertSays(call, RangeError, message);
    await assertSays(
      () => cache.step(q, k, v, { rope: { layout: "bhnd" } as never }),
      TypeError,
      "Cannot step: unknown option `layout`",
    );
    const late = new AbortController();
    const running = cache.step(q, k, v, { rope, signal: late.signal });
    assertThrows(() => cache.append(k, v), Error, "Cannot append: a call reads the cache");
    await assertRejects(() => cache.attend(q), Error, "Cannot attend: a step of the cache runs");
    late.abort(new Error("too late"));
    await running.catch(() => {});
    cache.truncate(0, 17);
    for (const at of [1, 2]) cache.truncate(at, 17);
    assertSameBits((await cache.attend(q)).out.data, before);
    await cache.step(q, k, v, { rope });
    assertEquals(cache.lengths, [20, 20, 20]);
  },
  { needs: [needs, "rope"] },
);

contract("some sequences are appended to and attended to by themselves", async (engine) => {
  const random = seeded(varyingSeed()),
    cache = engine.kvCache(sizes),
    whole = engine.kvCache(sizes);
  const all = tokens(random, 30), few = tokens(random, 5, 2);
  for (const one of [cache, whole]) one.append(all.k, all.v, { lengths: [30, 7, 21] });
  cache.append(few.k, few.v, { sequences: Uint8Array.of(2, 0), lengths: [5, 2] });
  assertEquals(cache.lengths, [32, 7, 26]);
  for (const [sequence, from, count] of [[2, 0, 5], [0, 1, 2]] as const) {
    const lengths = [0, 0, 0].map((_, at) => at === sequence ? count : 0);
    const padded = (one: Tensor) => {
      const [, H, N, D] = one.shape, data = new Float32Array(3 * H * N * D);
      data.set(one.data.subarray(from * H * N * D, (from + 1) * H * N * D), sequence * H * N * D);
      return { data, shape: [3, H, N, D] };
    };
    whole.append(padded(few.k), padded(few.v), { lengths });
  }
  const q = rows(random, 3, 4, 1, sizes.headDim), order = [2, 0];
  const theirs = await whole.attend(q, { causal: true, lse: true });
  const picked = packed(order.map((at) => part(q, at, 0, 1)));
  const H = 4, mine = { ...q, data: new Float32Array(2 * H * sizes.headDim), shape: [2, H, 1, 12] };
  order.forEach((at, nth) => {
    mine.data.set(q.data.subarray(at * H * 12, (at + 1) * H * 12), nth * H * 12);
  });
  const ours = await cache.attend(mine, { causal: true, sequences: order, lse: true });
  const own = await cache.attend(picked, { causal: true, sequences: order, cuSeqlens: [0, 1, 2] });
  const width = H * sizes.valueDim;
  order.forEach((at, nth) => {
    const expected = theirs.out.data.subarray(at * width, (at + 1) * width);
    assertSameBits(ours.out.data.subarray(nth * width, (nth + 1) * width), expected);
    assertSameBits(
      ours.lse.data.subarray(nth * H, (nth + 1) * H),
      theirs.lse.data.subarray(at * H, (at + 1) * H),
    );
    for (let head = 0; head < H; head++) {
      const row = (head * 2 + nth) * sizes.valueDim, from = head * sizes.valueDim;
      const rowOf = own.out.data.subarray(row, row + sizes.valueDim);
      assertClose(rowOf, expected.subarray(from, from + sizes.valueDim), 2e-6);
    }
  });
}, { needs });

contract("packed rows of a cache are each sequence's own", async (engine, backend) => {
  const random = seeded(varyingSeed());
  for (const dtype of someDTypes(backend, 1, "packed rows")) {
    const cache = engine.kvCache({ ...sizes, dtype }), apart = engine.kvCache({ ...sizes, dtype });
    const given = tokens(random, 40), counts = [1, 37, 6], bounds = [0, 1, 38, 44];
    const first = tokens(random, 20);
    for (const one of [cache, apart]) one.append(first.k, first.v, { lengths: [20, 0, 11] });
    const parts = (one: Tensor) => counts.map((count, at) => part(one, at, 0, count));
    cache.append(packed(parts(given.k)), packed(parts(given.v)), { cuSeqlens: bounds });
    apart.append(given.k, given.v, { lengths: counts });
    assertEquals(cache.lengths, [21, 37, 17]);
    const slopes = Float32Array.from({ length: 12 }, random),
      sinks = Float32Array.from({ length: 4 }, random);
    const bias = rows(random, 1, 1, 44, 37),
      mask = new Uint8Array(44 * 37).map(() => Number(random() < 0.8));
    const options = { causal: true, window: [25, null], softcap: 4, sinks, lse: true } as const;
    const q = packed(parts(given.q));
    const ours = await cache.attend(q, {
      ...{
        ...options,
        cuSeqlens: Int32Array.from(bounds),
        bias,
        mask: { data: mask, shape: [44, 37] },
      },
      alibi: { data: slopes, shape: [3, 4] },
    });
    for (const [at, count] of counts.entries()) {
      const from = bounds[at], keys = cache.lengths[at];
      const theirs = await apart.attend(part(given.q, at, 0, count), {
        ...{ ...options, sequences: [at], alibi: slopes.slice(at * 4, at * 4 + 4) },
        bias: { data: bias.data, shape: [count, keys], strides: [37, 1], offset: from * 37 },
        mask: { data: mask, shape: [count, keys], strides: [37, 1], offset: from * 37 },
      });
      for (let head = 0; head < 4; head++) {
        const [row, own] = [(head * 44 + from) * 8, head * count * 8], end = count * 8;
        assertClose(
          ours.out.data.subarray(row, row + end),
          theirs.out.data.subarray(own, own + end),
          4e-6,
          dtype,
        );
        assertClose(
          ours.lse.data.subarray(head * 44 + from, head * 44 + from + count),
          theirs.lse.data.subarray(head * count, (head + 1) * count),
          4e-6,
        );
      }
    }
  }
}, { needs });

contract("packed rows of a cache go by integers and through functions, too", async (engine) => {
  const random = seeded(varyingSeed()), counts = [60, 1, 50], bounds = [0, 60, 61, 111];
  const cache = engine.kvCache(sizes), first = tokens(random, 150), given = tokens(random, 60);
  cache.append(first.k, first.v, { lengths: [90, 150, 100] });
  const q = packed(counts.map((count, at) => part(given.q, at, 0, count)));
  const calls = [
    [{ precision: "int8-qk" }, 6e-2],
    [{ scoreMod: (score: Score, { q, k }: Place) => score.sub(q.sub(k).toF32().mul(0.03)) }, 4e-6],
  ] as const;
  for (const [more, most] of calls) {
    const ours = await cache.attend(q, { ...more, causal: true, cuSeqlens: bounds });
    for (const [at, count] of counts.entries()) {
      const rows = part(given.q, at, 0, count);
      const theirs = await cache.attend(rows, { ...more, causal: true, sequences: [at] });
      for (let head = 0; head < 4; head++) {
        const [row, own] = [(head * 111 + bounds[at]) * 8, head * count * 8], end = count * 8;
        const expected = theirs.out.data.subarray(own, own + end);
        assertClose(ours.out.data.subarray(row, row + end), expected, most, Object.keys(more)[0]);
      }
    }
  }
}, { needs: [needs, "functions"], skip: isWhole ? undefined : untilWhole });

contract("a packed step turns each token by its place in its sequence", async (engine) => {
  const random = seeded(varyingSeed()),
    cache = engine.kvCache(sizes),
    apart = engine.kvCache(sizes);
  const first = tokens(random, 9), given = tokens(random, 6), sequences = [2, 1], counts = [5, 1];
  for (const one of [cache, apart]) one.append(first.k, first.v, { lengths: [3, 9, 0] });
  const pick = (one: Tensor) => packed(sequences.map((at, nth) => part(one, at, 0, counts[nth])));
  const asked = { causal: true, rope: { theta: 100 }, sequences } as const;
  const ours = await cache.step(pick(given.q), pick(given.k), pick(given.v), {
    ...asked,
    cuSeqlens: [0, 5, 6],
  });
  assertEquals(cache.lengths, [3, 10, 5]);
  const three = ["q", "k", "v"] as const;
  for (const [nth, at] of sequences.entries()) {
    const [q, k, v] = three.map((name) => part(given[name], at, 0, counts[nth]));
    const theirs = await apart.step(q, k, v, { ...asked, sequences: [at] });
    for (let head = 0; head < 4; head++) {
      const row = (head * 6 + (nth === 0 ? 0 : 5)) * 8,
        own = head * counts[nth] * 8,
        end = counts[nth] * 8;
      assertClose(
        ours.out.data.subarray(row, row + end),
        theirs.out.data.subarray(own, own + end),
        2e-6,
      );
    }
  }
}, { needs: [needs, "rope"] });

/** Which of a draft's tokens each sees, by walking up. */
function ancestry(parents: readonly number[]): Uint8Array {
  const n = parents.length, sees = new Uint8Array(n * n);
  for (let row = 0; row < n; row++) {
    for (let at = row; at >= 0; at = parents[at]) sees[row * n + at] = 1;
  }
  return sees;
}

contract("drafted tokens see what they follow on", async (engine) => {
  const random = seeded(varyingSeed()), { valueDim } = sizes;
  const cache = engine.kvCache(sizes), first = tokens(random, 33), draft = tokens(random, 8);
  const parents = Array.from(
    { length: 3 },
    () => Array.from({ length: 8 }, (_, row) => Math.floor(random() * (row + 1)) - 1),
  );
  cache.append(first.k, first.v, { lengths: [33, 12, 0] });
  cache.append(draft.k, draft.v);
  const asked = { scale: 0.4, lse: true } as const;
  const tree = await cache.attend(draft.q, {
    ...asked,
    parents: { data: Int8Array.from(parents.flat()), shape: [3, 8] },
  });
  const masks = Uint8Array.from(parents.flatMap((one) => [...ancestry(one)]));
  const square = await cache.attend(draft.q, {
    ...asked,
    tailMask: { data: masks, shape: [3, 8, 8] },
  });
  assertSameBits(tree.out.data, square.out.data);
  assertSameBits(tree.lse.data, square.lse.data);
  for (const [at, length] of [33, 12, 0].entries()) {
    const mask = new Uint8Array(8 * (length + 8)).fill(1), sees = ancestry(parents[at]);
    for (let row = 0; row < 8; row++) {
      mask.set(sees.subarray(row * 8, row * 8 + 8), row * (length + 8) + length);
    }
    const both = (name: "k" | "v") =>
      packed([part(first[name], at, 0, length), part(draft[name], at, 0, 8)]);
    const q = part(draft.q, at, 0, 8);
    const exact = referenceAttention(q, both("k"), both("v"), {
      scale: 0.4,
      mask: { data: mask, shape: [8, length + 8] },
    });
    const each = 4 * 8 * valueDim, ours = tree.out.data.subarray(at * each, (at + 1) * each);
    assertClose(ours, exact.out.data, 2e-6);
    assertClose(tree.lse.data.subarray(at * 32, (at + 1) * 32), exact.lse.data, 4e-6);
  }
  // Trees of different sizes, packed; and one for all, of which some rows count.
  const bounds = [0, 8, 8, 11], some = cache.lengths;
  cache.truncate(2, 3);
  const q = packed([part(draft.q, 0, 0, 8), part(draft.q, 2, 0, 3)]);
  const several = await cache.attend(q, {
    scale: 0.4,
    cuSeqlens: bounds,
    parents: [...parents[0], ...parents[2].slice(0, 3)],
  });
  for (let head = 0; head < 4; head++) {
    const row = several.out.data.subarray(head * 11 * 8, head * 11 * 8 + 64);
    assertClose(row, tree.out.data.subarray(head * 64, head * 64 + 64), 2e-6);
    const last = several.out.data.subarray((head * 11 + 8) * 8, (head * 11 + 11) * 8);
    const own = (2 * 4 + head) * 64;
    assertClose(last, tree.out.data.subarray(own, own + 24), 2e-6);
  }
  assertEquals(some, [41, 20, 8]);
  const chain = [-1, 0, 1, 2, 3, 4, 5, 6];
  const line = await cache.attend(draft.q, { parents: chain, lengths: [8, 8, 3] });
  const causal = await cache.attend(draft.q, { causal: true, lengths: [8, 8, 3] });
  assertClose(line.out.data, causal.out.data, 2e-6);
}, { needs });

contract(
  "keep() leaves the tokens that are named, and no trace in others",
  async (engine, backend) => {
    const random = seeded(varyingSeed()), indices = [13, 16, 17, 31, 33];
    for (const dtype of someDTypes(backend, 1, "keep")) {
      const smoothKeys = dtype.startsWith("int");
      const cache = engine.kvCache({ ...sizes, dtype, smoothKeys }), given = tokens(random, 35);
      const q = rows(random, 3, 4, 1, sizes.headDim),
        kept = engine.kvCache({ ...sizes, dtype, smoothKeys });
      cache.append(given.k, given.v, { lengths: [35, 0, 5] });
      cache.fork(0, 1);
      const width = 4 * sizes.valueDim, before = (await cache.attend(q)).out.data.slice(width);
      cache.keep(0, indices);
      assertEquals(cache.lengths, [18, 35, 5]);
      assertSameBits((await cache.attend(q)).out.data.subarray(width), before);
      const pick = (one: Tensor) =>
        packed([part(one, 0, 0, 13), ...indices.map((at) => part(one, 0, at, at + 1))]);
      // By the same means.
      kept.append(given.k, given.v, { lengths: [35, 0, 0] });
      kept.truncate(0, smoothKeys ? 13 : 0);
      const from = smoothKeys ? 13 : 0, view = (one: Tensor) => part({ ...pick(one) }, 0, from, 18);
      kept.append(view(given.k), view(given.v), { sequences: [0] });
      const [ours, theirs] = [await cache.attend(q), await kept.attend(q)];
      assertSameBits(ours.out.data.subarray(0, width), theirs.out.data.subarray(0, width), dtype);
      cache.keep(1, [34]);
      cache.keep(2, Int16Array.of(0, 1));
      assertEquals(cache.lengths, [18, 35, 2]);
    }
  },
  { needs },
);

contract(
  "reorder() gives every sequence the tokens of another, which grow apart",
  async (engine) => {
    const random = seeded(varyingSeed()),
      cache = engine.kvCache(sizes),
      other = engine.kvCache(sizes);
    const given = tokens(random, 20),
      more = tokens(random, 2),
      q = rows(random, 3, 4, 1, sizes.headDim);
    cache.append(given.k, given.v, { lengths: [20, 3, 16] });
    const { pages } = cache;
    cache.reorder([2, 0, 0]);
    assertEquals([cache.lengths, cache.pages], [[16, 20, 20], pages - 1]);
    cache.append(more.k, more.v);
    for (const at of [2, 0, 0]) {
      const lengths = [20, 3, 16], free = other.lengths.indexOf(0);
      other.append(part(given.k, at, 0, lengths[at]), part(given.v, at, 0, lengths[at]), {
        sequences: [free],
      });
    }
    other.append(more.k, more.v);
    assertSameBits((await cache.attend(q)).out.data, (await other.attend(q)).out.data);
    cache.reorder(Uint32Array.of(0, 1, 2));
    assertSameBits((await cache.attend(q)).out.data, (await other.attend(q)).out.data);
  },
  { needs },
);

contract("a KV cache refuses rows, trees and orders that are none", async (engine) => {
  const random = seeded(varyingSeed()), cache = engine.kvCache({ ...sizes, pages: 5 });
  const { q, k, v } = tokens(random, 4), two = tokens(random, 4, 2), one = tokens(random, 4, 1);
  cache.append(k, v);
  const before = (await cache.attend(q)).out.data, tree = [-1, 0, 0, 2];
  const zeros = (heads: number, width: number): Tensor => ({
    data: new Float32Array(heads * 5000 * width),
    shape: [1, heads, 5000, width],
  });
  const many = { q: zeros(4, 12), k: zeros(2, 12), v: zeros(2, 8) };
  const ranges: [() => unknown, string][] = [
    [
      () => cache.append(two.k, two.v, { sequences: [0, 3] }),
      "Cannot append: `sequences` must be different whole numbers from 0 to 2, got 3",
    ],
    [
      () => cache.attend(two.q, { sequences: [1, 1] }),
      "Cannot attend: `sequences` must be different whole numbers from 0 to 2, got 1",
    ],
    [
      () => cache.attend(q, { sequences: [0, 1] }),
      "Cannot attend: `q` must have B = 2 as the cache has, got 3",
    ],
    [
      () => cache.append(k, v, { cuSeqlens: [0, 1, 2, 4] }),
      "Cannot append: `k` must have shape [B, Hkv, n, D] = [1,2,4,12], got [3,2,4,12]",
    ],
    [
      () => cache.append(one.k, one.v, { cuSeqlens: [0, 1, 4] }),
      "Cannot append: `cuSeqlens` must be where the rows of each sequence begin, and where all end, 4 numbers, got 3",
    ],
    [
      () => cache.append(one.k, one.v, { cuSeqlens: [0, 2, 1, 4] }),
      "Cannot append: `cuSeqlens` must begin with 0 and not decrease, got 1 at index 2",
    ],
    [
      () => cache.attend(one.q, { cuSeqlens: [0, 1, 2, 3] }),
      "Cannot attend: `cuSeqlens` must end with N = 4, the rows of all sequences, got 3",
    ],
    [
      () => cache.attend(one.q, { cuSeqlens: [0, 0, 4, 4], causal: true, parents: [-1, 0, 0, 3] }),
      "Cannot attend: `parents[3]` must be a row before it, counted from the first of its sequence, or -1, got 3",
    ],
    [
      () => cache.attend(q, { parents: [-1, 2, 1, 0] }),
      "Cannot attend: `parents[1]` must be a row before it",
    ],
    [
      () => cache.attend(q, { parents: [-1, 0, -2, 0] }),
      "Cannot attend: `parents[2]` must be a row before it",
    ],
    [
      () => cache.attend(q, { parents: [-1, 0] }),
      "Cannot attend: `parents` must be 4 numbers, one per row, or [3, 4] for those of each sequence, got [2]",
    ],
    [
      () => cache.attend(q, { tailMask: { data: new Uint8Array(12), shape: [3, 4] } }),
      "Cannot attend: `tailMask` must have shape [Nq, Nq] = [4, 4]",
    ],
    [
      () => cache.attend(tokens(random, 5).q, { parents: [-1, 0, 0, 0, 0] }),
      "Cannot attend: `parents` needs a token for each of the 5 rows of sequence 0, which has 4; append their keys first",
    ],
    [
      () => cache.step(many.q, many.k, many.v, { sequences: [0], parents: new Int8Array(5000) }),
      "Cannot step: `parents` is for at most 4096 rows of a sequence, got 5000",
    ],
    [() => cache.keep(0, []), "Cannot keep tokens: `indices` must name one at least"],
    [
      () => cache.keep(0, [2, 4]),
      "Cannot keep tokens: `indices` must be whole numbers from 0 to 3 that ascend, got 4 behind 2",
    ],
    [
      () => cache.keep(0, [2, 1]),
      "Cannot keep tokens: `indices` must be whole numbers from 0 to 3 that ascend, got 1 behind 2",
    ],
    [() => cache.keep(0, [1, 1]), "Cannot keep tokens: `indices`"],
    [() => cache.keep(3, [0]), "Cannot find a sequence"],
    [
      () => cache.reorder([0, 1]),
      "Cannot reorder: `indices` must be one sequence for each, B = 3, got 2",
    ],
    [
      () => cache.reorder([0, 1, 3]),
      "Cannot reorder: `indices` must be whole numbers from 0 to 2, got 3",
    ],
    [
      () => cache.reorder([0, 1, 0.5]),
      "Cannot reorder: `indices` must be whole numbers from 0 to 2, got 0.5",
    ],
  ];
  for (const [call, message] of ranges) await assertSays(call, RangeError, message);
  const tail = { data: new Uint8Array(16), shape: [4, 4] } as const;
  const types: [() => unknown, string][] = [
    [
      () => cache.append(two.k, two.v, { sequences: 1 as never }),
      "Cannot append: `sequences` must be an array of their numbers, got 1",
    ],
    [
      () => cache.append(one.k, one.v, { cuSeqlens: [0, 1, 2, 4], lengths: [1, 1, 2] }),
      "Cannot append: `lengths` cannot be given with `cuSeqlens`",
    ],
    [
      () => cache.attend(one.q, { cuSeqlens: { q: [0, 4] } as never }),
      "Cannot attend: `cuSeqlens` must be where the rows of each sequence begin",
    ],
    [
      () => cache.attend(one.q, { cuSeqlens: [0, 1, 2, 4], tailMask: tail }),
      "Cannot attend: `tailMask` cannot be given with `cuSeqlens`",
    ],
    [
      () => cache.attend(q, { parents: tree, tailMask: tail }),
      "Cannot attend: `tailMask` cannot be given with `parents`",
    ],
    [
      () => cache.attend(q, { parents: tree, mask: tail }),
      "Cannot attend: `parents` cannot be given with `mask`",
    ],
    [
      () => cache.attend(q, { parents: "0123" as never }),
      "Cannot attend: `parents` must be 4 numbers",
    ],
    [
      () => cache.keep(0, 1 as never),
      "Cannot keep tokens: `indices` must be an array of whole numbers, got 1",
    ],
    [
      () => cache.reorder(null as never),
      "Cannot reorder: `indices` must be one sequence for each, B = 3, got null",
    ],
  ];
  for (const [call, message] of types) await assertSays(call, TypeError, message);
  // Copies that there is no room for.
  const full = engine.kvCache({ ...sizes, pages: 2 }), some = tokens(random, 20, 1);
  full.append(some.k, some.v, { sequences: [0] });
  full.fork(0, 1);
  assertThrows(
    () => full.keep(1, [3, 18]),
    RangeError,
    "Cannot keep: 1 more pages are needed, 0 of 2 are free",
  );
  assertEquals(full.lengths, [20, 20, 0]);
  assertSameBits((await cache.attend(q)).out.data, before);
}, { needs });
