import { assert, assertEquals } from "@std/assert";
import {
  alibiSlopes,
  attentionBackward,
  attentionStream,
  attentionWithGradient,
  blockMask,
  type Engine,
  type HostTensor,
  type Precision,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import fc from "fast-check";
import { test } from "node:test";
import { chooseFor } from "../../src/engine/auto.ts";
import {
  attention,
  attentionByIntegers,
  placed,
} from "../../src/operations/attention/operation.ts";
import { readAttention } from "../../src/operations/attention/plan.ts";
import { dots } from "../../src/wasm/integer/dots.ts";
import { problemOf, runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused } from "../support/errors.ts";
import { emptyRows, resultsOf } from "../support/exact.ts";
import { eachLevel, eachOfBytes, type Level, levels, rms } from "../support/levels.ts";
import type { Results } from "../support/naive.ts";
import { once } from "../support/once.ts";
import {
  type Inputs,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { residentOf } from "../support/resident.ts";
import { varyingSeed } from "../support/seed.ts";
import { numbersIn, rounded, storages, stored } from "../support/storage.ts";
import { anyMeaning } from "../support/terms.ts";
import { type BackendUnderTest, contract } from "./backends.ts";
import { longTest } from "../support/share.ts";

let turn = varyingSeed();

/** The levels that a backend has; of those of a GPU, where each has shaders of its own for every kind of call, one in turn. */
function levelsOf({ lacks }: BackendUnderTest): [Level, number][] {
  if (lacks?.int16 === undefined) return eachLevel;
  return [eachOfBytes[turn++ % eachOfBytes.length]];
}

/** Root mean square of the differences of what is finite; what is not must be the same. */
function difference(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): number {
  assertEquals(actual.length, expected.length);
  return rms(Float64Array.from(actual, (x, at) => {
    const y = expected[at];
    if (Number.isFinite(y)) return x - y;
    assert(Object.is(x, y), `${what}: element ${at} is ${x}, expected ${y}`);
    return 0;
  }));
}

function finite(x: ArrayLike<number>): number[] {
  return Array.from(x).filter(Number.isFinite);
}

/** Asserts that results are as near as a level promises, times what rows of few keys and odd numbers need. */
function assertNear(actual: Results, expected: Results, level: Level, factor = 1, what = ""): void {
  const words = `${level} ${what}`;
  assertSameBits(emptyRows(actual.lse), emptyRows(expected.lse), `rows of nothing ${words}`);
  const error = difference(actual.out, expected.out, words), size = rms(finite(expected.out));
  assert(error <= factor * levels[level] * size, `out ${words}: ${error / size}`);
  const ofLse = difference(actual.lse, expected.lse, words);
  assert(ofLse <= factor * levels[level], `lse ${words}: ${ofLse}`);
}

function exactOf(problem: Problem, meaning: Meaning): Results {
  const { q, k, v } = inputsOf(problem), { out, lse } = referenceAttention(q, k, v, meaning);
  return { out: out.data, lse: lse.data };
}

function by(
  engine: Engine,
  problem: Problem,
  meaning: Meaning,
  precision: Precision,
): Promise<Results<Float32Array>> {
  return resultsOf(engine, problem, { ...meaning, precision } as Meaning);
}

for (
  const [name, sizes, meaning] of [
    ["N = 1024", { Nq: 64, Nk: 1024, D: 64 }, {}],
    ["N = 2048", { Nq: 64, Nk: 2048, D: 64 }, {}],
    ["D = 128", { Nq: 64, Nk: 1024, D: 128 }, {}],
    ["causal", { Nq: 320, D: 64 }, { causal: true }],
  ] as const
) {
  const problem = randomProblem(sizesOf(sizes), 1), exact = once(() => exactOf(problem, meaning));
  contract(`attention() is as near as its precision says: ${name}`, async (engine, backend) => {
    for (const [level] of levelsOf(backend)) {
      const factor = "causal" in meaning ? 1.5 : 1;
      assertNear(await by(engine, problem, meaning, level), exact(), level, factor);
    }
  }, { daily: 1 / 3 });
}

const problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 37, Nk: 301, D: 24, Dv: 22 }),
  2,
);

function random(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

function maskOf(shape: readonly number[], seed: number, kept: number) {
  const draw = seeded(seed), length = shape.reduce((a, b) => a * b, 1);
  return {
    data: Uint8Array.from({ length }, () => draw() < kept ? whole(draw, 1, 255) : 0),
    shape,
  };
}

const { Hq, Nq, Nk } = problem.sizes, B = problem.sizes.B;

/** Options of every kind, by name. */
const meanings: Readonly<Record<string, Meaning>> = {
  "causal, with an offset": { causal: true, offset: [-20, 250] },
  "a window": { window: [40, 3] },
  lengths: { kvLengths: [130, 257] },
  "a scale": { scale: -0.7 },
  "a scale that is ten times as large": { scale: 2 },
  softcap: { softcap: 1.5 },
  alibi: { alibi: alibiSlopes(Hq) as Tensor },
  bias: { bias: random([Hq, Nq, Nk], 3) },
  "a bias with -Infinity": {
    bias: {
      data: normals(Nq * Nk, seeded(4)).map((x, at) => at % 3 === 0 || at < 9 * Nk ? -Infinity : x),
      shape: [Nq, Nk],
    },
  },
  mask: { mask: maskOf([B, 1, Nq, Nk], 5, 0.3) },
  "a mask that keeps nearly nothing": { mask: maskOf([Nq, Nk], 6, 0.01) },
  sinks: { sinks: random([Hq], 7) },
  "a block mask": {
    blockMask: blockMask.window([50, 20], { queries: Nq, keys: Nk, block: [16, 24] }),
  },
};

for (const [name, meaning] of Object.entries(meanings)) {
  const exact = once(() => exactOf(problem, meaning));
  contract(`attention() has every option in every precision: ${name}`, async (engine, backend) => {
    const sharp = meaning.scale === 2 ? 10 : 2;
    for (const [level] of levelsOf(backend)) {
      assertNear(await by(engine, problem, meaning, level), exact(), level, sharp);
    }
  });
}

contract(
  "attention() has packed sequences in every precision, few queries among them",
  async (engine, backend) => {
    const ends = { q: [0, 40, 45, 45, 130], k: [0, 150, 301, 320, 700] };
    const packed = randomProblem(sizesOf({ Hq: 2, Nq: 130, Nk: 700, D: 20 }), 8);
    const meaning = { cuSeqlens: ends, causal: true };
    const exact = exactOf(packed, meaning);
    const plain = await resultsOf(engine, packed, meaning);
    for (const [level] of levelsOf(backend)) {
      const { out, lse } = await by(engine, packed, meaning, level);
      assertNear({ out, lse }, exact, level, 2);
      // Five queries are few: the same bits as without.
      for (const head of [0, 1]) {
        const rows = [(head * 130 + 40) * 20, (head * 130 + 45) * 20] as const;
        assertSameBits(out.subarray(...rows), plain.out.subarray(...rows));
      }
    }
  },
);

const anyCase = fc.record({
  B: fc.constantFrom(1, 1, 2),
  Hkv: fc.integer({ min: 1, max: 2 }),
  group: fc.constantFrom(1, 1, 2, 3),
  Nq: fc.constantFrom(17, 18, 31, 40, 65, 90),
  Nk: fc.constantFrom(1, 3, 5, 64, 127, 128, 129, 191, 192, 193, 257),
  D: fc.constantFrom(1, 2, 3, 5, 16, 33, 64),
  Dv: fc.constantFrom(1, 3, 4, 7, 32),
}).map(({ group, ...rest }) => ({ ...rest, Hq: group * rest.Hkv }))
  .chain((sizes) =>
    fc.record({ seed: fc.nat(), asked: anyMeaning(sizes) }).map(({ seed, asked }) => ({
      problem: problemOf(sizes, seed),
      asked,
    }))
  );

contract("attention() has any options together in every precision", async (engine, backend) => {
  await fc.assert(
    fc.asyncProperty(anyCase, async ({ problem, asked: { meaning } }) => {
      const exact = exactOf(problem, meaning);
      // Few numbers: a row that weighs its keys by nearly equal scores has no mean of many errors.
      for (const [level] of levelsOf(backend)) {
        const { out, lse } = await by(engine, problem, meaning, level);
        assertSameBits(emptyRows(lse), emptyRows(exact.lse));
        const error = difference(out, exact.out, level), size = rms(problem.v);
        assert(error <= 6 * levels[level] * size, `${level}: ${error / size}`);
      }
    }),
    runs(300),
  );
}, { daily: 1 / 3 });

contract("attention() with int16 is nearer than f16 would be", async (engine) => {
  const given = randomProblem(sizesOf({ Nq: 64, Nk: 1024, D: 64 }), 9), exact = exactOf(given, {});
  const [q, k, v] = [given.q, given.k, given.v].map((data) => rounded(data, "f16"));
  const ofF16 = exactOf({ ...given, q, k, v }, {});
  const ours = await by(engine, given, {}, "int16");
  assert(difference(ours.out, exact.out, "") < difference(ofF16.out, exact.out, ""));
}, { daily: 1 / 3, needs: "int16" });

/** Inputs with some elements replaced. */
function spoiled(given: Problem, spoil: (inputs: Record<"q" | "k" | "v", Float32Array>) => void) {
  const inputs = { q: given.q.slice(), k: given.k.slice(), v: given.v.slice() };
  spoil(inputs);
  return { ...given, ...inputs };
}

const spoilers: Readonly<Record<string, (inputs: Record<"q" | "k" | "v", Float32Array>) => void>> =
  {
    "NaN in a query": ({ q }) => void (q[5 * 24 + 3] = NaN),
    "Infinity in a query": ({ q }) => void (q[5 * 24 + 3] = Infinity),
    "NaN in a key": ({ k }) => void (k[200 * 24 + 1] = NaN),
    "Infinity in keys": ({ k }) => void (k[200 * 24 + 1] = Infinity, k[290 * 24] = -Infinity),
    "NaN in a value": ({ v }) => void (v[150 * 22 + 21] = NaN),
    "Infinity in a value": ({ v }) => void (v[150 * 22] = Infinity),
    "huge numbers": ({ q, k, v }) => {
      q[9 * 24] = 1e30;
      k[100 * 24 + 4] = -1e25;
      v[20 * 22] = 1e38;
    },
    "tiny numbers": ({ q, k, v }) => {
      q.fill(1e-30, 0, 30 * 24);
      k.fill(1e-38, 0, 130 * 24);
      v.fill(1e-40, 0, 130 * 22);
    },
    zeros: ({ q, k, v }) => void (q.fill(0), k.fill(0), v.fill(0)),
  };

for (const [name, spoil] of Object.entries(spoilers)) {
  const given = spoiled(problem, spoil);
  contract(
    `attention() gives what f32 gives in every precision: ${name}`,
    async (engine, backend) => {
      for (const meaning of [{}, { causal: true }, { window: [30, 5] }] as Meaning[]) {
        const plain = await resultsOf(engine, given, meaning);
        for (const [level] of levelsOf(backend)) {
          const ours = await by(engine, given, meaning, level);
          const size = rms(finite(plain.out).filter((x) => Math.abs(x) < 1e6));
          const capped = (x: number) => Math.abs(x) < 1e6 ? x : Math.sign(x) * Infinity;
          const error = difference(
            ours.out.map(capped),
            plain.out.map(capped),
            `${level}, ${name}`,
          );
          assert(error <= 2 * levels[level] * size, `${level}, ${name}: ${error / size}`);
        }
      }
    },
  );
}

contract(
  "attention() gives what f32 gives in every precision for a bias of no numbers",
  async (engine, backend) => {
    const bias = random([Nq, Nk], 10), data = bias.data as Float32Array;
    data[3 * Nk + 7] = NaN;
    data[4 * Nk + 140] = Infinity;
    data.fill(-3e38, 5 * Nk, 6 * Nk);
    data.fill(-Infinity, 6 * Nk, 7 * Nk);
    const plain = await resultsOf(engine, problem, { bias });
    for (const [level] of levelsOf(backend)) {
      const ours = await by(engine, problem, { bias }, level);
      assertSameBits(emptyRows(ours.lse), emptyRows(plain.lse));
      assert(difference(ours.out, plain.out, level) <= 2 * levels[level] * rms(finite(plain.out)));
    }
  },
);

contract(
  "attention() does not read keys behind `kvLengths` in any precision",
  async (engine, backend) => {
    const meaning = { kvLengths: [130, 57] };
    const noise = spoiled(problem, ({ k, v }) => {
      k.fill(NaN, 130 * 24, 301 * 24);
      v.fill(NaN, 130 * 22, 301 * 22);
    });
    for (const [level] of levelsOf(backend)) {
      const [a, b] = [problem, noise].map((given) => by(engine, given, meaning, level));
      assertSameBits((await b).out, (await a).out);
      assertSameBits((await b).lse, (await a).lse);
    }
  },
);

contract(
  "attention() stays within 32 bits in every precision, whatever the numbers",
  async (engine, backend) => {
    for (const D of [1, 64, 5000]) {
      const given = randomProblem(sizesOf({ Nq: 20, Nk: 130, D, Dv: 4 }), 11);
      given.q.forEach((_, at) => given.q[at] = Math.floor(at / D) & 1 ? 1 : -1);
      given.k.forEach((_, at) => given.k[at] = Math.floor(at / D) & 1 ? 1 : -1);
      given.v.forEach((_, at) => given.v[at] = at < 300 ? 3 : 1);
      const exact = exactOf(given, {});
      for (const [level] of levelsOf(backend)) {
        const ours = await by(engine, given, {}, level), what = `${level}, D = ${D}`;
        assert(difference(ours.out, exact.out, what) <= levels[level] * rms(exact.out), what);
        // All products are rounded alike.
        assert(difference(ours.lse, exact.lse, what) <= 2e-2 * rms(exact.lse), what);
      }
    }
  },
  { daily: 1 / 3 },
);

contract(
  "attention() of a row is the same whatever the others are, in any precision",
  async (engine, backend) => {
    const given = spoiled(problem, ({ q }) => void q.fill(NaN, 6 * 24, 7 * 24));
    const bias = random([Nq, Nk], 12), broken = random([Nq, Nk], 12);
    (broken.data as Float32Array).fill(NaN, 6 * Nk, 6 * Nk + 9);
    for (const [level] of levelsOf(backend)) {
      for (const [a, b] of [[{}, {}], [{ bias }, { bias: broken }]]) {
        const [plain, spoilt] = [
          await by(engine, problem, a, level),
          await by(engine, given, b, level),
        ];
        for (let row = 0; row < Nq; row++) {
          if (row === 6) continue;
          const at = [row * 22, (row + 1) * 22] as const;
          assertSameBits(
            spoilt.out.subarray(...at),
            plain.out.subarray(...at),
            `${level}, row ${row}`,
          );
        }
      }
    }
  },
);

contract(
  "attention() reads any storage and strides in every precision",
  async (engine, backend) => {
    const { q, k, v } = inputsOf(problem);
    for (const [level] of levelsOf(backend)) {
      const options = { causal: true, lse: true, precision: level } as const;
      for (const dtype of storages) {
        const floats = [q, k, v].map((x) => ({
          ...x,
          data: rounded(x.data as Float32Array, dtype),
        }));
        const expected = await engine.attention(floats[0], floats[1], floats[2], options);
        const [a, b, c] = [q, k, v].map((x) => stored(x, dtype));
        const got = await engine.attention(a, b, c, options);
        assertSameBits(got.lse.data, expected.lse.data, `lse ${dtype}`);
        const wanted = numbersIn(stored(expected.out, dtype).data, dtype);
        assertSameBits(numbersIn(got.out.data, dtype), wanted, `out ${dtype}`);
      }
      const turned = [q, k, v].map((x) => transposed(x));
      const plain = await engine.attention(q, k, v, options);
      const got = await engine.attention(turned[0], turned[1], turned[2], options);
      assertSameBits(got.out.data, plain.out.data);
    }
  },
  { daily: 1 / 3 },
);

/** The same numbers, the last axis but one fastest. */
function transposed({ data, shape }: Tensor): Tensor {
  const [, H, N, D] = shape, to = new Float32Array(data.length);
  for (let at = 0; at < data.length; at++) {
    const d = at % D, n = Math.floor(at / D) % N, head = Math.floor(at / (D * N));
    to[(head * D + d) * N + n] = data[at];
  }
  return { data: to, shape, strides: [H * N * D, N * D, 1, N] };
}

contract(
  "attention() reads and writes its engine's tensors in every precision",
  async (engine, backend) => {
    const inputs = Object.values(inputsOf(problem)) as Tensor<Float32Array>[];
    for (const [level] of levelsOf(backend)) {
      const options = { causal: true, precision: level, lse: true } as const;
      const plain = await engine.attention(inputs[0], inputs[1], inputs[2], options);
      const [q, k, v] = inputs.map((x) => residentOf(engine, x as HostTensor) as Tensor);
      const got = await engine.attention(q, k, v, options);
      assertSameBits(got.out.data, plain.out.data);
      assertSameBits(got.lse.data, plain.lse.data);
    }
  },
  { needs: "hostTensors" },
);

contract("attention() of few queries is that of f32 in any precision", async (engine, backend) => {
  const few = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 8, Nk: 3000, D: 16 }), 13);
  const plain = await resultsOf(engine, few, {});
  for (const [level] of levelsOf(backend)) {
    const ours = await by(engine, few, {}, level);
    assertSameBits(ours.out, plain.out);
    assertSameBits(ours.lse, plain.lse);
  }
});

const sequenceEnds = [0, 10, 200, 210, 226, 500, 501, 790, 800];

/** Calls with enough work that threads take part. */
const threaded: readonly [Parameters<typeof sizesOf>[0], Meaning][] = [
  [{ Hq: 4, Nq: 300, D: 64 }, { causal: true }],
  [{ Hq: 6, Hkv: 2, Nq: 200, Nk: 333, D: 40, Dv: 24 }, { softcap: 3, offset: 40, causal: true }],
  [{ B: 3, Hq: 12, Nq: 40, Nk: 700, D: 64 }, {}],
  [{ Nq: 3000, Nk: 20, D: 256, Dv: 300 }, {}],
  // Few queries and many, in waves of their own.
  [{ Hq: 4, Nq: 800, D: 64 }, { cuSeqlens: { q: sequenceEnds, k: sequenceEnds } }],
];

for (const [sizes, meaning] of threaded) {
  longTest(
    `attention() by integers gives the same bits for any number of threads: ${
      JSON.stringify(sizes)
    }`,
    async () => {
      const given = spoiled(randomProblem(sizesOf(sizes), 14), ({ q, k }) => {
        q.fill(NaN, 7 * sizes.D, 8 * sizes.D);
        k[3] = Infinity;
      });
      const { q, k, v } = inputsOf(given);
      await withEngines(async (alone, teams) => {
        for (const [precision] of eachLevel) {
          const options = { ...meaning, lse: true, precision } as const;
          const expected = await alone.attention(q, k, v, options);
          assertSameBits(alone.attentionSync(q, k, v, options).out.data, expected.out.data, "sync");
          for (const engine of teams) {
            for (let time = 0; time < 2; time++) {
              const { out, lse } = await engine.attention(q, k, v, options);
              assertSameBits(out.data, expected.out.data, precision);
              assertSameBits(lse.data, expected.lse.data, precision);
            }
          }
        }
      });
    },
  );
}

/** Rows of all heads and batches from one position to another. */
function rowsOf({ data, shape }: Tensor, from: number, to: number): Tensor {
  const [B, H, N, D] = shape;
  return { data, shape: [B, H, to - from, D], strides: [H * N * D, N * D, D, 1], offset: from * D };
}

contract(
  "cache.attend() has every precision: the bits of attention() to the same keys",
  async (engine, backend) => {
    const { q, k, v } = inputsOf(
      randomProblem(sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 20, Nk: 600, D: 12 }), 18),
    );
    for (const dtype of ["f32", "bf16"] as const) {
      const cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 12, dtype });
      cache.append(k, v);
      const [keys, values] = [k, v].map((x) => ({
        ...x,
        data: rounded(x.data as Float32Array, dtype),
      }));
      for (const [precision] of levelsOf(backend)) {
        for (const more of [{}, { window: [300, 100], softcap: 2 }] as const) {
          const options = { causal: true, lse: true, precision, ...more } as const;
          const expected = await engine.attention(q, keys, values, options);
          const { out, lse } = await cache.attend(q, options);
          assertSameBits(out.data, expected.out.data, `${dtype}, ${precision}`);
          assertSameBits(lse.data, expected.lse.data, `lse ${dtype}, ${precision}`);
        }
      }
      cache.free();
    }
  },
  { needs: "kvCache" },
);

contract(
  "cache.attend() has every precision with every storage, lengths and few queries",
  async (engine, backend) => {
    const sizes = sizesOf({ B: 2, Hq: 2, Nq: 40, Nk: 700, D: 64 });
    const { q, k, v } = inputsOf(randomProblem(sizes, 19));
    const dtypes = ["f32", "f16", "int8", "int4"] as const;
    for (const dtype of backend.lacks?.int4Cache ? dtypes.slice(0, 3) : dtypes) {
      const cache = engine.kvCache({
        batch: 2,
        kvHeads: 2,
        headDim: 64,
        dtype,
        smoothKeys: dtype === "int8",
      });
      cache.append(rowsOf(k, 0, 430), rowsOf(v, 0, 430), { lengths: [430, 133] });
      cache.append(rowsOf(k, 430, 700), rowsOf(v, 430, 700));
      const options = { causal: true, lse: true } as const;
      const plain = await cache.attend(q, options),
        few = await cache.attend(rowsOf(q, 3, 9), options);
      for (const [precision] of levelsOf(backend)) {
        const { out, lse } = await cache.attend(q, { ...options, precision });
        const [ours, exact] = [{ out, lse }, plain].map((x) => ({
          out: x.out.data,
          lse: x.lse.data,
        }));
        assertNear(ours, exact, precision, 1.5, dtype);
        const ofFew = await cache.attend(rowsOf(q, 3, 9), { ...options, precision });
        assertSameBits(ofFew.out.data, few.out.data);
      }
      cache.free();
    }
  },
  { needs: "kvCache" },
);

contract("cache.attend() has every precision with pages of any size", async (engine, backend) => {
  const sizes = sizesOf({ B: 2, Hq: 2, Nq: 20, Nk: 300, D: 20, Dv: 7 });
  const { q, k, v } = inputsOf(randomProblem(sizes, 22));
  for (const dtype of ["f32", "bf16", "int8"] as const) {
    for (const pageSize of [16, 32, 64, 2048]) {
      const cache = engine.kvCache({
        ...{ batch: 2, kvHeads: 2, headDim: 20, valueDim: 7, pageSize, dtype },
      });
      cache.append(k, v, { lengths: [300, 131] });
      const options = { causal: true, window: [150, 0], lse: true } as const;
      const exact = await cache.attend(q, options);
      for (const [precision] of levelsOf(backend)) {
        const ours = await cache.attend(q, { ...options, precision });
        const [a, b] = [ours, exact].map(({ out, lse }) => ({ out: out.data, lse: lse.data }));
        assertNear(a, b, precision, 2, `${dtype}, pages of ${pageSize}`);
      }
      cache.free();
    }
  }
}, { needs: "kvCache" });

contract("cache.attend() reads the bytes of keys as they are stored", async (engine) => {
  // Queries and keys that bytes hold, of whole steps of theirs: scores are those of f32.
  const sizes = { batch: 1, kvHeads: 1, headDim: 19, valueDim: 4, dtype: "int8" } as const;
  const draw = seeded(23), Nq = 24, Nk = 300, { headDim } = sizes;
  const rowsOf = (count: number, low: number, high: number, unit: number): Tensor => ({
    data: Float32Array.from(
      { length: count * headDim },
      (_, at) =>
        (at % headDim === 0 ? high : at % headDim === 1 ? low : whole(draw, low, high)) * unit,
    ),
    shape: [1, 1, count, headDim],
  });
  const q = rowsOf(Nq, -20, 107, 1 / 16),
    k = rowsOf(Nk, -127, 127, 1 / 512),
    v = random([1, 1, Nk, 4], 24);
  const cache = engine.kvCache(sizes);
  cache.append(k, v);
  const options = { scale: 1, lse: true } as const;
  const exact = await cache.attend(q, options);
  for (const precision of ["int8-qk", "int8"] as const) {
    const { lse } = await cache.attend(q, { ...options, precision });
    const error = difference(lse.data, exact.lse.data, precision);
    assert(error < (precision === "int8" ? 1e-3 : 1e-4), `${precision}: ${error}`);
  }
}, { needs: ["kvCache", "keyBytes"] });

for (const [name, spoil] of Object.entries(spoilers)) {
  contract(
    `a cache of bytes gives what f32 gives in every precision: ${name}`,
    async (engine, backend) => {
      const given = spoiled(problem, spoil), { q, k, v } = inputsOf(given);
      for (const smoothKeys of [false, true]) {
        const cache = engine.kvCache({
          ...{
            batch: B,
            kvHeads: 2,
            headDim: 24,
            valueDim: 22,
            dtype: "int8" as const,
            smoothKeys,
          },
        });
        cache.append(k, v);
        const plain = await cache.attend(q, { causal: true });
        const size = rms(finite(plain.out.data).filter((x) => Math.abs(x) < 1e6));
        const capped = (x: number) => Math.abs(x) < 1e6 ? x : Math.sign(x) * Infinity;
        for (const [precision] of levelsOf(backend)) {
          const { out } = await cache.attend(q, { causal: true, precision });
          const [a, b] = [out, plain.out].map(({ data }) => (data as Float32Array).map(capped));
          const error = difference(a, b, `${precision}, ${name}`);
          assert(error <= 2 * levels[precision] * size, `${precision}, ${name}: ${error / size}`);
        }
        cache.free();
      }
    },
    { needs: "kvCache" },
  );
}

contract(
  "cache.attend() stays within 32 bits in every precision, however long keys are",
  async (engine, backend) => {
    const headDim = 140_000,
      Nq = 17,
      Nk = 5,
      ones = (count: number): Tensor => ({
        data: new Float32Array(count * headDim).fill(1),
        shape: [1, 1, count, headDim],
      });
    const cache = engine.kvCache({ kvHeads: 1, headDim, valueDim: 1, dtype: "int8" });
    cache.append(ones(Nk), random([1, 1, Nk, 1], 25));
    const q = ones(Nq);
    // Steps are counted from the lowest number.
    for (let at = 0; at < Nq * headDim; at += headDim) q.data[at] = 0;
    const options = { scale: 1 / headDim, lse: true } as const;
    const exact = await cache.attend(q, options);
    for (const [precision] of levelsOf(backend)) {
      const { lse } = await cache.attend(q, { ...options, precision });
      assert(difference(lse.data, exact.lse.data, precision) < 1e-2);
    }
  },
  { daily: 1 / 3, needs: "kvCache" },
);

contract("attentionStream() has every precision", async (engine, backend) => {
  const { q, k, v } = inputsOf(
    randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 40, Nk: 5000, D: 8 }), 20),
  );
  const meaning = { causal: "top-left", offset: 4000 } as const;
  const plain = await engine.attention(q, k, v, { ...meaning, lse: true });
  const exact = { out: plain.out.data, lse: plain.lse.data };
  for (const [precision] of levelsOf(backend)) {
    const stream = attentionStream(q, { ...meaning, engine, precision });
    for (const [from, to] of [[0, 1], [1, 3000], [3000, 5000]]) {
      await stream.push(rowsOf(k, from, to), rowsOf(v, from, to));
    }
    const { out, lse } = await stream.finish();
    assertNear({ out: out.data, lse: lse.data }, exact, precision, 1.5, "stream");
  }
});

contract("attention() multiplies bytes to the same bits in both forms", async (engine) => {
  const given = randomProblem(sizesOf({ Nq: 24, Nk: 300, D: 70 }), 21), { areFused } = dots;
  try {
    for (const level of ["int8", "int8-qk"] as const) {
      await engine.warmup({ precision: level }); // Measures which is the faster one.
      dots.areFused = true;
      const one = await by(engine, given, {}, level);
      dots.areFused = false;
      const other = await by(engine, given, {}, level);
      assertSameBits(one.out, other.out);
      assertSameBits(one.lse, other.lse);
    }
  } finally {
    dots.areFused = areFused;
  }
}, { needs: "attentionSync" });

function small(): Inputs {
  return inputsOf(randomProblem(sizesOf({ Nq: 20, D: 4 }), 16));
}

contract("attentionSync() has what was loaded, and says how that is done", async (engine) => {
  const { q, k, v } = small();
  await assertRefused(
    () => engine.attentionSync(q, k, v, { precision: "int8" }),
    Error,
    "Cannot attend: `precision` is not loaded yet, which takes a promise; " +
      "call `await engine.warmup({ precision })` first",
  );
  await engine.warmup({ precision: "int16", dim: 4 });
  const expected = await engine.attention(q, k, v, { precision: "int8" });
  const { out } = engine.attentionSync(q, k, v, { precision: "int8" });
  assertSameBits(out.data, expected.out.data);
  await assertRefused(
    () => engine.warmup({ precision: "int4" as never }),
    TypeError,
    'Cannot attend: `precision` must be one of "f32", "int16", "int8-qk", "int8", got "int4"',
  );
}, { needs: "attentionSync" });

contract("gradients are refused in any precision but f32", async (engine) => {
  const { q, k, v } = small(), { out, lse } = await engine.attention(q, k, v, { lse: true });
  const reason = '`precision` must be "f32" where gradients are asked for, got "int8"';
  const precision = "int8";
  await assertRefused(
    () => attentionWithGradient(q, k, v, { engine, precision }),
    RangeError,
    `Cannot attend: ${reason}`,
  );
  await assertRefused(
    () => attentionBackward(out, q, k, v, { engine, out, lse, precision }),
    RangeError,
    `Cannot differentiate: ${reason}`,
  );
  const kept = await attentionWithGradient(q, k, v, { engine, precision: "f32" });
  assertEquals((await kept.backward(out)).dq.shape, q.shape);
}, { needs: "backward" });

test("attention() by integers is never taken to a GPU", () => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 8, Nq: 1200, D: 64 }), 17));
  const exact = placed(readAttention(q, k, v)),
    call = placed(readAttention(q, k, v, { precision: "int8" }));
  assertEquals([exact.operation, call.operation], [attention, attentionByIntegers]);
  assertEquals(chooseFor(exact.operation as never, exact.plan), "webgpu");
  assertEquals(chooseFor(call.operation as never, call.plan), "wasm");
});
