import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type AttentionOptions,
  type AttentionResultWithLse,
  blockMask,
  type CacheDType,
  type Engine,
  tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";

const largest = 3.4028234663852886e38;

/** Numbers of f32 of any size: people turn a sink off with one of them. */
const anySize = fc.record({
  isNegative: fc.boolean(),
  exponent: fc.double({ min: -3, max: 38.5, noNaN: true }),
}).map(({ isNegative, exponent }) =>
  Math.fround((isNegative ? -1 : 1) * Math.min(largest, 10 ** exponent))
);

/** Asserts that a result is the oracle's but for some roundings of scores. */
function assertNear(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  what: string,
  allowed = 4e-6,
): void {
  assertEquals(actual.length, expected.length);
  for (let at = 0; at < actual.length; at++) {
    if (Object.is(actual[at], expected[at])) continue;
    const error = Math.abs(actual[at] - expected[at]) / Math.max(1, Math.abs(expected[at]));
    assert(error <= allowed, `${what}: ${actual[at]}, expected ${expected[at]}`);
  }
}

/** Asks an engine and the oracle for the same. */
async function assertAsOracle(
  engine: Engine,
  { q, k, v }: ReturnType<typeof inputsOf>,
  options: AttentionOptions,
  allowed?: number,
): Promise<void> {
  const ours = await engine.attention(q, k, v, { ...options, lse: true });
  const exact = referenceAttention(q, k, v, options);
  assertNear(ours.out.data, exact.out.data, "out", allowed);
  assertNear(ours.lse.data, exact.lse.data, "lse", allowed);
}

contract("attention() is right for sinks of any size", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 4, Nq: 3, Nk: 9, D: 4 }), 1));
  await fc.assert(
    fc.asyncProperty(fc.array(anySize, { minLength: 4, maxLength: 4 }), async (sizes) => {
      const sinks = { data: Float32Array.from(sizes), shape: [4] };
      await assertAsOracle(engine, inputs, { sinks });
      const { q, k, v } = inputs;
      const none = await engine.attention(q, k, v, { sinks, kvLengths: [0], lse: true });
      assertSameBits(none.lse.data, [...sinks.data].flatMap((sink) => [sink, sink, sink]), "lse");
      assertSameBits(none.out.data, none.out.data.map(() => 0), "out");
    }),
    runs(60),
  );
});

/** Bits of NaN: of either sign, quiet or signalling, with any payload. */
const notNumbers = fc.record({
  isNegative: fc.boolean(),
  payload: fc.oneof(
    fc.integer({ min: 1, max: 0x7fffff }),
    fc.constantFrom(1, 0x200, 0x400001, 0x7fffff),
  ),
}).map(({ isNegative, payload }) => ((isNegative ? 0xff800000 : 0x7f800000) | payload) >>> 0);

/** Puts bits in the place of a number. */
function patched(data: Float32Array, at: number, bits: number): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(Float32Array.from(data).buffer);
  words[at] = bits;
  return new Float32Array(words.buffer);
}

/** Asserts that a row is NaN, and that all others are as they were. */
function assertSpoilt(
  { out, lse }: AttentionResultWithLse,
  before: AttentionResultWithLse,
  row: number,
  what: string,
): void {
  const width = out.shape.at(-1)!;
  const spoilt = (data: Float32Array, each: number) =>
    data.map((x, at) => Math.floor(at / each) === row ? NaN : x);
  assertSameBits(out.data, spoilt(before.out.data, width), `out, ${what}`);
  assertSameBits(lse.data, spoilt(before.lse.data, 1), `lse, ${what}`);
}

for (const Nq of [3, 11]) {
  contract(
    `attention() of ${Nq} queries gives NaN for NaN of any bits, in its row alone`,
    async (engine) => {
      const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq, Nk: 30, D: 4 }), 2));
      const bias = { data: new Float32Array(Nq * 30).fill(0.5), shape: [Nq, 30] };
      const options = { bias, lse: true } as const;
      const before = await engine.attention(q, k, v, options);
      await fc.assert(
        fc.asyncProperty(notNumbers, fc.nat(Nq - 1), fc.nat(29), async (bits, row, key) => {
          const biased = { ...bias, data: patched(bias.data, row * 30 + key, bits) };
          const byBias = await engine.attention(q, k, v, { ...options, bias: biased });
          assertSpoilt(byBias, before, row, "bias");
          const query = { ...q, data: patched(q.data, row * 4, bits) };
          const byQuery = await engine.attention(query, k, v, options);
          assertSpoilt(byQuery, before, row, "q");
          const spoilt = { ...k, data: patched(k.data, key * 4, bits) };
          // A key that one row sees: the others see those before it.
          const mask = { data: new Uint8Array(Nq * 30).fill(1), shape: [Nq, 30] };
          for (let i = 0; i < Nq; i++) if (i !== row) mask.data[i * 30 + key] = 0;
          const masked = { mask, lse: true } as const;
          const byKey = await engine.attention(q, spoilt, v, masked);
          assertSpoilt(byKey, await engine.attention(q, k, v, masked), row, "k");
        }),
        runs(40),
      );
    },
  );
}

const cacheDTypes: readonly CacheDType[] = ["f32", "f16", "bf16", "int8", "int4"];

for (const dtype of cacheDTypes) {
  const needs = dtype === "int4" ? ["kvCache", "int4Cache"] as const : "kvCache";

  contract(`a cache in ${dtype} keeps NaN of any bits`, async (engine) => {
    const sizes = sizesOf({ Nq: 12, Nk: 40, D: 8 });
    const { q, k, v } = inputsOf(randomProblem(sizes, 3));
    await fc.assert(
      fc.asyncProperty(notNumbers, fc.nat(39), fc.nat(7), async (bits, key, column) => {
        const bad = { ...k, data: patched(k.data, key * 8 + column, bits) };
        const cache = await engine.kvCache({ batch: 1, kvHeads: 1, headDim: 8, dtype });
        await cache.append(bad, v);
        for (const rows of [1, 3, 7, 12]) {
          const some = tensor(q.data.slice(0, rows * 8), [1, 1, rows, 8]);
          const { out, lse } = await cache.attend(some, { lse: true });
          assertSameBits(lse.data, lse.data.map(() => NaN), `lse of ${rows} rows`);
          assertSameBits(out.data, out.data.map(() => NaN), `out of ${rows} rows`);
        }
        cache.free();
      }),
      runs(12),
    );
  }, { needs });
}

/** How far a sum over a million keys may be off, relatively. */
const ofLongRows = 2e-6;

/**
 * Asserts the result of keys that are all equal, but for the first, and of equal values: errors of
 * rounding then all go one way.
 */
function assertLong(
  { out, lse }: AttentionResultWithLse,
  value: number,
  keys: number,
  first: number,
  what: string,
): void {
  const sum = Math.log(keys - 1 + Math.exp(first));
  for (const x of out.data) {
    const error = Math.abs(x / value - 1);
    assert(error <= ofLongRows, `out, ${what}: off by ${error}`);
  }
  for (const x of lse.data) {
    const error = Math.abs(x / sum - 1);
    assert(error <= ofLongRows, `lse, ${what}: off by ${error}`);
  }
}

/** Rows that all are `one` in their first element and 0 else. */
function rowsOf(rows: number, one: number) {
  const data = new Float32Array(rows * 4);
  for (let row = 0; row < rows; row++) data[4 * row] = one;
  return tensor(data, [1, 1, rows, 4]);
}

/** Keys of 0 but for the first, and equal values. */
function equalKeys(keys: number, value: number) {
  const k = new Float32Array(keys * 4);
  k[0] = 1;
  return {
    k: tensor(k, [1, 1, keys, 4]),
    v: tensor(new Float32Array(keys * 4).fill(value), [1, 1, keys, 4]),
  };
}

/** Values whose sums are rounded each in another way; 0.1 is what was reported. */
const someValues = fc.oneof(
  fc.constant(0.1),
  fc.double({ min: 0.1, max: 10, noNaN: true }),
).map(Math.fround);

const longRows = fc.record({
  value: someValues,
  first: fc.constantFrom(0, 0, 0.37, 2.5),
  rows: fc.constantFrom(1, 3, 20, 70),
});

/** Lavapipe leaves loops after 65,535 turns, of which a row in one part takes four for each key. */
const mostKeysOfPart = 2 ** 14;

for (const [most, times] of [[2 ** 16, 9], [2 ** 20, 3]]) {
  contract(`attention() to ${most} equal keys is as exact as to few`, async (engine, { name }) => {
    const isGpu = name === "webgpu";
    if (isGpu && most > 2 ** 16) return; // Minutes where a program stands in for it.
    await fc.assert(
      fc.asyncProperty(longRows, async ({ value, first, rows }) => {
        const keys = isGpu && rows > 64 ? mostKeysOfPart : most;
        const { k, v } = equalKeys(keys, value), q = rowsOf(rows, first);
        const result = await engine.attention(q, k, v, { scale: 1, lse: true });
        assertLong(result, value, keys, Math.fround(first), `${rows} rows`);
      }),
      {
        ...runs(times),
        examples: [
          [{ value: Math.fround(0.1), first: 0, rows: 20 }],
          [{ value: Math.fround(0.1), first: 0.37, rows: 70 }],
        ],
      },
    );
  });
}

contract("attention() with a mask is as exact over long rows", async (engine) => {
  const keys = 2 ** 16, { k, v } = equalKeys(keys, 0.1), q = rowsOf(20, 0);
  const terms: Record<string, AttentionOptions> = {
    mask: { mask: { data: new Uint8Array(keys).fill(1), shape: [keys] } },
    bias: { bias: { data: new Float32Array(keys), shape: [keys] } },
    blockMask: { blockMask: blockMask.prefix(keys, { queries: 20, keys, block: 64 }) },
    sinks: { sinks: { data: Float32Array.of(-50), shape: [1] } },
  };
  for (const [name, options] of Object.entries(terms)) {
    const result = await engine.attention(q, k, v, { ...options, scale: 1, lse: true });
    assertLong(result, Math.fround(0.1), keys, 0, name);
  }
});

for (const dtype of cacheDTypes) {
  const needs = dtype === "int4" ? ["kvCache", "int4Cache"] as const : "kvCache";

  contract(`a cache in ${dtype} is as exact over long rows`, async (engine) => {
    // A number that all storages hold; with the first key's its sums are rounded all the same.
    const keys = 2 ** 16, value = 0.4375, first = 0.3701171875;
    const { k, v } = equalKeys(keys, value);
    const cache = await engine.kvCache({ batch: 1, kvHeads: 1, headDim: 4, dtype });
    await cache.append(k, v);
    for (const rows of [1, 3, 20]) {
      const result = await cache.attend(rowsOf(rows, first), { scale: 1, lse: true });
      assertLong(result, value, keys, first, `${rows} rows`);
    }
    cache.free();
  }, { needs });
}

contract(
  "attention() gives a row of 5,000 keys the same bits alone and beside others",
  async (engine) => {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 20, Nk: 5000, D: 8 }), 4));
    const whole = await engine.attention(q, k, v, { lse: true });
    for (const row of [0, 7, 19]) {
      const alone = tensor(q.data.slice(row * 8, row * 8 + 8), [1, 1, 1, 8]);
      const { out, lse } = await engine.attention(alone, k, v, { lse: true });
      assertSameBits(out.data, whole.out.data.slice(row * 8, row * 8 + 8), "out");
      assertSameBits(lse.data, [whole.lse.data[row]], "lse");
    }
  },
  { needs: "sameBitsForFewRows" },
);

contract("attention() is right for every finite bias", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Nq: 3, Nk: 6, D: 4 }), 5));
  const some = fc.oneof(
    fc.double({ min: -3, max: 3, noNaN: true }).map(Math.fround),
    fc.double({ min: 30, max: 38.5, noNaN: true }).chain((exponent) =>
      fc.constantFrom(1, -1).map((sign) => Math.fround(sign * Math.min(largest, 10 ** exponent)))
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(some, { minLength: 18, maxLength: 18 }), async (biases) => {
      const bias = { data: Float32Array.from(biases), shape: [3, 6] };
      await assertAsOracle(engine, inputs, { bias });
    }),
    runs(60),
  );
});

contract("attention() is right for queries and keys at the ends of f32", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 3, Nk: 6, D: 1, Dv: 4 }), 6));
  // The largest numbers, times such as are still normal: scores are from 2 to 8 times the scale.
  const between = ({ data, shape }: typeof q, least: number) =>
    tensor(data.map((x) => least * (1 + Math.abs(Math.sin(x)))), shape);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(0.1, 1, 3, 17),
      fc.constantFrom(0, 0.5, 3),
      fc.boolean(),
      async (scale, softcap, isLargeKey) => {
        const [ofQ, ofK] = isLargeKey ? [1.2e-38, 1.7e38] : [1.7e38, 1.2e-38];
        const ends = { q: between(q, ofQ), k: between(k, ofK), v };
        await assertAsOracle(engine, ends, { scale, softcap }, 4e-6 * Math.max(1, scale));
      },
    ),
    runs(30),
  );
});

contract("attention() sees the right keys however far window and offset are", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Nq: 4, Nk: 40, D: 4 }), 7));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(2 ** 29, 2 ** 30, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52),
      fc.integer({ min: -60, max: 60 }),
      fc.integer({ min: 0, max: 60 }),
      fc.boolean(),
      async (far, shift, width, isLeft) => {
        // Keys around `shift`, from an aligned key far to the right, or to the left.
        const window: [number, number | null] = isLeft ? [far, null] : [width, far];
        const offset = isLeft ? far + shift : shift - far;
        await assertAsOracle(engine, inputs, { offset, window });
      },
    ),
    runs(60),
  );
});

contract("attention() gives NaN for +Infinity, and sees no key of -Infinity", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 1, Nk: 3, D: 1 }), 8));
  q.data[0] = 1;
  k.data.set([0.5, 0.25, 0]);
  const all = async (options: AttentionOptions, keys = k) => {
    const { out, lse } = await engine.attention(q, keys, v, { ...options, lse: true });
    return [...out.data, ...lse.data];
  };
  const infinite = (x: number) => tensor(Float32Array.of(x, 0.25, 0), [1, 1, 3, 1]);
  const without = { kvLengths: [3], mask: { data: Uint8Array.of(0, 1, 1), shape: [3] } };
  const bias = (x: number) => ({ bias: { data: Float32Array.of(x, 0, 0), shape: [3] } });
  assertSameBits(await all({}, infinite(Infinity)), [NaN, NaN], "a score");
  assertSameBits(await all(bias(Infinity)), [NaN, NaN], "a bias");
  const sinks = { data: Float32Array.of(Infinity), shape: [1] };
  assertSameBits(await all({ sinks }), [NaN, NaN], "a sink");
  assertNear(await all(bias(-Infinity)), await all(without), "a bias");
  assertNear(await all({}, infinite(-Infinity)), await all(without), "a score");
  const capped = referenceAttention(q, infinite(Infinity), v, { softcap: 2 });
  assertNear(
    await all({ softcap: 2 }, infinite(Infinity)),
    [...capped.out.data, ...capped.lse.data],
    "a score that is capped",
  );
});
