import { captured, type Engine, type NumberList, type WeightsOptions } from "@flashtile/attention";
import { referenceAttentionWeights } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { backends, contract } from "../contract/backends.ts";
import { fullSizes, problemOf, workOf } from "../support/arbitrary.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { gpuRequired } from "../support/gpu.ts";
import { naiveAttention } from "../support/naive.ts";
import { inputsOf, type Meaning, type Problem } from "../support/problem.ts";
import { seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";
import { anyMeaning } from "../support/terms.ts";

const cpuBackends =
  backends.filter(({ name, unavailable }) => name !== "webgpu" && unavailable === undefined).length;

const numRuns = gpuRequired ? 16 : share(Math.ceil(600 / cpuBackends));

/** Numbers that the errors of a case are taken over, at least. */
const fewest = 48;

/** Some of so many indices, in order; `undefined` for all. */
function someOf(extent: number, seed: number): readonly number[] | undefined {
  const random = seeded(seed);
  if (random() < 0.3) return undefined;
  const from = whole(random, 0, extent - 1), run = whole(random, 1, extent - from);
  if (random() < 0.5) return Array.from({ length: run }, (_, at) => from + at);
  return Array.from({ length: extent }, (_, at) => at).filter((at) =>
    at === from || random() < 0.4
  );
}

interface Case {
  readonly problem: Problem;
  readonly meaning: Meaning;
  readonly seed: number;
}

const cases: fc.Arbitrary<Case> = fullSizes
  .map((sizes) => ({ ...sizes, Dv: 1 }))
  .filter((sizes) => workOf(sizes) <= 300_000 && sizes.Nk * sizes.Nq >= fewest)
  .chain((sizes) =>
    fc.record({ seed: fc.nat(), asked: anyMeaning(sizes) }).map(({ seed, asked }) => ({
      ...{ problem: problemOf(sizes, seed), meaning: asked.meaning, seed },
    }))
  );

/** What is asked of a case: rows, heads, and sums. */
function asked({ problem: { sizes }, seed }: Case): WeightsOptions {
  const sums = ([false, true, "kv"] as const)[seed % 3];
  const heads = sums === "kv" ? undefined : someOf(sizes.Hq, seed + 1);
  return { rows: someOf(sizes.Nq, seed), heads, keySums: sums };
}

/** The plain formula's weights in f32: attention to values that pick one key each. */
function naiveWeights({ problem, meaning }: Case, { rows, heads, keySums }: WeightsOptions) {
  const { sizes } = problem,
    { B, Hq, Hkv, Nq, Nk } = sizes,
    v = new Float32Array(B * Hkv * Nk * Nk);
  for (let at = 0; at < B * Hkv * Nk; at++) v[at * Nk + at % Nk] = 1;
  const { out } = naiveAttention({ ...problem, sizes: { ...sizes, Dv: Nk }, v }, meaning);
  const all = (list: NumberList | undefined, extent: number) =>
    (list as readonly number[] | undefined) ?? Array.from({ length: extent }, (_, at) => at);
  const chosen = all(heads, Hq), places = keySums === "kv" ? Hkv : chosen.length;
  const picked = all(rows, Nq), perHead = (keySums ? 1 : picked.length) * Nk;
  const found = new Float32Array(B * places * perHead);
  for (let b = 0; b < B; b++) {
    for (const [place, h] of chosen.entries()) {
      const head = keySums === "kv" ? Math.floor(h * Hkv / Hq) : place;
      for (const [row, i] of picked.entries()) {
        const to = (b * places + head) * perHead + (keySums ? 0 : row * Nk);
        const from = ((b * Hq + h) * Nq + i) * Nk;
        for (let j = 0; j < Nk; j++) found[to + j] += out[from + j];
      }
    }
  }
  return found;
}

async function assertExact(engine: Engine, given: Case): Promise<void> {
  const { problem, meaning, seed } = given, { q, k, v } = inputsOf(problem), options = asked(given);
  const { lse } = await engine.attention(q, k, v, { ...meaning, lse: true });
  const result = await engine.attentionWeights(q, k, {
    ...{ ...meaning, ...options },
    ...(seed % 2 === 0 && { lse }),
  });
  const ours = "weights" in result ? result.weights : result.keySums;
  const exact = referenceAttentionWeights(q, k, { ...meaning, ...options });
  assertEquals(ours.shape, exact.shape);
  if (exact.data.length < fewest) return;
  const errors = measure(ours.data, naiveWeights(given, options), exact.data, rootMeanSquare);
  // A weight is of a rounded lse: by half a unit of this it is off, relative to itself.
  const ofLse = lse.data.reduce(
    (most, x) => Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most,
    1,
  );
  assertWithinBudget(JSON.stringify(options), errors, errors.largest * (ofLse + 2) * 2 ** -23);
}

contract(
  "attentionWeights() gives what the oracle does, for any options together",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(cases, (given) => assertExact(engine, given)),
      { seed: varyingSeed(), numRuns },
    );
  },
);

/** Functions that tell every batch, head, row and key from all others. */
function someFunctions(Nk: number): Pick<WeightsOptions, "scoreMod" | "maskMod"> {
  const table = captured(Float32Array.from({ length: Nk }, (_, at) => Math.sin(at)), [Nk]);
  return {
    scoreMod: (score, { b, h, q, k }) =>
      score.add(h.mul(3).add(b).add(1).toF32().mul(q.sub(k).toF32()).mul(0.01)).add(table.at(k)),
    maskMod: ({ h, q, k }) => q.add(h).sub(k).mod(5).ne(0),
  };
}

contract(
  "attentionWeights() gives what the oracle does with score and mask functions",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const { q, k } = inputsOf(given.problem), { cuSeqlens } = given.meaning;
        const options = { ...someFunctions(k.shape[2]), cuSeqlens, ...asked(given) };
        const result = await engine.attentionWeights(q, k, options);
        const ours = "weights" in result ? result.weights : result.keySums;
        const exact = referenceAttentionWeights(q, k, options);
        assertEquals(ours.shape, exact.shape);
        const { ours: error, largest } = measure(ours.data, exact.data, exact.data);
        assert(error <= 2e-5 * Math.max(1, largest), `${error} of ${largest}`);
      }),
      { seed: varyingSeed(), numRuns: gpuRequired ? 2 : share(60) },
    );
  },
  { needs: "functions" },
);

contract("keySums are the sums of all rows' weights, which sum to 1", async (engine) => {
  const rows = gpuRequired ? 40 : 130;
  const sizes = { B: 2, Hq: 4, Hkv: 2, Nq: rows, Nk: 2 * rows + 40, D: 24, Dv: 8 };
  const { q, k } = inputsOf(problemOf(sizes, varyingSeed()));
  for (const causal of [false, true]) {
    const { weights } = await engine.attentionWeights(q, k, { causal });
    const { keySums } = await engine.attentionWeights(q, k, { causal, keySums: true });
    const { keySums: ofGroups } = await engine.attentionWeights(q, k, { causal, keySums: "kv" });
    const sums = new Float64Array(keySums.data.length),
      groups = new Float64Array(ofGroups.data.length);
    for (let at = 0; at < weights.data.length; at += sizes.Nk) {
      const row = weights.data.subarray(at, at + sizes.Nk),
        head = Math.floor(at / sizes.Nk / sizes.Nq);
      const sum = row.reduce((a, b) => a + b, 0);
      assert(Math.abs(sum - 1) < 1e-5, `a row sums to ${sum}`);
      for (const [key, weight] of row.entries()) {
        sums[head * sizes.Nk + key] += weight;
        groups[Math.floor(head / 2) * sizes.Nk + key] += weight;
      }
    }
    for (const [got, wanted] of [[keySums, sums], [ofGroups, groups]] as const) {
      const { ours, largest } = measure(got.data, wanted, wanted);
      assert(ours <= 4e-6 * largest, `${ours} of ${largest}`);
    }
  }
});
