import { referenceAttention } from "@flashtile/attention/reference";
import { assertWithinBudget, largestOf, measure, rootMeanSquare } from "../support/budget.ts";
import { naiveAttention } from "../support/naive.ts";
import { once } from "../support/once.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { contract } from "./backends.ts";
import { sharedOut } from "../support/share.ts";

interface Case {
  readonly name: string;
  readonly sizes: Parameters<typeof sizesOf>[0];
  readonly meaning?: Meaning;
  readonly spread?: number;
  readonly norm?: typeof largestOf;
}

/** Cases of many rows: over a few, the plain formula is often exact by luck. */
const cases: readonly Case[] = [
  { name: "D = 64", sizes: { Hq: 8, Nq: 128, Nk: 200, D: 64 } },
  { name: "D = 64, causal", sizes: { Hq: 8, Nq: 200, D: 64 }, meaning: { causal: true } },
  { name: "D = 128, grouped heads", sizes: { B: 2, Hq: 8, Hkv: 2, Nq: 64, Nk: 100, D: 128 } },
  { name: "D = 256", sizes: { Hq: 4, Nq: 64, Nk: 70, D: 256 } },
  { name: "D = 3000", sizes: { Hq: 4, Nq: 33, Nk: 40, D: 3000, Dv: 5 } },
  { name: "Dv = 3000", sizes: { Hq: 2, Nq: 20, Nk: 40, D: 5, Dv: 3000 } },
  { name: "70 heads that share one", sizes: { Hq: 70, Hkv: 1, Nq: 9, Nk: 50, D: 20, Dv: 17 } },
  { name: "D = 32", sizes: { B: 4, Hq: 8, Nq: 64, Nk: 96, D: 32 } },
  { name: "D = 1", sizes: { B: 32, Hq: 4, Nq: 33, Nk: 41, D: 1, Dv: 9 } },
  { name: "odd sizes", sizes: { B: 3, Hq: 6, Hkv: 3, Nq: 67, Nk: 101, D: 59, Dv: 37 } },
  { name: "two keys", sizes: { B: 16, Hq: 8, Nq: 33, Nk: 2, D: 16 } },
  { name: "one query, many keys", sizes: { B: 2, Hq: 32, Hkv: 8, Nq: 1, Nk: 2000, D: 64 } },
  { name: "a small scale", sizes: { Hq: 8, Nq: 128, Nk: 120, D: 64 }, meaning: { scale: 0.01 } },
  { name: "large scores", sizes: { B: 8, Hq: 8, Nq: 256, Nk: 16, D: 16, Dv: 8 }, spread: 4 },
  {
    name: "huge scores",
    // Only rows with two keys of nearly the same score have an error: the largest is one row's.
    norm: rootMeanSquare,
    sizes: { B: 16, Hq: 16, Nq: 256, Nk: 10, D: 16, Dv: 4 },
    spread: 30,
  },
];

for (const one of sharedOut(cases, 8, "error budgets")) {
  const { name, sizes, meaning = {}, spread = 1, norm = largestOf } = one;
  const prepare = once(() => {
    const problem = randomProblem(sizesOf(sizes), 1, spread);
    const { q, k, v } = inputsOf(problem);
    const exact = referenceAttention(q, k, v, meaning);
    return { q, k, v, exact, naive: naiveAttention(problem, meaning) };
  });

  contract(`attention() stays within the error budget for ${name}`, async (engine) => {
    const { q, k, v, exact, naive } = prepare();
    const ours = await engine.attention(q, k, v, { ...meaning, lse: true });
    assertWithinBudget("out", measure(ours.out.data, naive.out, exact.out.data, norm));
    assertWithinBudget("lse", measure(ours.lse.data, naive.lse, exact.lse.data, norm));
  }, { daily: 1 / 3 });
}
