import type { Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import fc from "fast-check";
import { backends, contract } from "../contract/backends.ts";
import { fullSizes, problemOf, runs, workOf } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { gpuRequired } from "../support/gpu.ts";
import { meaningOf } from "../support/meaning.ts";
import { naiveAttention } from "../support/naive.ts";
import { oncePerKey } from "../support/once.ts";
import { inputsOf, type Meaning, type Problem } from "../support/problem.ts";
import { seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";
import { anyMeaning } from "../support/terms.ts";

/** Random combinations on the CPU, over all of its backends, and on a GPU. */
const onCpu = 2000, onGpu = 300;

const cpuBackends =
  backends.filter(({ name, unavailable }) => name !== "webgpu" && unavailable === undefined).length;

const numRuns = gpuRequired ? onGpu : share(Math.ceil(onCpu / cpuBackends));

/** Rows over which the errors of a case are taken: over a few numbers naive is exact by luck. */
const rowsPerCase = 160;

/** Different results of rows that these have at least. */
const fewestResults = 40;

/** Whether so many rows see a key that their errors tell something: one that sees none has none. */
function seesEnough(problem: Problem, meaning: Meaning): boolean {
  const { sizes } = problem, rowMeaning = meaningOf(problem, meaning), keys = range(sizes.Nk);
  let rows = 0;
  for (const b of range(sizes.B)) {
    for (const h of range(sizes.Hq)) {
      for (const i of range(sizes.Nq)) if (keys.some(rowMeaning(b, h, i).sees)) rows++;
    }
  }
  return rows >= rowsPerCase / 2;
}

function range(length: number): number[] {
  return Array.from({ length }, (_, at) => at);
}

const cases = fullSizes
  .map((sizes) => {
    const B = Math.ceil(rowsPerCase / (sizes.Hq * sizes.Nq));
    // A batch of one may be packed: its rows are queries then.
    return sizes.Nq % 3 === 0 ? { ...sizes, B: 1, Nq: sizes.Nq * B } : { ...sizes, B };
  })
  .filter((sizes) => workOf(sizes) <= 1_000_000)
  .chain((sizes) =>
    fc.record({ seed: fc.nat(), asked: anyMeaning(sizes) }).map(({ seed, asked }) => ({
      problem: problemOf(sizes, seed),
      asked,
      seed,
    }))
  )
  .filter(({ problem, asked }) => seesEnough(problem, asked.meaning));

/** What every backend is measured against, by case as it is printed. */
const expected = oncePerKey<{
  readonly exact: ReturnType<typeof referenceAttention>;
  readonly naive: ReturnType<typeof naiveAttention>;
}>();

/** Asserts the budget, of root mean squares. */
async function assertExact(
  engine: Engine,
  problem: Problem,
  meaning: Meaning,
  key: string,
): Promise<void> {
  const { q, k, v } = inputsOf(problem);
  const ours = await engine.attention(q, k, v, { ...meaning, lse: true });
  const { exact, naive } = expected(key, () => ({
    exact: referenceAttention(q, k, v, meaning),
    naive: naiveAttention(problem, meaning),
  }));
  // Of rows that are all alike naive is exact by luck, too; so it is with a scale of 0, where rows are means of the same
  // values, one more with each key that they see.
  fc.pre(meaning.scale !== 0 && new Set(exact.lse.data).size >= fewestResults);
  for (const name of ["out", "lse"] as const) {
    const errors = measure(ours[name].data, naive[name], exact[name].data, rootMeanSquare);
    assertWithinBudget(name, errors);
  }
}

contract("attention() stays within the error budget for any options together", async (engine) => {
  await fc.assert(
    fc.asyncProperty(
      cases,
      (given) => assertExact(engine, given.problem, given.asked.meaning, fc.stringify(given)),
    ),
    { seed: varyingSeed(), numRuns },
  );
}, { daily: 1 / 3 });

/** Some keys of some heads, and their values, become NaN; says for which rows that can be seen. */
function poison(problem: Problem, meaning: Meaning, seed: number) {
  const { B, Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes, random = seeded(seed);
  const k = problem.k.slice(), v = problem.v.slice();
  const poisoned = new Map<string, Set<number>>();
  for (let times = 0; times < 3; times++) {
    const b = whole(random, 0, B - 1),
      head = whole(random, 0, Hkv - 1),
      j = whole(random, 0, Nk - 1);
    const row = (b * Hkv + head) * Nk + j, bad = [NaN, Infinity][times % 2];
    if (random() < 0.5) k.fill(NaN, row * D, (row + 1) * D);
    v.fill(bad, row * Dv, (row + 1) * Dv);
    const at = `${b},${head}`;
    poisoned.set(at, (poisoned.get(at) ?? new Set()).add(j));
  }
  const rowMeaning = meaningOf(problem, meaning);
  const isClean = (row: number) => {
    const i = row % Nq, h = Math.floor(row / Nq) % Hq, b = Math.floor(row / Nq / Hq);
    const { sees } = rowMeaning(b, h, i);
    const bad = poisoned.get(`${b},${Math.floor(h * Hkv / Hq)}`) ?? new Set();
    return ![...bad].some(sees);
  };
  return { problem: { ...problem, k, v }, isClean };
}

contract("attention() lets nothing out of keys that any option masks", async (engine) => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ problem, asked: { meaning }, seed }) => {
      const { Dv } = problem.sizes, clean = inputsOf(problem);
      const bad = poison(problem, meaning, seed), p = inputsOf(bad.problem);
      const options = { ...meaning, lse: true } as const;
      const wanted = await engine.attention(clean.q, clean.k, clean.v, options);
      const got = await engine.attention(p.q, p.k, p.v, options);
      const keep = (data: Float32Array, width: number) =>
        data.map((x, at) => bad.isClean(Math.floor(at / width)) ? x : 0);
      assertSameBits(keep(got.out.data, Dv), keep(wanted.out.data, Dv), "out");
      assertSameBits(keep(got.lse.data, 1), keep(wanted.lse.data, 1), "lse");
    }),
    runs(90),
  );
}, { daily: 1 / 3 });
