import { alibiSlopes, blockMask } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { planAttention, type TensorPlan } from "../../src/operations/attention/plan.ts";
import type { View } from "../../src/tensor/tensor.ts";
import { cutPlan } from "../../src/wasm/attention/jobs.ts";
import { assertSameBits } from "../support/bits.ts";
import { withEngines } from "../support/engines.ts";
import { resultsOf } from "../support/exact.ts";
import { boundariesOf, type Lengths } from "../support/plan.ts";
import {
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { resident } from "../support/resident.ts";
import { longTest } from "../support/share.ts";

/** A call with enough work that threads take part. */
interface Case {
  readonly sizes: Sizes;
  readonly meaning: Meaning;
}

const plain = sizesOf({ Hq: 4, Hkv: 2, Nq: 300, D: 32 });

function random(shape: readonly number[], seed: number) {
  return { data: normals(shape.reduce((a, b) => a * b), seeded(seed)), shape };
}

/** A mask of `[Nq, Nk]` bytes, half of them 0. */
function bytes({ Nq, Nk }: Sizes, seed: number) {
  const draw = seeded(seed);
  return { data: Uint8Array.from({ length: Nq * Nk }, () => draw() * 2), shape: [Nq, Nk] };
}

function bits({ Nq, Nk }: Sizes, seed: number) {
  const draw = seeded(seed), length = Math.ceil(Nq * Nk / 32);
  return { data: Uint32Array.from({ length }, () => draw() * 2 ** 32), shape: [Nq, Nk] };
}

/** A bias over all scores of which a fifth masks. */
function holed({ Hq, Nq, Nk }: Sizes, seed: number) {
  const draw = seeded(seed), { data, shape } = random([Hq, Nq, Nk], seed);
  return { data: data.map((x) => draw() < 0.2 ? -Infinity : x), shape };
}

/** A block mask drawn block by block and, in a third of them, element by element. */
function blocks({ Nq, Nk }: Sizes, heads: number, block: [number, number], seed: number) {
  const draw = seeded(seed), kinds = new Map<string, number>();
  return blockMask.fromFunction((_b, h, query, key) => {
    const place = `${h},${Math.floor(query / block[0])},${Math.floor(key / block[1])}`;
    if (!kinds.has(place)) kinds.set(place, draw());
    const kind = kinds.get(place)!;
    return kind < 0.4 || kind < 0.7 && draw() < 0.5;
  }, { queries: Nq, keys: Nk, heads, block });
}

/** Every option alone. */
const each: Record<string, Meaning> = {
  softcap: { softcap: 2 },
  alibi: { alibi: alibiSlopes(4) },
  bias: { bias: holed(plain, 1) },
  "bias alike for all heads": { bias: random([300, 300], 2) },
  "mask of bytes": { mask: bytes(plain, 3) },
  "mask of bits": { mask: bits(plain, 4) },
  sinks: { sinks: random([4], 5) },
  "block mask": { blockMask: blocks(plain, 1, [64, 64], 6) },
  "block mask of each head": { blockMask: blocks(plain, 4, [24, 40], 7) },
};

const all: Meaning = { causal: true, ...Object.assign({}, ...Object.values(each)) };

/** Packed sequences of these lengths. */
function packed(lengths: readonly Lengths[], rest: Partial<Sizes>, meaning: Meaning = {}): Case {
  const cuSeqlens = boundariesOf(lengths);
  const [Nq, Nk] = [cuSeqlens.q.at(-1)!, cuSeqlens.k.at(-1)!];
  const sizes = sizesOf({ Hq: 4, Hkv: 2, D: 32, ...rest, Nq, Nk });
  return { sizes, meaning: { causal: true, ...meaning, cuSeqlens } };
}

/** Sequences of all lengths, empty ones among them. */
const ragged = Array.from({ length: 60 }, (_, at): Lengths => [at * 37 % 90, at * 53 % 110]);

const cases: Record<string, Case> = {
  ...Object.fromEntries(
    Object.entries(each).map(([name, meaning]) => [name, { sizes: plain, meaning }]),
  ),
  "all together": { sizes: plain, meaning: all },
  "packed, ragged": packed(ragged, {}),
  "packed, ragged, with ALiBi, a window and sinks": packed(ragged, {}, {
    ...{ window: [30, 3], sinks: random([4], 8) },
    alibi: { data: random([60, 4], 9).data.map(Math.abs), shape: [60, 4] },
  }),
  "packed, in parts and not": packed(
    [[2, 9000], [1, 3000], [100, 400], [3, 0], [4, 2049], [0, 7], [1, 8000], [8, 2048]],
    { Hq: 8, D: 64 },
  ),
  "packed, one long among short": packed(
    [...Array.from({ length: 40 }, (_, at): Lengths => [at % 6, at % 5]), [900, 400], [3, 3]],
    {},
  ),
  "block mask of each of 9 heads that share one": {
    sizes: sizesOf({ Hq: 18, Hkv: 2, Nq: 130, Nk: 140, D: 24, Dv: 9 }),
    meaning: { blockMask: blocks({ ...plain, Nq: 130, Nk: 140 }, 18, [5, 16], 10) },
  },
  "few queries against many keys, with all but blocks": (() => {
    const sizes = sizesOf({ B: 2, Hq: 8, Hkv: 2, Nq: 4, Nk: 7001, D: 64 });
    const { Hq } = sizes;
    return {
      sizes,
      meaning: {
        ...{ softcap: 3, alibi: alibiSlopes(Hq), sinks: random([Hq], 11), causal: true },
        ...{ bias: holed(sizes, 12), mask: bits(sizes, 13), kvLengths: [7001, 4000] },
      },
    };
  })(),
  "one head in runs of positions, with a bias and a mask": (() => {
    const sizes = sizesOf({ Hq: 2, Hkv: 1, Nq: 1100, Nk: 1000, D: 8 });
    return { sizes, meaning: { bias: holed(sizes, 14), mask: bytes(sizes, 15) } };
  })(),
};

function problemOf({ sizes, meaning }: Case): Problem {
  const problem = randomProblem(sizes, 1), { q, k, v } = inputsOf(problem);
  assertEquals(
    cutPlan(planAttention(q, k, v, meaning) as TensorPlan<View>, 3).threads,
    3,
    "too little work",
  );
  return problem;
}

for (const [name, given] of Object.entries(cases)) {
  longTest(
    `attention() gives the same bits for any number of threads: ${name}`,
    async () => {
      const problem = problemOf(given);
      await withEngines(async (alone, teams) => {
        const expected = await resultsOf(alone, problem, given.meaning);
        assert(expected.lse.some(Number.isFinite));
        for (const [at, engine] of teams.entries()) {
          // The first call may be over before a worker is there.
          for (let time = 0; time < 3; time++) {
            const { out, lse } = await resultsOf(engine, problem, given.meaning);
            assertSameBits(out, expected.out, `out of ${at + 2} threads, time ${time}`);
            assertSameBits(lse, expected.lse, `lse of ${at + 2} threads, time ${time}`);
          }
        }
      });
    },
  );
}

test("attention() gives the same bits for any number of threads: a bias in its memory", async () => {
  const given = { sizes: plain, meaning: all }, problem = problemOf(given);
  await withEngines(async (alone, teams) => {
    const expected = await resultsOf(alone, problem, all);
    for (const engine of [alone, ...teams]) {
      const bias = resident(engine, all.bias as ReturnType<typeof holed>);
      const { out, lse } = await resultsOf(engine, problem, { ...all, bias });
      assertSameBits(out, expected.out, "out");
      assertSameBits(lse, expected.lse, "lse");
      bias.free();
    }
  });
});
