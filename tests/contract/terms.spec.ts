import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  alibiSlopes,
  type BooleanTensor,
  type Engine,
  type HostTensor,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { emptyRows, expectation, resultsOf } from "../support/exact.ts";
import { broadcastReader } from "../support/meaning.ts";
import type { Results } from "../support/naive.ts";
import {
  type Inputs,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { resident } from "../support/resident.ts";
import { sharedOut } from "../support/share.ts";
import { numbersIn, rounded, storages, stored } from "../support/storage.ts";
import { contract } from "./backends.ts";

/** A problem of a few tiles' parts, with groups; enough rows for a mean of their errors. */
const problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 21, Nk: 37, D: 8, Dv: 6 }),
  1,
);

/** One of few queries against many keys: backends see those in parts. */
const long = randomProblem(sizesOf({ B: 3, Hq: 8, Hkv: 2, Nq: 2, Nk: 5000, D: 8 }), 2);

function assertSame(actual: Results, expected: Results, what = ""): void {
  assertSameBits(actual.out, expected.out, `out ${what}`);
  assertSameBits(actual.lse, expected.lse, `lse ${what}`);
}

/** A tensor of random numbers. */
function random(shape: readonly number[], seed: number, spread = 1): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed), spread), shape };
}

/** A mask of bytes that keeps this part of all. */
function masked(shape: readonly number[], seed: number, kept = 0.5) {
  const draw = seeded(seed), length = shape.reduce((a, b) => a * b, 1);
  return {
    data: Uint8Array.from({ length }, () => draw() < kept ? whole(draw, 1, 255) : 0),
    shape,
  };
}

/** `[B, Hq, Nq, Nk]` of a problem. */
function scoresOf({ B, Hq, Nq, Nk }: Sizes): [number, number, number, number] {
  return [B, Hq, Nq, Nk];
}

/** A tensor over scores with every axis in full. */
function expanded(tensor: Tensor, sizes: Sizes): Tensor {
  const shape = scoresOf(sizes), [, H, I, J] = shape, read = broadcastReader(tensor);
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, at) => {
    const i = Math.floor(at / J), h = Math.floor(i / I), b = Math.floor(h / H);
    return read(b, h % H, i % I, at % J);
  });
  return { data, shape };
}

/** Queries of zeros, so that scores are what options make of 0; values that tell the weights. */
function weightsOf(Nq: number, Nk: number, Hq = 1): Inputs {
  const identity = Float32Array.from({ length: Nk * Nk }, (_, at) => at % (Nk + 1) === 0 ? 1 : 0);
  return {
    q: { data: new Float32Array(Hq * Nq), shape: [Hq, Nq, 1] },
    k: { data: new Float32Array(Nk), shape: [1, Nk, 1] },
    v: { data: identity, shape: [1, Nk, Nk] },
  };
}

/** Options one by one and together, for a problem's sizes. */
function everyTerm(sizes: Sizes, seed: number): Record<string, Meaning> {
  const { Hq, Nq, Nk } = sizes;
  const each = {
    softcap: { softcap: 1.5 },
    alibi: { alibi: alibiSlopes(Hq) },
    bias: { bias: random([Hq, Nq, Nk], seed) },
    mask: { mask: masked([Nq, Nk], seed + 1) },
    sinks: { sinks: random([Hq], seed + 2) },
  };
  return { ...each, all: Object.assign({ causal: true }, ...Object.values(each)) };
}

for (const [size, given] of Object.entries({ "many rows": problem, "few rows": long })) {
  for (const [name, meaning] of sharedOut(Object.entries(everyTerm(given.sizes, 3)), 3, size)) {
    const check = expectation(given, meaning);
    contract(
      `attention() stays within the error budget: ${name}, ${size}`,
      async (engine) => check(await resultsOf(engine, given, meaning)),
      { daily: 1 / 3 },
    );
  }
}

contract("attention() caps scores as softcap * tanh(score / softcap)", async (engine) => {
  const { v } = weightsOf(1, 3), cap = 2, scores = [6, -1, 0.5];
  const q = { data: Float32Array.of(1), shape: [1, 1, 1] };
  const k = { data: Float32Array.from(scores), shape: [1, 3, 1] };
  const { out, lse } = await engine.attention(q, k, v, { softcap: cap, lse: true });
  const weights = scores.map((s) => Math.exp(cap * Math.tanh(s / cap)));
  const sum = weights.reduce((a, b) => a + b);
  weights.forEach((weight, j) => assertAlmostEquals(out.data[j], weight / sum, 2 ** -22));
  assertAlmostEquals(lse.data[0], Math.log(sum), 2 ** -21);
});

contract("attention() takes a softcap of 0 as none", async (engine) => {
  const expected = await resultsOf(engine, problem, {});
  for (const softcap of [0, -0]) {
    assertSame(await resultsOf(engine, problem, { softcap }), expected, `${softcap}`);
  }
  const capped = await resultsOf(engine, problem, { softcap: 1 });
  assert(capped.out.some((x, at) => x !== expected.out[at]));
});

contract("attention() caps infinite scores, and gives NaN for NaN ones", async (engine) => {
  const { v } = weightsOf(1, 2), q = { data: Float32Array.of(1), shape: [1, 1, 1] };
  const softmax = (a: number, b: number) => 1 / (1 + Math.exp(b - a));
  const run = async (...k: number[]) => {
    const keys = { data: Float32Array.from(k), shape: [1, 2, 1] };
    return (await engine.attention(q, keys, v, { softcap: 3 })).out.data;
  };
  assertAlmostEquals((await run(Infinity, 0))[0], softmax(3, 0), 2 ** -22);
  assertAlmostEquals((await run(-Infinity, 0))[0], softmax(-3, 0), 2 ** -22);
  assertAlmostEquals((await run(1e38, -1e38))[0], softmax(3, -3), 2 ** -22);
  assertSameBits(await run(NaN, 0), [NaN, NaN]);
});

contract("attention() caps before it adds bias, ALiBi and masks", async (engine) => {
  const { v } = weightsOf(1, 3), q = { data: Float32Array.of(1), shape: [1, 1, 1] };
  const k = { data: Float32Array.of(50, 50, 50), shape: [1, 3, 1] };
  const { lse } = await engine.attention(q, k, v, {
    softcap: 1,
    bias: { data: Float32Array.of(7, 9, 90), shape: [3] },
    alibi: { data: Float32Array.of(5), shape: [1] },
    mask: { data: Uint8Array.of(1, 1, 0), shape: [3] },
    offset: 0,
    lse: true,
  });
  // Scores are 1 + 7 - 0 and 1 + 9 - 5; the third is masked.
  assertAlmostEquals(lse.data[0], Math.log(Math.exp(8) + Math.exp(5)), 2 ** -20);
});

contract("attention() adds a bias whose axes are full, 1 or missing", async (engine) => {
  const extents = scoresOf(problem.sizes);
  for (let bits = 0; bits < 16; bits++) {
    const shape = extents.map((extent, axis) => bits >> axis & 1 ? extent : 1);
    const bias = random(shape, bits);
    const check = await resultsOf(engine, problem, { bias: expanded(bias, problem.sizes) });
    assertSame(await resultsOf(engine, problem, { bias }), check, `[${shape}]`);
    const short = shape.slice(shape.findIndex((extent) => extent > 1));
    const again = await resultsOf(engine, problem, { bias: { ...bias, shape: short } });
    assertSame(again, check, `[${short}]`);
  }
});

/** The same elements over `[B, Hq, Nq, Nk]` in other orders, with gaps and offsets. */
function arrangements(tensor: Tensor, sizes: Sizes): Tensor[] {
  const shape = scoresOf(sizes), read = broadcastReader(tensor);
  return [[3, 2, 1, 0], [0, 1, 2, 3], [2, 3, 0, 1]].flatMap((order) =>
    [[0, 0], [3, 5]].map(([gap, offset]) => {
      const strides = [0, 0, 0, 0];
      let step = 1;
      for (const axis of order) {
        strides[axis] = step;
        step = step * shape[axis] + gap;
      }
      const data = new Float32Array(offset + step).fill(NaN);
      for (let b = 0; b < shape[0]; b++) {
        for (let h = 0; h < shape[1]; h++) {
          for (let i = 0; i < shape[2]; i++) {
            for (let j = 0; j < shape[3]; j++) {
              const at = b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3];
              data[offset + at] = read(b, h, i, j);
            }
          }
        }
      }
      return { data, shape, strides, offset };
    })
  );
}

/** A bias of any numbers, a third of them `-Infinity`. */
function holed(shape: readonly number[], seed: number): Tensor {
  const draw = seeded(seed);
  const { data } = random(shape, seed);
  return { data: data.map((x) => draw() < 0.3 ? -Infinity : x), shape };
}

for (const [size, given] of Object.entries({ "many rows": problem, "few rows": long })) {
  contract(`attention() reads a bias by its strides, ${size}`, async (engine) => {
    const bias = holed(scoresOf(given.sizes), 5);
    const expected = await resultsOf(engine, given, { bias });
    for (const other of arrangements(bias, given.sizes)) {
      const what = `strides [${other.strides}], offset ${other.offset}`;
      assertSame(await resultsOf(engine, given, { bias: other }), expected, what);
    }
  });

  contract(`attention() reads a bias in its own memory, ${size}`, async (engine) => {
    const bias = holed(scoresOf(given.sizes), 6);
    const expected = await resultsOf(engine, given, { bias, causal: true });
    for (const other of [bias, ...arrangements(bias, given.sizes)]) {
      const there = resident(engine, other);
      const what = `strides [${other.strides}], offset ${other.offset}`;
      const options = { bias: there, causal: true };
      assertSame(await resultsOf(engine, given, options), expected, what);
      there.free();
    }
  }, { needs: "hostTensors" });
}

contract("attention() reads a bias in its own memory while that grows", async (engine, backend) => {
  const one = randomProblem(sizesOf({ Nq: 20, Nk: 20_000, D: 32 }), 7);
  const bias = random([20, 20_000], 8);
  const turned = { data: new Float32Array(400_000), shape: bias.shape, strides: [1, 20] };
  bias.data.forEach((x, at) => turned.data[Math.floor(at / 20_000) + at % 20_000 * 20] = x);
  const other = await backend.make();
  const expected = await resultsOf(other, one, { bias });
  await other.close();
  const there = resident(engine, turned), bytes = engine.memoryBytes;
  assertSame(await resultsOf(engine, one, { bias: there }), expected);
  assert(engine.memoryBytes > bytes);
}, { needs: "hostTensors" });

contract("attention() reads a mask in its own memory while that grows", async (engine, backend) => {
  const one = randomProblem(sizesOf({ Nq: 20, Nk: 20_000, D: 32 }), 7);
  const mask = masked([20, 20_000], 8);
  const other = await backend.make();
  const expected = await resultsOf(other, one, { mask });
  await other.close();
  const { data } = engine.tensor([100_000]), bytes = engine.memoryBytes;
  const there = new Uint8Array(data.buffer, data.byteOffset, 400_000);
  there.set(mask.data);
  assertSame(await resultsOf(engine, one, { mask: { ...mask, data: there } }), expected);
  assert(engine.memoryBytes > bytes);
}, { daily: 1 / 3, needs: "hostTensors" });

contract("attention() masks where a bias is -Infinity, as a mask does", async (engine) => {
  const mask = masked(scoresOf(problem.sizes), 9, 0.1);
  const data = Float32Array.from(mask.data, (kept) => kept ? 0 : -Infinity);
  const byMask = await resultsOf(engine, problem, { mask });
  const byBias = await resultsOf(engine, problem, { bias: { ...mask, data } });
  assert(emptyRows(byMask.lse).includes(1) && emptyRows(byMask.lse).includes(0));
  expectation(problem, { mask })(byBias, "of the bias");
  expectation(problem, { mask })(byMask, "of the mask");
});

contract("attention() lets nothing out of keys that a bias masks", async (engine) => {
  const { sizes } = problem, hidden = [3, 17, 36];
  const bias = random([1, 1, 1, sizes.Nk], 10);
  hidden.forEach((j) => bias.data[j] = -Infinity);
  const expected = await resultsOf(engine, problem, { bias });
  for (const poison of [NaN, Infinity, -Infinity]) {
    const bad = (data: Float32Array, width: number) =>
      data.map((x, at) => hidden.includes(Math.floor(at / width) % sizes.Nk) ? poison : x);
    const poisoned = { ...problem, k: bad(problem.k, sizes.D), v: bad(problem.v, sizes.Dv) };
    assertSame(await resultsOf(engine, poisoned, { bias }), expected, `${poison}`);
  }
});

contract(
  "attention() keeps a NaN in a bias to its row, and drops one at a masked key",
  async (engine) => {
    const { Hq, Nq, Nk, Dv } = problem.sizes, bias = random(scoresOf(problem.sizes), 11);
    const clean = await resultsOf(engine, problem, { bias, causal: true });
    const row = (Hq + 2) * Nq + 9; // Batch 1, head 2, query 9 sees the keys up to 25.
    bias.data[row * Nk + 26] = NaN;
    assertSame(await resultsOf(engine, problem, { bias, causal: true }), clean, "of a masked NaN");
    bias.data[row * Nk + 25] = NaN;
    const { out, lse } = await resultsOf(engine, problem, { bias, causal: true });
    assertSameBits(out, clean.out.map((x, at) => Math.floor(at / Dv) === row ? NaN : x));
    assertSameBits(lse, clean.lse.map((x, at) => at === row ? NaN : x));
  },
);

/** Bytes as bits from some bit on, other bits being 1. */
function asBits({ data, shape }: { data: Uint8Array; shape: readonly number[] }, offset: number) {
  const words = new Uint32Array(Math.ceil((offset + data.length) / 32)).fill(0xffffffff);
  data.forEach((kept, at) => {
    const bit = offset + at;
    if (!kept) words[bit >> 5] &= ~(1 << (bit & 31));
  });
  return { data: words, shape, offset };
}

contract(
  "attention() takes bytes of any number but 0, and bits, as the same mask",
  async (engine) => {
    for (const given of [problem, long]) {
      const { Nq, Nk } = given.sizes, mask = masked([Nq, Nk], 12, 0.3);
      const ones = { ...mask, data: mask.data.map((kept) => kept ? 1 : 0) };
      const expected = await resultsOf(engine, given, { mask: ones });
      assertSame(await resultsOf(engine, given, { mask }), expected, "of any bytes");
      const all = given === problem ? Array.from({ length: 34 }, (_, bit) => bit) : [0, 5, 31, 45];
      for (const offset of all) {
        const bits = asBits(mask, offset);
        assertSame(await resultsOf(engine, given, { mask: bits }), expected, `bits from ${offset}`);
      }
      const within = new Uint32Array([7, ...asBits(mask, 3).data]).subarray(1);
      const other = { ...asBits(mask, 3), data: within };
      assertSame(
        await resultsOf(engine, given, { mask: other }),
        expected,
        "of a part of an array",
      );
    }
  },
);

contract(
  "attention() takes a mask whose axes are full, 1 or missing, of any strides",
  async (engine) => {
    const { sizes } = problem, extents = scoresOf(sizes);
    for (let bits = 0; bits < 16; bits++) {
      const shape = extents.map((extent, axis) => bits >> axis & 1 ? extent : 1);
      const mask = masked(shape, 100 + bits, 0.6);
      const full = expanded(mask as unknown as Tensor, sizes);
      const expected = await resultsOf(engine, problem, {
        mask: { data: Uint8Array.from(full.data), shape: full.shape },
      });
      const ways: Record<string, BooleanTensor> = { bytes: mask, bits: asBits(mask, 9) };
      for (const other of bits === 15 ? arrangements(full, sizes) : []) {
        const { shape, strides, offset } = other;
        const data = Uint8Array.from(other.data, (x) => Number(x > 0));
        ways[`bytes by [${strides}]`] = { data, shape, strides, offset };
        ways[`bits by [${strides}]`] = { ...asBits({ data, shape }, 0), strides, offset };
      }
      for (const [what, way] of Object.entries(ways)) {
        assertSame(await resultsOf(engine, problem, { mask: way }), expected, `[${shape}] ${what}`);
      }
    }
  },
);

contract(
  "attention() gives zero and -Infinity for rows that a mask keeps nothing of",
  async (engine) => {
    const { B, Hq, Nq, Nk, Dv } = problem.sizes;
    const data = new Uint8Array(Nq * Nk).fill(1).map((one, at) =>
      Math.floor(at / Nk) % 3 ? one : 0
    );
    for (const mask of [{ data, shape: [Nq, Nk] }, asBits({ data, shape: [Nq, Nk] }, 6)]) {
      const { out, lse } = await resultsOf(engine, problem, { mask });
      for (let row = 0; row < B * Hq * Nq; row++) {
        const isEmpty = row % Nq % 3 === 0;
        assertEquals(lse[row] === -Infinity, isEmpty);
        assertEquals(out.subarray(row * Dv, (row + 1) * Dv).every((x) => x === 0), isEmpty);
      }
    }
  },
);

/** lse of scores `-slope * distance`. */
function lseOf(slope: number, distances: readonly number[]): number {
  return Math.log(distances.reduce((sum, distance) => sum + Math.exp(-slope * distance), 0));
}

contract(
  "attention() subtracts ALiBi's distances from the aligned key, to both sides",
  async (engine) => {
    const { q, k, v } = weightsOf(3, 5), alibi = { data: Float32Array.of(0.75), shape: [1] };
    for (
      const [options, off] of [
        [{}, 2],
        [{ offset: 0 }, 0],
        [{ offset: -3 }, -3],
        [{ offset: 9 }, 9],
      ] as const
    ) {
      const { out, lse } = await engine.attention(q, k, v, { ...options, alibi, lse: true });
      for (let i = 0; i < 3; i++) {
        const distances = [0, 1, 2, 3, 4].map((j) => Math.abs(i + off - j));
        const expected = lseOf(0.75, distances);
        assertAlmostEquals(lse.data[i], expected, 2 ** -20);
        distances.forEach((distance, j) => {
          assertAlmostEquals(out.data[i * 5 + j], Math.exp(-0.75 * distance - expected), 2 ** -20);
        });
      }
    }
  },
);

contract("attention() takes ALiBi's slopes of each head, and of each batch", async (engine) => {
  const { B, Hq } = problem.sizes;
  const perHead = alibiSlopes(Hq), other = alibiSlopes(Hq).data.map((x) => x * 3);
  const twice = { data: Float32Array.from([...perHead.data, ...perHead.data]), shape: [B, Hq] };
  const expected = await resultsOf(engine, problem, { alibi: perHead });
  assertSame(await resultsOf(engine, problem, { alibi: twice }), expected, "of each batch");
  const once = { ...perHead, shape: [1, Hq] };
  assertSame(await resultsOf(engine, problem, { alibi: once }), expected, "of one batch for all");
  const apart = { data: Float32Array.from([...perHead.data, ...other]), shape: [B, Hq] };
  const { out } = await resultsOf(engine, problem, { alibi: apart });
  const half = out.length / 2;
  assertSameBits(out.subarray(0, half), expected.out.subarray(0, half));
  const { out: second } = await resultsOf(engine, problem, { alibi: { data: other, shape: [Hq] } });
  assertSameBits(out.subarray(half), second.subarray(half));
});

contract("attention() takes ALiBi's slopes by their strides", async (engine) => {
  const alibi = alibiSlopes(4), expected = await resultsOf(engine, problem, { alibi });
  const data = Float32Array.of(9, 9, ...[...alibi.data].flatMap((x) => [x, 9, 9]));
  const strided = { data, shape: [4], strides: [3], offset: 2 };
  assertSame(await resultsOf(engine, problem, { alibi: strided }), expected);
});

contract("attention() takes slopes of 0 as none, and negative ones", async (engine) => {
  const zeros = { data: new Float32Array(4), shape: [4] };
  expectation(problem, {})(await resultsOf(engine, problem, { alibi: zeros }));
  const negative = { data: Float32Array.of(-0.1, -0.2, 0, 0.3), shape: [4] };
  expectation(problem, { alibi: negative })(await resultsOf(engine, problem, { alibi: negative }));
});

for (const [size, given] of Object.entries({ "many rows": problem, "few rows": long })) {
  contract(`attention() lets a sink take weight and give no value, ${size}`, async (engine) => {
    const { Hq, Nq, Dv } = given.sizes, sinks = random([Hq], 13, 3);
    const without = await resultsOf(engine, given, { causal: true });
    const { out, lse } = await resultsOf(engine, given, { causal: true, sinks });
    lse.forEach((x, row) => {
      const sink = sinks.data[Math.floor(row / Nq) % Hq];
      const joined = Math.log(Math.exp(without.lse[row]) + Math.exp(sink));
      assertAlmostEquals(x, joined, 1e-5);
      for (let d = row * Dv; d < (row + 1) * Dv; d++) {
        assertAlmostEquals(out[d], without.out[d] * Math.exp(without.lse[row] - joined), 1e-5);
      }
    });
  });
}

contract("attention() gives zero and the sink for a row that sees no key", async (engine) => {
  const sinks = Float32Array.of(0, -2.5, 3.75, -Infinity);
  const options = { causal: true, offset: -4, sinks: { data: sinks, shape: [4] } } as const;
  const { Nq, Dv } = problem.sizes, { out, lse } = await resultsOf(engine, problem, options);
  lse.forEach((x, row) => {
    if (row % Nq >= 4) return assert(Number.isFinite(x));
    assertEquals(x, sinks[Math.floor(row / Nq) % 4]);
    assertSameBits(out.subarray(row * Dv, (row + 1) * Dv), new Float32Array(Dv));
  });
  const none = { data: new Float32Array(0), shape: [1, 4, 0, 8] };
  const q = { data: new Float32Array(4 * 2 * 8), shape: [1, 4, 2, 8] };
  const nothing = await engine.attention(q, none, none, { sinks: options.sinks, lse: true });
  assertSameBits(nothing.out.data, new Float32Array(64));
  assertSameBits(nothing.lse.data, [...sinks].flatMap((sink) => [sink, sink]));
});

contract("attention() takes a sink of -Infinity as none", async (engine) => {
  for (const given of [problem, long]) {
    const { Hq } = given.sizes, data = new Float32Array(Hq).fill(-Infinity);
    const sinks = { data, shape: [Hq] };
    assertSame(await resultsOf(engine, given, { sinks }), await resultsOf(engine, given, {}));
  }
});

contract("attention() gives all weight to a sink far above all scores", async (engine) => {
  const sinks = { data: new Float32Array(4).fill(1000), shape: [4] };
  const { out, lse } = await resultsOf(engine, problem, { sinks });
  assertSameBits(out.map(Math.abs), new Float32Array(out.length));
  lse.forEach((x) => assertAlmostEquals(x, 1000, 1e-4));
});

contract("attention() takes every term of undefined as not given", async (engine) => {
  const names = ["softcap", "alibi", "bias", "mask", "sinks", "cuSeqlens", "blockMask"];
  const expected = await resultsOf(engine, problem, { causal: true });
  const given = Object.fromEntries(names.map((name) => [name, undefined]));
  assertSame(await resultsOf(engine, problem, { causal: true, ...given }), expected);
});

contract("attention() takes every term in every rank and layout of q", async (engine) => {
  const { Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes;
  const meaning = everyTerm(problem.sizes, 14).all;
  const half = (data: Float32Array) => data.subarray(0, data.length / 2);
  const one: Problem = {
    sizes: { ...problem.sizes, B: 1 },
    q: half(problem.q),
    k: half(problem.k),
    v: half(problem.v),
  };
  const expected = await resultsOf(engine, one, meaning);
  const asked = { ...meaning, lse: true } as const;
  const inputs = inputsOf(one), { q, k, v } = inputs;
  const rank3 = await engine.attention(
    { ...q, shape: [Hq, Nq, D] },
    { ...k, shape: [Hkv, Nk, D] },
    { ...v, shape: [Hkv, Nk, Dv] },
    asked,
  );
  assertSame({ out: rank3.out.data, lse: rank3.lse.data }, expected, "of rank 3");
  const turned = (tensor: Tensor, N: number, H: number, width: number): Tensor => ({
    data: Float32Array.from({ length: tensor.data.length }, (_, at) => {
      const n = Math.floor(at / width / H), h = Math.floor(at / width) % H;
      return tensor.data[(h * N + n) * width + at % width];
    }),
    shape: [1, N, H, width],
  });
  const bnhd = await engine.attention(
    turned(q, Nq, Hq, D),
    turned(k, Nk, Hkv, D),
    turned(v, Nk, Hkv, Dv),
    { ...asked, layout: "bnhd" },
  );
  const back = turned(bnhd.out, Hq, Nq, Dv); // Turned once more.
  assertSame({ out: back.data, lse: bnhd.lse.data }, expected, "of bnhd");
});

contract("attention() takes every term with 16-bit tensors and a 16-bit out", async (engine) => {
  for (const [name, meaning] of Object.entries(everyTerm(problem.sizes, 15))) {
    for (const storage of storages) {
      const { q, k, v } = inputsOf(problem);
      const numbers = {
        ...problem,
        q: rounded(problem.q, storage),
        k: rounded(problem.k, storage),
        v: rounded(problem.v, storage),
      };
      const expected = await resultsOf(engine, numbers, meaning);
      const [a, b, c] = [q, k, v].map((tensor) => stored(tensor, storage));
      const data = new Uint16Array(expected.out.length);
      const out = { data, shape: [2, 4, 21, 6], dtype: storage };
      const { lse } = await engine.attention(a, b, c, { ...meaning, out, lse: true });
      const what = `${name}, ${storage}`;
      assertSameBits(numbersIn(data, storage), rounded(expected.out, storage), what);
      assertSameBits(lse.data, expected.lse, what);
    }
  }
});

contract("attention() is right where out lies over a bias or a mask", async (engine) => {
  const square = randomProblem(sizesOf({ Hq: 2, Nq: 40, D: 40 }), 16);
  const { q, k, v } = inputsOf(square), shape = [1, 2, 40, 40];
  const bias = random(shape, 17), mask = masked(shape, 18);
  const byBias = await resultsOf(engine, square, { bias });
  const byMask = await resultsOf(engine, square, { mask });
  await engine.attention(q, k, v, { bias, out: bias });
  assertSameBits(bias.data, byBias.out);
  const memory = new Float32Array(3200), over = new Uint8Array(memory.buffer, 900, 3200);
  over.set(mask.data);
  await engine.attention(q, k, v, { mask: { ...mask, data: over }, out: { data: memory, shape } });
  assertSameBits(memory, byMask.out);
});

contract("attention() is right where out lies over a bias in its own memory", async (engine) => {
  const square = randomProblem(sizesOf({ Hq: 2, Nq: 40, D: 40 }), 16);
  const { q, k, v } = inputsOf(square), bias = random([1, 2, 40, 40], 17);
  const expected = await resultsOf(engine, square, { bias });
  const there = resident(engine, bias);
  await engine.attention(q, k, v, { bias: there, out: there });
  assertSameBits(there.data, expected.out);
}, { needs: "hostTensors" });

contract("attention() writes no bias, mask, slopes or sinks", async (engine) => {
  const { bias, mask, alibi, sinks } = everyTerm(problem.sizes, 19).all;
  const held = [bias, mask, alibi, sinks].map((one) => one!.data as Float32Array);
  const before = held.map((data) => data.slice());
  await resultsOf(engine, problem, { bias, mask, alibi, sinks });
  held.forEach((data, at) => assertSameBits(data, before[at]));
});

/** What is read row by row while a call runs, by how its rows are copied. */
const readMeanwhile: Record<string, () => Meaning> = {
  "a bias": () => ({ bias: random([1500, 24], 20) }),
  "a bias that lies turned": () => ({ bias: { ...random([1500, 24], 20), strides: [1, 1500] } }),
  "a bias alike for all keys": () => ({ bias: random([1500, 1], 20) }),
  "a mask": () => ({ mask: masked([1500, 24], 20) }),
  "a mask that lies turned": () => ({ mask: { ...masked([1500, 24], 20), strides: [1, 1500] } }),
  "a mask of bits": () => ({ mask: asBits(masked([1500, 24], 20), 0) }),
  "a mask of bits that lies turned": () => ({
    mask: { ...asBits(masked([1500, 24], 20), 0), strides: [1, 1500] },
  }),
};

for (const [what, make] of Object.entries(readMeanwhile)) {
  contract(`attention() says that ${what} was detached while the call ran`, async (engine) => {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 1500, Nk: 24, D: 512 }), 21));
    const meaning = make(), { data } = (meaning.bias ?? meaning.mask) as HostTensor;
    let times = 0;
    const onProgress = () => {
      const { buffer } = data;
      if (times++ === 0) structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    };
    await assertRefused(
      () => engine.attention(q, k, v, { ...meaning, onProgress }),
      TypeError,
      "Cannot attend: an input's buffer was detached while the call ran",
    );
  }, { daily: 1 / 3, needs: "readsWhileRunning" });
}

contract(
  "attentionSync() gives the bits of attention() with every term",
  async (engine: Engine) => {
    for (const given of [problem, long]) {
      const { q, k, v } = inputsOf(given);
      for (const [name, meaning] of Object.entries(everyTerm(given.sizes, 22))) {
        const { out, lse } = engine.attentionSync(q, k, v, { ...meaning, lse: true });
        assertSame({ out: out.data, lse: lse.data }, await resultsOf(engine, given, meaning), name);
      }
    }
  },
  { needs: "attentionSync" },
);

contract("attention() weighs keys alike that all have the lowest bias", async (engine) => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 9, Nk: 20, D: 4, Dv: 3 }), 77));
  const lowest = -3.4028234663852886e38;
  const bias = { data: new Float32Array(9 * 20).fill(lowest), shape: [9, 20] };
  bias.data.fill(0, 0, 10); // The first row sees ten keys more than the others.
  const options = { bias, lse: true } as const;
  const ours = await engine.attention(q, k, v, options);
  const exact = referenceAttention(q, k, v, options).out.data;
  const mean = [0, 1, 2].map((column) => {
    return v.data.reduce((sum, x, at) => at % 3 === column ? sum + x : sum, 0) / 20;
  });
  ours.out.data.forEach((x, at) => {
    const expected = at < 3 ? exact[at] : mean[at % 3];
    assert(Math.abs(x - expected) < 1e-6, `element ${at} is ${x}, expected ${expected}`);
  });
});
