import {
  type CacheAttentionOptions,
  captured,
  type HostTensor,
  type MaskMod,
  type ScoreMod,
  where,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { withOptions } from "../../src/operations/attention/known.ts";
import { readAttention } from "../../src/operations/attention/plan.ts";
import { traceMask } from "../../src/scores/graph.ts";
import { knownBand } from "../../src/scores/known.ts";
import { assertSameBits } from "../support/bits.ts";
import { resultsOf } from "../support/exact.ts";
import { assertSameGradients, gradientCall, gradientsOf } from "../support/gradients.ts";
import { boundariesOf } from "../support/plan.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { contract } from "./backends.ts";

const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 21, Nk: 37, D: 8 }), 1);

const slopes = Float32Array.of(0.5, 0.25, 0.125, 0.0625), slope = captured(slopes, [4]);
const biases = normals(4 * 21 * 37, seeded(2)), bias = captured(biases, [4, 21, 37]);
const turned = captured(biases.slice(0, 37 * 21), [37, 21]);

/** Functions, and the options that say the same. */
const pairs: Readonly<Record<string, readonly [functions: Meaning, option: Meaning]>> = {
  "causal": [{ maskMod: ({ q, k }) => q.ge(k) }, { causal: "top-left" }],
  "a window": [
    { maskMod: ({ q, k }) => q.sub(k).ge(0).and(k.gt(q.sub(9))) },
    { offset: 0, window: [8, 0] },
  ],
  "a window to both sides": [
    { maskMod: ({ q, k }) => k.sub(q).abs().le(5) },
    { offset: 0, window: [5, 5] },
  ],
  "softcap": [
    { scoreMod: (score) => score.div(1.5).tanh().mul(1.5) },
    { softcap: 1.5 },
  ],
  "slopes": [
    {
      scoreMod: (score, { h, q, k }) => score.sub(slope.at(h).mul(k.sub(q).abs().toF32())),
      maskMod: ({ q, k }) => k.le(q),
    },
    { causal: "top-left", alibi: { data: slopes, shape: [4] } },
  ],
  "a bias": [
    { scoreMod: (score, { h, q, k }) => score.add(bias.at(h, q, k)), mask: undefined },
    { bias: { data: biases, shape: [4, 21, 37] } },
  ],
  "a bias with its axes turned": [
    { scoreMod: (score, { q, k }) => turned.at(k, q).add(score) },
    { bias: { data: biases, shape: [21, 37], strides: [1, 21] } },
  ],
};

test("what wraps around is no band", () => {
  const most = 2 ** 31 - 1;
  const masks: MaskMod[] = [
    ({ q, k }) => q.add(most).ge(k.add(most)),
    ({ q, k }) => k.sub(most).sub(most).le(q.sub(most).sub(most)),
    ({ q, k }) => q.add(q).sub(k).ge(q),
  ];
  for (const mask of masks) assertEquals(knownBand(traceMask(mask)), undefined);
});

for (const [name, [functions, option]] of Object.entries(pairs)) {
  contract(`functions that say ${name} give the bits of the option`, async (engine) => {
    const [actual, expected] = [
      await resultsOf(engine, problem, functions),
      await resultsOf(engine, problem, option),
    ];
    assertSameBits(actual.out, expected.out);
    assertSameBits(actual.lse, expected.lse);
  });

  contract(
    `gradients of functions that say ${name} have the bits of the option's`,
    async (engine) => {
      const { dq, dk, dv } = await gradientsOf(engine, gradientCall(problem, option));
      assertSameGradients(await gradientsOf(engine, gradientCall(problem, functions)), {
        dq,
        dk,
        dv,
      });
    },
    { needs: "backward" },
  );
}

contract(
  "rows of packed sequences are counted so where functions are taken for options",
  async (engine) => {
    const cuSeqlens = boundariesOf([[3, 7], [9, 5], [9, 25]]);
    const [functions, option] = pairs.slopes;
    const [actual, expected] = [
      await resultsOf(engine, problem, { cuSeqlens, ...functions }),
      await resultsOf(engine, problem, { cuSeqlens, ...option }),
    ];
    assertSameBits(actual.out, expected.out);
  },
);

contract("a cache takes functions for options by its own rows", async (engine) => {
  const { q, k, v } = inputsOf(problem), [functions] = pairs.slopes;
  using cache = engine.kvCache({ kvHeads: 2, headDim: 8 });
  await cache.append(k, v);
  const actual = await cache.attend(q, functions as CacheAttentionOptions);
  const expected = await cache.attend(q, { causal: true, alibi: { data: slopes, shape: [4] } });
  assertSameBits((actual.out as HostTensor).data, (expected.out as HostTensor).data);
}, { needs: "kvCache" });

/** Whether functions are left beside options. */
function isLeft(meaning: Meaning): boolean {
  const { q, k, v } = inputsOf(problem);
  return withOptions(readAttention(q, k, v, meaning).plan).functions !== null;
}

test("functions are taken for options only where these say the same", () => {
  const scores: Record<string, ScoreMod> = {
    "two caps": (score) => score.div(2).tanh().mul(3),
    "a cap below 0": (score) => score.div(-2).tanh().mul(-2),
    "slopes that are learned": (score, { h, q, k }) =>
      score.sub(captured(slopes, [4], { grad: true }).at(h).mul(q.sub(k).abs().toF32())),
    "slopes from elsewhere": (score, { h, q, k }) =>
      score.sub(slope.at(h).mul(q.sub(k).add(1).abs().toF32())),
    "a table beyond which scores are": (score, { q, k }) =>
      score.add(captured(biases, [21, 36]).at(q, k)),
    "a table that is read twice along an axis": (score, { q }) => score.add(bias.at(q, q, q)),
    "a choice": (score, { q, k }) => where(q.ge(k), score, 0),
  };
  for (const [name, scoreMod] of Object.entries(scores)) assert(isLeft({ scoreMod }), name);
  for (const [functions] of Object.values(pairs)) assert(!isLeft(functions));
  // With these rows are counted from elsewhere, or something else comes first.
  const [causal] = pairs.causal, [cap] = pairs.softcap, [table] = pairs["a bias"];
  for (const other of [{ causal: true }, { offset: 3 }, { window: [2, 2] }] as const) {
    assert(isLeft({ ...causal, ...other }));
  }
  assert(isLeft({ ...cap, softcap: 2 }));
  assert(isLeft({ ...table, softcap: 2 }));
  assert(isLeft({ ...table, bias: { data: Float32Array.of(1), shape: [1] } }));
});

test("bands are known however they are written", () => {
  const bandOf = (mask: MaskMod) => knownBand(traceMask(mask));
  const band = (left: number, right: number) => ({ left, right });
  assertEquals(bandOf(({ q, k }) => q.ge(k)), band(Infinity, 0));
  assertEquals(bandOf(({ q, k }) => k.sub(q).le(0)), band(Infinity, 0));
  assertEquals(bandOf(({ q, k }) => k.lt(q.add(1))), band(Infinity, 0));
  assertEquals(bandOf(({ q, k }) => q.sub(k).neg().lt(4)), band(Infinity, 3));
  assertEquals(bandOf(({ q, k }) => k.ge(q)), band(0, Infinity));
  assertEquals(bandOf(({ q, k }) => q.sub(k).abs().lt(3)), band(2, 2));
  assertEquals(bandOf(({ q, k }) => q.sub(k).sub(1).abs().le(3)), band(4, 2));
  assertEquals(bandOf(({ q, k }) => q.ge(k).and(q.sub(k).le(7))), band(7, 0));
  const others: MaskMod[] = [
    ({ q, k }) => q.gt(k), // No band of options leaves the diagonal out.
    ({ q, k }) => q.ge(k).not(),
    ({ q, k }) => q.ge(k).or(k.eq(0)),
    ({ q, k }) => q.add(k).le(3),
    ({ q }) => q.ge(3),
    ({ q, k }) => q.mul(2).ge(k),
    ({ q, k }) => q.sub(k).add(2 ** 31 - 1).ge(0), // It wraps around.
    ({ q, k }) => q.toF32().ge(k.toF32()),
    ({ q, k }) => q.eq(k),
  ];
  for (const mask of others) assertEquals(bandOf(mask), undefined);
});
