import fc from "fast-check";
import type { Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { contract } from "../contract/backends.ts";
import { fullSizes, meaning, problemOf, runs, workOf } from "../support/arbitrary.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { naiveAttention } from "../support/naive.ts";
import { inputsOf, type Meaning, type Problem } from "../support/problem.ts";
import { oncePerKey } from "../support/once.ts";
import { type Random, seeded, shuffled } from "../support/random.ts";

/**
 * Rows over which the errors of a case are taken; the batch is made as large as that needs. Over a
 * few numbers the plain formula is often exact by luck.
 */
const rowsPerCase = 512;

/** Multiply-adds of a case at most. */
const mostWork = 6_000_000;

const enoughRows = fullSizes
  .map((sizes) => ({ ...sizes, B: Math.ceil(rowsPerCase / (sizes.Hq * sizes.Nq)) }))
  .filter((sizes) => workOf(sizes) <= mostWork);

/** Random sizes, options and numbers. Large scores need more rows: see tests/contract/budget. */
const cases = enoughRows.chain((sizes) =>
  fc.record({
    seed: fc.nat(),
    spread: fc.constantFrom(1, 1, 2),
    meaning: meaning(sizes),
    scale: fc.constantFrom(undefined, 0.3, -0.5),
  }).map(({ seed, spread, meaning, scale }) => ({
    problem: problemOf(sizes, seed, spread),
    meaning: { ...meaning, scale: scale && scale / Math.sqrt(sizes.D) },
  }))
);

/** What every backend is measured against, by problem as it is printed. */
const expected = oncePerKey<{
  readonly exact: ReturnType<typeof referenceAttention>;
  readonly naive: ReturnType<typeof naiveAttention>;
}>();

/** Asserts the budget, of root mean squares, for a problem asked in one form or another. */
async function assertExact(
  engine: Engine,
  problem: Problem,
  meaning: Meaning,
  asked = problem,
): Promise<void> {
  const { q, k, v } = inputsOf(asked);
  const ours = await engine.attention(q, k, v, { ...meaning, lse: true });
  const { exact, naive } = expected(fc.stringify([problem, meaning]), () => {
    const { q, k, v } = inputsOf(problem);
    return { exact: referenceAttention(q, k, v, meaning), naive: naiveAttention(problem, meaning) };
  });
  for (const name of ["out", "lse"] as const) {
    const errors = measure(ours[name].data, naive[name], exact[name].data, rootMeanSquare);
    assertWithinBudget(name, errors);
  }
}

contract("attention() stays within the error budget at any size", async (engine) => {
  await fc.assert(
    fc.asyncProperty(cases, ({ problem, meaning }) => assertExact(engine, problem, meaning)),
    runs(60),
  );
});

/** The same problem with its keys, and their values, in another order. */
function permuteKeys(problem: Problem, random: Random): Problem {
  const { Nk, D, Dv } = problem.sizes;
  const order = shuffled(Nk, random);
  const permute = (data: Float32Array, width: number) =>
    data.map((_, at) => {
      const column = at % width, key = Math.floor(at / width) % Nk;
      return data[at - column + (order[key] - key) * width + column];
    });
  return { ...problem, k: permute(problem.k, D), v: permute(problem.v, Dv) };
}

contract("attention() stays within the error budget in any order of keys", async (engine) => {
  await fc.assert(
    fc.asyncProperty(cases, fc.nat(), async ({ problem }, seed) => {
      await assertExact(engine, problem, {}, permuteKeys(problem, seeded(seed)));
    }),
    runs(20),
  );
});
