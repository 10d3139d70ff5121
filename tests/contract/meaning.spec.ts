import { type AttentionOptions, blockMask, type Engine, type Tensor } from "@flashtile/attention";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { optionNames } from "../../src/operations/attention/options.ts";
import { assertSameBits } from "../support/bits.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { contract } from "./backends.ts";

/** A tensor of zeros. */
function zeros(...shape: number[]): Tensor {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
}

/** Values that tell which keys a row saw: key `j` is 1 in column `j`. */
function identity(n: number): Tensor {
  return {
    data: Float32Array.from({ length: n * n }, (_, at) => at % (n + 1) === 0 ? 1 : 0),
    shape: [n, n],
  };
}

/** The keys that each query sees, drawn as rows of 0 and 1. */
async function drawn(engine: Engine, Nq: number, Nk: number, options: AttentionOptions) {
  const { out } = await engine.attention(zeros(Nq, 1), zeros(Nk, 1), identity(Nk), options);
  const seen = Array.from(out.data, (weight) => weight > 0 ? "1" : "0").join("");
  return Array.from({ length: Nq }, (_, i) => seen.slice(i * Nk, (i + 1) * Nk)).join(" ");
}

contract("attention() aligns causal bottom-right with the last key", async (engine) => {
  for (const causal of [true, "bottom-right"] as const) {
    assertEquals(await drawn(engine, 2, 5, { causal }), "11110 11111");
    assertEquals(await drawn(engine, 5, 2, { causal }), "00 00 00 10 11");
    assertEquals(await drawn(engine, 3, 3, { causal }), "100 110 111");
  }
});

contract("attention() aligns causal top-left with the first key", async (engine) => {
  assertEquals(await drawn(engine, 2, 5, { causal: "top-left" }), "10000 11000");
  assertEquals(await drawn(engine, 5, 2, { causal: "top-left" }), "10 11 11 11 11");
});

contract("attention() replaces the causal alignment by offset", async (engine) => {
  for (const causal of [true, "top-left", "bottom-right"] as const) {
    assertEquals(await drawn(engine, 3, 4, { causal, offset: 2 }), "1110 1111 1111");
    assertEquals(await drawn(engine, 3, 4, { causal, offset: -1 }), "0000 1000 1100");
    assertEquals(await drawn(engine, 3, 4, { causal, offset: -3 }), "0000 0000 0000");
    assertEquals(await drawn(engine, 3, 4, { causal, offset: [1] }), "1100 1110 1111");
  }
});

contract("attention() ignores offset where nothing is causal", async (engine) => {
  assertEquals(await drawn(engine, 2, 3, { offset: -7 }), "111 111");
  assertEquals(await drawn(engine, 2, 3, { causal: false, offset: [0] }), "111 111");
});

contract("attention() takes offsets beyond 32 bits as far ones", async (engine) => {
  for (const far of [2 ** 31, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    assertEquals(await drawn(engine, 2, 3, { causal: true, offset: far }), "111 111");
    assertEquals(await drawn(engine, 2, 3, { causal: true, offset: -far }), "000 000");
  }
});

contract(
  "attention() sees a window around the key that a query is aligned with",
  async (engine) => {
    assertEquals(await drawn(engine, 3, 5, { window: [1, 1], offset: 1 }), "11100 01110 00111");
    assertEquals(await drawn(engine, 3, 5, { window: [1, 0] }), "01100 00110 00011");
    assertEquals(await drawn(engine, 3, 3, { window: [null, 0] }), "100 110 111");
    assertEquals(await drawn(engine, 3, 3, { window: [0, Infinity] }), "111 011 001");
    assertEquals(
      await drawn(engine, 4, 4, { causal: true, window: [1, 2] }),
      "1000 1100 0110 0011",
    );
    assertEquals(await drawn(engine, 2, 4, { window: [0, 0], offset: 9 }), "0000 0000");
    // A far window undoes a far offset.
    assertEquals(await drawn(engine, 2, 3, { window: [1e9, 0], offset: 1e9 }), "111 011");
    assertEquals(await drawn(engine, 2, 3, { window: [0, 1e9], offset: -1e9 }), "100 110");
    assertEquals(await drawn(engine, 2, 3, { window: [1e12, 1e12] }), "111 111");
  },
);

contract("attention() counts kvLengths keys of each batch, aligned as before", async (engine) => {
  assertEquals(await drawn(engine, 2, 4, { kvLengths: [3] }), "1110 1110");
  assertEquals(await drawn(engine, 2, 4, { kvLengths: Int32Array.of(0) }), "0000 0000");
  assertEquals(await drawn(engine, 3, 4, { kvLengths: [3], causal: true }), "1100 1110 1110");
  assertEquals(await drawn(engine, 2, 4, { kvLengths: [2], causal: true, offset: 0 }), "1000 1100");
});

contract("attention() sees the keys that a mask keeps", async (engine) => {
  const mask = (...kept: number[]) => ({ data: Uint8Array.from(kept), shape: [2, 3] });
  assertEquals(await drawn(engine, 2, 3, { mask: mask(1, 0, 7, 0, 255, 0) }), "101 010");
  assertEquals(await drawn(engine, 2, 3, { mask: mask(0, 0, 0, 0, 0, 1) }), "000 001");
  assertEquals(
    await drawn(engine, 2, 3, { mask: mask(1, 1, 1, 1, 0, 1), causal: true }),
    "110 101",
  );
  const keys = { data: Uint8Array.of(0, 1, 1), shape: [3] };
  assertEquals(await drawn(engine, 2, 3, { mask: keys }), "011 011");
  const queries = { data: Uint8Array.of(0, 1), shape: [2, 1] };
  assertEquals(await drawn(engine, 2, 3, { mask: queries }), "000 111");
  const every = { data: Uint8Array.of(1), shape: [1] };
  assertEquals(await drawn(engine, 2, 3, { mask: every }), "111 111");
});

contract("attention() reads a mask of bits from the lowest of each word on", async (engine) => {
  const mask = { data: Uint32Array.of(0b110_001), shape: [2, 3] };
  assertEquals(await drawn(engine, 2, 3, { mask }), "100 011");
  const across = { data: Uint32Array.of(1 << 30, 0b1001), shape: [2, 3], offset: 30 };
  assertEquals(await drawn(engine, 2, 3, { mask: across }), "101 001");
});

contract("attention() does not see keys whose bias is -Infinity", async (engine) => {
  const no = -Infinity, bias = (...given: number[]) => Float32Array.from(given);
  const each = { data: bias(0, no, 1, no, no, -2), shape: [2, 3] };
  assertEquals(await drawn(engine, 2, 3, { bias: each }), "101 001");
  assertEquals(await drawn(engine, 2, 3, { bias: { data: bias(no), shape: [1] } }), "000 000");
  const keys = { data: bias(3, no, 3), shape: [3] };
  assertEquals(await drawn(engine, 3, 3, { bias: keys, causal: true }), "100 100 101");
});

contract("attention() sees the keys that a block mask keeps", async (engine) => {
  const size = { queries: 4, keys: 5, block: 2 };
  const causal = blockMask.causal(size);
  assertEquals(await drawn(engine, 4, 5, { blockMask: causal }), "11000 11100 11110 11111");
  const window = blockMask.window([1, 0], { ...size, offset: 0 });
  assertEquals(await drawn(engine, 4, 5, { blockMask: window }), "10000 11000 01100 00110");
  // A mask has its own alignment, and counts with whatever else is given.
  const options = { blockMask: window, causal: true, offset: -1 };
  assertEquals(await drawn(engine, 4, 5, options), "00000 10000 01000 00100");
});

contract("attention() sees the keys of a query's own packed sequence", async (engine) => {
  const cuSeqlens = { q: [0, 2, 2, 5], k: [0, 1, 2, 4] };
  assertEquals(await drawn(engine, 5, 4, { cuSeqlens }), "1000 1000 0011 0011 0011");
  const causal = { cuSeqlens, causal: true };
  assertEquals(await drawn(engine, 5, 4, causal), "0000 1000 0000 0010 0011");
  const topLeft = { cuSeqlens, causal: "top-left" } as const;
  assertEquals(await drawn(engine, 5, 4, topLeft), "1000 1000 0010 0011 0011");
  const each = { cuSeqlens, offset: [0, 0, -1], causal: true, kvLengths: [1, 0, 1] };
  assertEquals(await drawn(engine, 5, 4, each), "1000 1000 0000 0010 0010");
  const mask = { data: Uint8Array.of(1, 1, 0, 1), shape: [4] };
  assertEquals(await drawn(engine, 5, 4, { cuSeqlens, mask }), "1000 1000 0001 0001 0001");
});

contract("attention() aligns each batch by its own offset", async (engine) => {
  const { out } = await engine.attention(zeros(3, 1, 2, 1), zeros(3, 1, 3, 1), {
    data: new Float32Array(3 * 3 * 3).map((_, at) => at % 9 % 4 === 0 ? 1 : 0),
    shape: [3, 1, 3, 3],
  }, { causal: true, offset: [0, 2, -1] });
  const seen = Array.from(out.data, (weight) => weight > 0 ? "1" : "0").join("");
  assertEquals(seen.match(/.{6}/g), ["100110", "111111", "000100"]);
});

contract("attention() gives zero and -Infinity for a row that sees no key", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 70, Nk: 6, D: 5, Dv: 3 }), 1));
  const { out, lse } = await engine.attention(q, k, v, { causal: true, lse: true });
  for (let i = 0; i < 70; i++) {
    const row = out.data.subarray(i * 3, (i + 1) * 3);
    if (i < 64) assertSameBits(row, [0, 0, 0], `row ${i}`);
    assertEquals(row.every(Number.isFinite), true);
    assertEquals(lse.data[i] === -Infinity, i < 64);
  }
});

contract("attention() gives zero and -Infinity where there is no key at all", async (engine) => {
  const q = { data: new Float32Array(2 * 3 * 4).fill(1), shape: [2, 3, 4] };
  const out = { data: new Float32Array(2 * 3 * 5).fill(NaN), shape: [2, 3, 5] };
  for (const options of [{}, { causal: true }, { out }]) {
    const result = await engine.attention(q, zeros(2, 0, 4), zeros(2, 0, 5), {
      ...options,
      lse: true,
    });
    assertEquals(result.out.shape, [2, 3, 5]);
    assertSameBits(result.out.data, new Float32Array(30));
    assertSameBits(result.lse.data, new Float32Array(6).fill(-Infinity));
  }
});

contract("attention() gives empty results where there is no query or no batch", async (engine) => {
  const noQuery = await engine.attention(zeros(2, 0, 4), zeros(2, 3, 4), zeros(2, 3, 5), {
    lse: true,
  });
  assertEquals([noQuery.out.shape, noQuery.lse.shape], [[2, 0, 5], [2, 0]]);
  assertEquals([noQuery.out.data.length, noQuery.lse.data.length], [0, 0]);
  const none = zeros(0, 2, 3, 4);
  const noBatch = await engine.attention(none, none, none, { lse: true, causal: true, offset: [] });
  assertEquals([noBatch.out.shape, noBatch.lse.shape], [[0, 2, 3, 4], [0, 2, 3]]);
});

contract("attention() reads key/value head floor(h * Hkv / Hq)", async (engine) => {
  for (const [Hq, Hkv] of [[6, 2], [4, 1], [9, 3], [5, 5]]) {
    const v = zeros(Hkv, 2, 1);
    v.data.forEach((_, at) => v.data[at] = Math.floor(at / 2));
    const { out } = await engine.attention(zeros(Hq, 3, 2), zeros(Hkv, 2, 2), v);
    const expected = Array.from({ length: Hq * 3 }, (_, at) => {
      return Math.floor(Math.floor(at / 3) * Hkv / Hq);
    });
    assertEquals(Array.from(out.data), expected);
  }
});

contract("attention() scales by 1 / sqrt(D) unless told otherwise", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 9, Nk: 11, D: 7 }), 2));
  const byDefault = await engine.attention(q, k, v, { lse: true });
  const told = await engine.attention(q, k, v, { lse: true, scale: 1 / Math.sqrt(7) });
  assertSameBits(byDefault.out.data, told.out.data);
  assertSameBits(byDefault.lse.data, told.lse.data);
  const other = await engine.attention(q, k, v, { scale: 0.9 });
  assertEquals(other.out.data.every((x, at) => x === told.out.data[at]), false);
});

contract("attention() weighs all keys alike with a scale of 0", async (engine) => {
  const { q, k } = inputsOf(randomProblem(sizesOf({ Nq: 3, Nk: 8, D: 4 }), 3));
  const { out, lse } = await engine.attention(q, k, { ...k, data: k.data.map((_, at) => at) }, {
    scale: 0,
    lse: true,
  });
  assertSameBits(out.data, [14, 15, 16, 17, 14, 15, 16, 17, 14, 15, 16, 17]);
  for (const x of lse.data) assertAlmostEquals(x, Math.log(8), 2 ** -23);
});

contract("attention() gives the natural logarithm of the softmax's sum", async (engine) => {
  const q = { data: Float32Array.of(3), shape: [1, 1] };
  const k = { data: Float32Array.of(2, 2, 2, 2, 2), shape: [5, 1] };
  const { lse } = await engine.attention(q, k, k, { lse: true });
  assertAlmostEquals(lse.data[0], 6 + Math.log(5), 2 ** -21);
});

contract("attention() gives the value itself where a row sees one key", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1, D: 6 }), 4, 30));
  assertSameBits((await engine.attention(q, k, v)).out.data, v.data);
});

contract("attention() gives results the rank and layout of q", async (engine) => {
  const shapes: [number[], number[], number[], AttentionOptions, number[], number[]][] = [
    [[2, 4, 3, 5], [2, 2, 6, 5], [2, 2, 6, 7], {}, [2, 4, 3, 7], [2, 4, 3]],
    [[4, 3, 5], [2, 6, 5], [2, 6, 7], {}, [4, 3, 7], [4, 3]],
    [[3, 5], [6, 5], [6, 7], {}, [3, 7], [3]],
    [[2, 3, 4, 5], [2, 6, 2, 5], [2, 6, 2, 7], { layout: "bnhd" }, [2, 3, 4, 7], [2, 4, 3]],
    [[3, 4, 5], [6, 2, 5], [6, 2, 7], { layout: "bnhd" }, [3, 4, 7], [4, 3]],
    [[3, 5], [6, 5], [6, 7], { layout: "bnhd" }, [3, 7], [3]],
  ];
  for (const [q, k, v, options, out, lse] of shapes) {
    const result = await engine.attention(zeros(...q), zeros(...k), zeros(...v), {
      ...options,
      lse: true,
    });
    assertEquals([result.out.shape, result.lse.shape], [out, lse]);
    assertEquals([result.out.dtype, result.lse.dtype], ["f32", "f32"]);
  }
});

contract("attention() returns lse only where it is asked for", async (engine) => {
  const one = zeros(2, 3);
  assertEquals("lse" in await engine.attention(one, one, one), false);
  assertEquals("lse" in await engine.attention(one, one, one, { lse: false }), false);
  assertEquals("lse" in await engine.attention(one, one, one, { lse: true }), true);
});

contract("attention() takes an option of undefined as not given", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 5, D: 4 }), 5));
  const nothing = Object.fromEntries(
    optionNames.map((name) => [name, undefined]),
  );
  const bare = await engine.attention(q, k, v);
  assertSameBits((await engine.attention(q, k, v, nothing)).out.data, bare.out.data);
  assertSameBits((await engine.attention(q, k, v, undefined)).out.data, bare.out.data);
});

contract("attention() returns the tensor passed as out, written", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 5, Nk: 9, D: 4, Dv: 3 }), 6));
  const out = { data: new Float32Array(5 * 3).fill(NaN), shape: [1, 1, 5, 3] };
  const result = await engine.attention(q, k, v, { out });
  assertEquals(result.out === out, true);
  assertSameBits(out.data, (await engine.attention(q, k, v)).out.data);
});
