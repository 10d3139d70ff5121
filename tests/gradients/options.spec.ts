import { assert, assertEquals } from "@std/assert";
import { blockMask, type Engine, type Tensor } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import {
  assertSameGradients,
  type Cotangents,
  cotangentTensors,
  eachGradient,
  exactGradients,
  gradientCall,
  gradientExpectation,
  gradientNames,
  type Gradients,
  gradientsOf,
} from "../support/gradients.ts";
import { meaningOf } from "../support/meaning.ts";
import { once } from "../support/once.ts";
import {
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  type Sizes,
  sizesOf,
  slice,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "../contract/backends.ts";

const needs = "backward";

type SomeSizes = Parameters<typeof sizesOf>[0];

interface Case {
  readonly name: string;
  readonly sizes: SomeSizes;
  readonly meaning?: Meaning;
  readonly spread?: number;
}

/** A random bias. */
function random(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

/** Cases of many rows: over a few, the plain formula is often exact by luck. */
const cases: readonly Case[] = [
  { name: "D = 64", sizes: { Hq: 2, Nq: 96, Nk: 130, D: 64 } },
  { name: "D = 64, causal", sizes: { Hq: 2, Nq: 130, D: 64 }, meaning: { causal: true } },
  { name: "D = 128, grouped heads", sizes: { Hq: 6, Hkv: 2, Nq: 40, Nk: 50, D: 128 } },
  { name: "D = 256", sizes: { Hq: 2, Nq: 30, Nk: 40, D: 256 } },
  { name: "D = 600", sizes: { Nq: 33, Nk: 20, D: 600, Dv: 5 } },
  { name: "Dv = 600", sizes: { Nq: 20, Nk: 33, D: 5, Dv: 600 } },
  { name: "70 heads that share one", sizes: { Hq: 70, Hkv: 1, Nq: 9, Nk: 20, D: 20, Dv: 17 } },
  { name: "D = 1", sizes: { B: 8, Hq: 4, Nq: 33, Nk: 41, D: 1, Dv: 9 } },
  { name: "Dv = 1", sizes: { B: 8, Hq: 4, Nq: 33, Nk: 41, D: 9, Dv: 1 } },
  {
    name: "odd sizes",
    sizes: { B: 2, Hq: 6, Hkv: 3, Nq: 37, Nk: 71, D: 59, Dv: 37 },
    meaning: { causal: "top-left" },
  },
  { name: "two keys", sizes: { B: 8, Hq: 8, Nq: 33, Nk: 2, D: 16 } },
  { name: "one query", sizes: { B: 8, Hq: 16, Hkv: 4, Nq: 1, Nk: 100, D: 32 } },
  { name: "one query, many keys", sizes: { Hq: 8, Hkv: 2, Nq: 1, Nk: 2500, D: 16 } },
  { name: "many queries, one key", sizes: { Hq: 4, Hkv: 2, Nq: 700, Nk: 1, D: 8 } },
  { name: "large scores", sizes: { B: 4, Hq: 8, Nq: 64, Nk: 16, D: 16, Dv: 8 }, spread: 4 },
  {
    name: "a window",
    sizes: { Hq: 2, Nq: 150, Nk: 190, D: 24 },
    meaning: { causal: true, window: [20, 0] },
  },
  {
    name: "a softcap",
    sizes: { Hq: 4, Hkv: 2, Nq: 60, Nk: 80, D: 32 },
    meaning: { softcap: 1.5 },
    spread: 2,
  },
  {
    name: "sinks and ALiBi",
    sizes: { B: 2, Hq: 8, Hkv: 2, Nq: 70, Nk: 75, D: 16 },
    meaning: {
      causal: true,
      sinks: random([8], 1),
      alibi: { data: Float32Array.from({ length: 8 }, (_, h) => 2 ** -(h + 1)), shape: [8] },
    },
  },
  {
    name: "a bias",
    sizes: { B: 2, Hq: 4, Nq: 40, Nk: 67, D: 16 },
    meaning: { bias: random([2, 4, 40, 67], 2) },
  },
  {
    name: "a bias for all heads",
    sizes: { B: 2, Hq: 4, Nq: 67, Nk: 40, D: 16 },
    meaning: { bias: random([67, 40], 3) },
  },
  {
    name: "a bias for each key",
    sizes: { B: 2, Hq: 4, Nq: 67, Nk: 140, D: 16 },
    meaning: { bias: random([2, 1, 1, 140], 4), softcap: 3 },
  },
  {
    name: "a bias for each query",
    sizes: { B: 2, Hq: 4, Nq: 140, Nk: 67, D: 16 },
    meaning: { bias: random([4, 140, 1], 5), causal: true },
  },
  {
    name: "a block mask",
    sizes: { Hq: 2, Nq: 130, Nk: 150, D: 16 },
    meaning: {
      blockMask: blockMask.fromFunction((_b, _h, i, j) => (i >> 4) % 3 !== (j >> 4) % 3, {
        ...{ queries: 130, keys: 150, block: [16, 16] },
      }),
    },
  },
  {
    name: "packed sequences",
    sizes: { Hq: 4, Hkv: 2, Nq: 120, Nk: 150, D: 16 },
    meaning: {
      causal: true,
      cuSeqlens: { q: [0, 1, 1, 70, 120], k: [0, 70, 75, 80, 150] },
    },
  },
];

for (const { name, sizes, meaning, spread } of cases) {
  const call = once(() => gradientCall(randomProblem(sizesOf(sizes), 1, spread), meaning));
  const check = once(() => gradientExpectation(call()));
  contract(
    `attentionBackward() stays within the error budget for ${name}`,
    async (engine) => check()(await gradientsOf(engine, call())),
    { daily: 1 / 3, needs },
  );
}

/** Numbers of queries and keys around the sizes of tiles, jobs and parts. */
const around = [[64, 20], [128, 20], [256, 20], [2048, 3]].flatMap(([edge, other]) =>
  [edge - 1, edge, edge + 1].map((n) => [n, other])
);

for (const [what, sized] of [["queries", false], ["keys", true]] as const) {
  const prepare = once(() =>
    around.map(([n, other]) => {
      const sizes = { Nq: sized ? other : n, Nk: sized ? n : other, D: 12, Dv: 10 };
      const problem = randomProblem(sizesOf({ Hq: 2, Hkv: 1, ...sizes }), n);
      const call = gradientCall(problem, { causal: true, offset: sized ? n - other : 9 });
      return { call, check: gradientExpectation(call), what: `${n} ${what}` };
    })
  );
  contract(
    `attentionBackward() stays within the error budget for any number of ${what}`,
    async (engine) => {
      for (const { call, check, what } of prepare()) check(await gradientsOf(engine, call), what);
    },
    { daily: 1 / 3, needs },
  );
}

contract("attentionBackward() stays within the error budget without dLse", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 40, Nk: 50, D: 16 }), 1);
  const { cotangents: { dOut }, ...call } = gradientCall(problem);
  const without = { ...call, cotangents: { dOut } };
  gradientExpectation(without)(await gradientsOf(engine, without));
}, { needs });

contract("attentionBackward() takes a dLse of zeros as none", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 40, Nk: 50, D: 16 }), 1);
  const call = gradientCall(problem, { sinks: random([2], 1) }), { dOut } = call.cotangents;
  const dLse = new Float32Array(2 * 40);
  assertSameGradients(
    await gradientsOf(engine, { ...call, cotangents: { dOut, dLse } }),
    await gradientsOf(engine, { ...call, cotangents: { dOut } }),
  );
}, { needs });

contract("attentionBackward() gives gradients by the lse alone", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 4, Nq: 40, Nk: 50, D: 16 }), 2);
  const call = gradientCall(problem);
  call.cotangents.dOut.fill(0);
  const gradients = await gradientsOf(engine, call);
  gradientExpectation(call)(gradients);
  assert(gradients.dv.every((x) => x === 0));
  assert(gradients.dq.some((x) => x !== 0));
}, { needs });

contract("attentionBackward() gives zeros where there is nothing to attend", async (engine) => {
  for (const empty of [{ Nq: 0, Nk: 5 }, { Nq: 5, Nk: 0 }, { Nq: 0, Nk: 0 }, { B: 0, Nq: 4 }]) {
    const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, D: 3, ...empty }), { B, Hq, Nq, Nk } = sizes;
    const bias = random([B, Hq, Nq, Nk], 1), call = gradientCall(randomProblem(sizes, 1), { bias });
    const gradients = await gradientsOf(engine, call);
    assertSameGradients(
      eachGradient(gradients, (x) => x.map(Math.abs)),
      eachGradient(gradients, (x) => x.map(() => 0)),
      JSON.stringify(empty),
    );
    assertEquals(gradients.dk.length, B * 2 * Nk * 3);
  }
}, { needs });

contract("attentionBackward() gives the sink of a row without keys its dLse", async (engine) => {
  for (const Nk of [0, 3]) {
    const sinks = { data: Float32Array.of(0.5, -3), shape: [2] };
    const problem = randomProblem(sizesOf({ Hq: 2, Nq: 4, Nk, D: 3 }), 1);
    const call = gradientCall(problem, { sinks, causal: true, offset: -10 });
    call.cotangents.dLse!.fill(1);
    const { dq, dk, dv, dSinks } = await gradientsOf(engine, call);
    for (const x of [dq, dk, dv]) assert(x.every((x) => x === 0));
    dSinks!.forEach((x) => assert(Math.abs(x - 4) <= 2 ** -20, `${x}`));
  }
}, { needs });

/** Ways to hide keys: with each of them some rows see nothing, and some keys are seen by no row. */
const ways: Record<string, (sizes: Sizes) => Meaning> = {
  "causal": ({ Nq, Nk }) => ({ causal: true, offset: Math.min(0, Nk - Nq) - 3 }),
  "a window": ({ Nk }) => ({ window: [2, 0], offset: Math.floor(Nk / 3) }),
  "kvLengths": ({ B, Nk }) => ({ kvLengths: B === 1 ? [Nk >> 1] : [0, Nk >> 1] }),
  "a mask": ({ Nq, Nk }) => ({ mask: maskWithHoles(Nq, Nk) }),
  "a mask of bits": ({ Nq, Nk }) => {
    const { data, shape } = maskWithHoles(Nq, Nk);
    const words = new Uint32Array(Math.ceil(data.length / 32));
    data.forEach((kept, at) => words[at >> 5] |= kept << (at & 31));
    return { mask: { data: words, shape } };
  },
  "a bias": ({ Nq, Nk }) => {
    const { data, shape } = maskWithHoles(Nq, Nk);
    return { bias: { data: Float32Array.from(data, (kept) => kept ? 0.5 : -Infinity), shape } };
  },
  "a block mask": ({ Nq, Nk }) => ({
    blockMask: blockMask.fromFunction((_b, _h, i, j) => isKept(i, j), {
      ...{ queries: Nq, keys: Nk, block: [8, 16] },
    }),
  }),
  "packed sequences": ({ Nq, Nk }) => ({
    cuSeqlens: { q: [0, 5, 5, Nq], k: [0, 0, 7, Nk] },
    causal: true,
    offset: [0, 0, -4],
  }),
  "many of them": ({ Nq, Nk, Hq }) => ({
    mask: maskWithHoles(Nq, Nk),
    bias: {
      data: Float32Array.from({ length: Nk }, (_, j) => j === 5 ? -Infinity : 0),
      shape: [Nk],
    },
    ...{ causal: true, softcap: 5, sinks: random([Hq], 1) },
    alibi: { data: new Float32Array(Hq).fill(0.1), shape: [Hq] },
  }),
};

/** Some keys are hidden from all rows, some rows see nothing, and other keys are hidden now and then. */
function isKept(i: number, j: number): boolean {
  return j % 7 !== 2 && i % 5 !== 1 && (i + j) % 3 !== 0;
}

function maskWithHoles(Nq: number, Nk: number) {
  const data = Uint8Array.from(
    { length: Nq * Nk },
    (_, at) => isKept(Math.floor(at / Nk), at % Nk) ? 1 : 0,
  );
  return { data, shape: [Nq, Nk] };
}

/** Sizes where keys of every tile are hidden from some rows and seen by others. */
function sizesFor(way: string): Sizes[] {
  const all = [
    sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 19, Nk: 23, D: 5, Dv: 3 }),
    sizesOf({ Hq: 2, Nq: 70, Nk: 70, D: 8 }),
    sizesOf({ Nq: 21, Nk: 300, D: 12, Dv: 5 }),
    sizesOf({ Hq: 2, Hkv: 1, Nq: 300, Nk: 20, D: 4, Dv: 9 }),
  ];
  return way === "packed sequences" ? all.filter(({ B }) => B === 1) : all;
}

/** Which queries see which keys. */
function sightOf(problem: Problem, meaning: Meaning) {
  const { B, Hq, Hkv, Nq, Nk } = problem.sizes, rowMeaning = meaningOf(problem, meaning);
  const keys = Array.from({ length: Nk }, (_, j) => j);
  const rows = Array.from({ length: B * Hq * Nq }, (_, at) => {
    const head = Math.floor(at / Nq), b = Math.floor(head / Hq), h = head % Hq;
    const firstKey = (b * Hkv + Math.floor(h * Hkv / Hq)) * Nk;
    return keys.filter(rowMeaning(b, h, at % Nq).sees).map((j) => firstKey + j);
  });
  return {
    /** Keys that a row of `[B, Hq, Nq]` sees, as rows of `[B, Hkv, Nk]`. */
    rows,
    /** Keys that any row sees. */
    seen: new Set(rows.flat()),
  };
}

/** The rows of gradients that `keep` keeps, zeros in place of the others. */
function only(data: Float32Array, width: number, keep: (row: number) => boolean): Float32Array {
  return data.map((x, at) => keep(Math.floor(at / width)) ? x : 0);
}

/** Sets rows of a tensor to a number. */
function poisonRows(
  data: Float32Array,
  width: number,
  poisoned: (row: number) => boolean,
  poison: number,
): Float32Array {
  return data.map((x, at) => poisoned(Math.floor(at / width)) ? poison : x);
}

/** Numbers that spread to all that they touch. */
const poisons = [NaN, Infinity, -Infinity] as const;

for (const [way, hide] of Object.entries(ways)) {
  contract(
    `attentionBackward() gives zero to rows that see nothing and keys that nobody sees: ${way}`,
    async (engine) => {
      let checked = 0;
      for (const sizes of sizesFor(way)) {
        const { D, Dv } = sizes, call = gradientCall(randomProblem(sizes, 1), hide(sizes));
        const { rows, seen } = sightOf(call.problem, call.meaning);
        const { dq, dk, dv } = await gradientsOf(engine, call);
        const empty = (row: number) => rows[row].length === 0;
        const unseen = (key: number) => !seen.has(key);
        for (
          const [x, width, which] of [[dq, D, empty], [dk, D, unseen], [dv, Dv, unseen]] as const
        ) {
          assert(only(x, width, which).every((x) => x === 0));
        }
        checked += rows.filter((keys) => keys.length === 0).length;
      }
      assert(checked > 0, "no row sees nothing");
    },
    { needs },
  );

  contract(
    `attentionBackward() lets no poison out of what nobody sees: ${way}`,
    async (engine) => {
      for (const sizes of sizesFor(way)) {
        const { D, Dv } = sizes, call = gradientCall(randomProblem(sizes, 1), hide(sizes));
        const { problem, cotangents } = call;
        const { rows, seen } = sightOf(problem, call.meaning);
        const expected = await gradientsOf(engine, call);
        // A row that sees its sink alone gives that gradient: it is not free of what it holds.
        const empty = (row: number) => rows[row].length === 0 && !call.meaning.sinks;
        const unseen = (key: number) => !seen.has(key);
        for (const poison of poisons) {
          const poisoned = {
            problem: {
              sizes,
              q: poisonRows(problem.q, D, empty, poison),
              k: poisonRows(problem.k, D, unseen, poison),
              v: poisonRows(problem.v, Dv, unseen, poison),
            },
            cotangents: {
              dOut: poisonRows(cotangents.dOut, Dv, empty, poison),
              dLse: poisonRows(cotangents.dLse!, 1, empty, poison),
            },
          };
          const gradients = await gradientsOf(engine, { ...call, ...poisoned });
          assertSameGradients(gradients, expected, `with ${poison}`);
        }
      }
    },
    { needs },
  );

  contract(
    `attentionBackward() keeps a NaN in a key to the rows that see it: ${way}`,
    async (engine) => {
      for (const sizes of sizesFor(way)) {
        const { D, Dv } = sizes, call = gradientCall(randomProblem(sizes, 2), hide(sizes));
        const { rows, seen } = sightOf(call.problem, call.meaning);
        const expected = await gradientsOf(engine, call);
        for (const bad of firstAndLast(seen)) {
          for (const name of ["k", "v"] as const) {
            const width = name === "k" ? D : Dv, data = call.problem[name];
            const poisoned = poisonRows(data, width, (key) => key === bad, NaN);
            const problem = { ...call.problem, [name]: poisoned };
            const gradients = await gradientsOf(engine, { ...call, problem });
            const sees = (row: number) => rows[row].includes(bad);
            // What such a row sees beside it gets NaN from the row.
            const reached = new Set(rows.filter((_, row) => sees(row)).flat());
            assertOnly(gradients, expected, sizes, (row) => !sees(row), (key) => !reached.has(key));
          }
        }
      }
    },
    { needs },
  );

  contract(
    `attentionBackward() keeps a NaN in a row to it and the keys that it sees: ${way}`,
    async (engine) => {
      for (const sizes of sizesFor(way)) {
        const { D, Dv } = sizes, call = gradientCall(randomProblem(sizes, 3), hide(sizes));
        const { rows } = sightOf(call.problem, call.meaning);
        const expected = await gradientsOf(engine, call);
        const seeing = rows.flatMap((keys, row) => keys.length > 0 ? [row] : []);
        for (const bad of firstAndLast(seeing)) {
          const isBad = (row: number) => row === bad, { problem, cotangents } = call;
          const q = poisonRows(problem.q, D, isBad, NaN);
          const dOut = poisonRows(cotangents.dOut, Dv, isBad, Infinity);
          const dLse = poisonRows(cotangents.dLse!, 1, isBad, NaN);
          const poisonedCalls: { problem?: Problem; cotangents?: Cotangents }[] = [
            { problem: { ...problem, q } },
            { cotangents: { ...cotangents, dOut } },
            { cotangents: { ...cotangents, dLse } },
          ];
          for (const poisoned of poisonedCalls) {
            const gradients = await gradientsOf(engine, { ...call, ...poisoned });
            const unseen = (key: number) => !rows[bad].includes(key);
            assertOnly(gradients, expected, sizes, (row) => !isBad(row), unseen);
          }
        }
      }
    },
    { needs },
  );
}

function firstAndLast(numbers: Iterable<number>): number[] {
  const sorted = [...numbers].sort((a, b) => a - b);
  return [...new Set([sorted[0], sorted[sorted.length >> 1], sorted.at(-1)!])];
}

/** Asserts that some rows and some keys have the same bits. */
function assertOnly(
  actual: Gradients<Float32Array>,
  expected: Gradients<Float32Array>,
  { D, Dv }: Sizes,
  rows: (row: number) => boolean,
  keys: (key: number) => boolean,
): void {
  const parts = [["dq", D, rows], ["dk", D, keys], ["dv", Dv, keys]] as const;
  for (const [name, width, keep] of parts) {
    assertSameBits(only(actual[name], width, keep), only(expected[name], width, keep), name);
  }
}

contract(
  "attentionBackward() gives 0 for a bias of -Infinity, and its score alone",
  async (engine) => {
    const problem = randomProblem(sizesOf({ Hq: 2, Nq: 30, Nk: 40, D: 8 }), 1);
    const bias = random([2, 30, 40], 4);
    bias.data.forEach((_, at) => at % 3 === 0 && (bias.data[at] = -Infinity));
    const call = gradientCall(problem, { bias }), { dBias } = await gradientsOf(engine, call);
    dBias!.forEach((x, at) => assertEquals(x === 0, at % 3 === 0, `element ${at}`));
  },
  { needs },
);

contract(
  "attentionBackward() sums a bias's gradient over the axes that it lacks",
  async (engine) => {
    const sizes = sizesOf({ B: 3, Hq: 4, Hkv: 2, Nq: 33, Nk: 37, D: 8 });
    const problem = randomProblem(sizes, 1), extents = [3, 4, 33, 37];
    for (let bits = 0; bits < 16; bits++) {
      const shape = extents.map((extent, axis) => bits >> axis & 1 ? extent : 1);
      for (const missing of [0, shape.findIndex((extent) => extent > 1)]) {
        const bias = random(shape.slice(Math.max(0, missing)), bits);
        const call = gradientCall(problem, { bias, causal: true });
        const { dBias } = await gradientsOf(engine, call), exact = exactGradients(call).dBias!;
        assertEquals(dBias!.length, exact.length);
        // A hundred roundings of f32, of sums of up to 14,652 terms of magnitude about 0.1.
        exact.forEach((x, at) => assert(Math.abs(dBias![at] - x) < 2e-4, `[${bias.shape}], ${at}`));
      }
    }
  },
  { daily: 1 / 3, needs },
);

contract("attentionBackward() reads a bias by its strides", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 21, Nk: 30, D: 8 }), 1);
  const dense = random([2, 21, 30], 4), data = new Float32Array(3 + 2 * 21 * 30 * 2).fill(NaN);
  dense.data.forEach((x, at) => {
    const h = Math.floor(at / 630), i = Math.floor(at / 30) % 21, j = at % 30;
    data[3 + h * 2 + i * 4 + j * 84] = x;
  });
  const bias = { data, shape: [2, 21, 30], strides: [2, 4, 84], offset: 3 };
  assertSameGradients(
    await gradientsOf(engine, gradientCall(problem, { bias })),
    await gradientsOf(engine, gradientCall(problem, { bias: dense })),
  );
}, { needs });

contract("attentionBackward() gives a batch the bits that it has alone", async (engine) => {
  const sizes = sizesOf({ B: 3, Hq: 4, Hkv: 2, Nq: 150, Nk: 170, D: 16, Dv: 12 });
  const call = gradientCall(randomProblem(sizes, 1), { causal: true }), { problem } = call;
  const all = await gradientsOf(engine, call);
  const parts = (data: Float32Array, b: number) => slice(data, [3, data.length / 3], 0, b, b + 1);
  for (let b = 0; b < 3; b++) {
    const { q, k, v } = problem, { dOut, dLse } = call.cotangents;
    const alone = await gradientsOf(engine, {
      ...call,
      problem: { sizes: { ...sizes, B: 1 }, q: parts(q, b), k: parts(k, b), v: parts(v, b) },
      cotangents: { dOut: parts(dOut, b), dLse: parts(dLse!, b) },
    });
    assertSameGradients(alone, eachGradient(all, (x) => parts(x, b)), `of batch ${b}`);
  }
}, { needs });

contract("attentionBackward() gives the same bits in every run", async (engine) => {
  const sizes = sizesOf({ Hq: 4, Hkv: 2, Nq: 200, Nk: 170, D: 16 });
  const meaning = { bias: random([200, 170], 1), sinks: random([4], 2), causal: true };
  const call = gradientCall(randomProblem(sizes, 1), meaning);
  const expected = await gradientsOf(engine, call);
  for (let time = 0; time < 3; time++) {
    assertSameGradients(await gradientsOf(engine, call), expected, `time ${time}`);
  }
}, { needs });

/** Runs a call by `attentionWithGradient()`, its backward pass twice. */
async function withGradient(engine: Engine, { problem, meaning, cotangents }: GradientCall) {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const { out, lse, backward } = await engine.attentionWithGradient(q, k, v, meaning);
  const pass = async () => {
    const gradients: Gradients<Tensor> = await backward(dOut, { dLse });
    return eachGradient(gradients, ({ data }) => data);
  };
  return { out, lse, first: await pass(), second: await pass() };
}

type GradientCall = ReturnType<typeof gradientCall>;

contract(
  "attentionWithGradient() gives what attention() gives, the same each time",
  async (engine) => {
    const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 20, Nk: 30, D: 8, Dv: 6 });
    const meaning = { causal: true, bias: random([20, 30], 1), sinks: random([4], 2) };
    const call = gradientCall(randomProblem(sizes, 1), meaning);
    const { out, lse, first, second } = await withGradient(engine, call);
    const { q, k, v } = inputsOf(call.problem);
    const expected = await engine.attention(q, k, v, { ...meaning, lse: true });
    assertSameBits(out.data, expected.out.data, "out");
    assertSameBits(lse.data, expected.lse.data, "lse");
    assertSameGradients(second, first, "the second time");
    // What rounding took from lse is known to one of them: last bits may differ.
    const check = gradientExpectation(call);
    check(first, "of the one call");
    check(await gradientsOf(engine, call), "of the two calls");
  },
  { needs },
);

contract("attentionBackward() leaves what it reads as it is", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 20, Nk: 30, D: 8 }), 1);
  const call = gradientCall(problem, { bias: random([20, 30], 1), sinks: random([2], 2) });
  const { q, k, v } = inputsOf(problem),
    { dOut, dLse } = cotangentTensors(problem, call.cotangents);
  const { out, lse } = await engine.attention(q, k, v, { ...call.meaning, lse: true });
  const { bias, sinks } = call.meaning;
  const read = [q, k, v, dOut, dLse!, out, lse, bias as Tensor, sinks!];
  const before = read.map(({ data }) => data.slice());
  await engine.attentionBackward(dOut, q, k, v, { ...call.meaning, out, lse, dLse });
  read.forEach(({ data }, at) => assertSameBits(data, before[at], `input ${at}`));
}, { needs });

contract("attentionBackward() has gradients by what is given alone", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 6, D: 3 }), 1);
  const names = async (meaning: Meaning) =>
    Object.keys(await gradientsOf(engine, gradientCall(problem, meaning)));
  assertEquals(await names({}), ["dq", "dk", "dv"]);
  assertEquals(await names({ bias: random([6], 1) }), ["dq", "dk", "dv", "dBias"]);
  assertEquals(await names({ sinks: random([2], 1) }), ["dq", "dk", "dv", "dSinks"]);
  const { bias, sinks } = { bias: random([6], 1), sinks: random([2], 1) };
  assertEquals(await names({ bias, sinks }), [...gradientNames]);
}, { needs });
