/**
 * Calls whose results must be within the error budget of the oracle's.
 *
 * @module
 */

import type { Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assertSameBits } from "./bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "./budget.ts";
import { naiveAttention, type Results } from "./naive.ts";
import { once } from "./once.ts";
import { inputsOf, type Meaning, type Problem } from "./problem.ts";

/** 1 for each row that sees nothing. */
export function emptyRows(lse: ArrayLike<number>): number[] {
  return Array.from(lse, (x) => x === -Infinity ? 1 : 0);
}

/** Asserts that results are what a call must give. */
export type Check = (results: Results, what?: string) => void;

/** What a call must give: worked out once, for all engines and all ways to ask for it. */
export function expectation(problem: Problem, meaning: Meaning): Check {
  const expected = once(() => {
    const { q, k, v } = inputsOf(problem);
    const { out, lse } = referenceAttention(q, k, v, meaning);
    return { exact: { out: out.data, lse: lse.data }, naive: naiveAttention(problem, meaning) };
  });
  return (results, what = "") => {
    const { exact, naive } = expected();
    assertSameBits(emptyRows(results.lse), emptyRows(exact.lse), `rows of nothing ${what}`);
    for (const name of ["out", "lse"] as const) {
      const errors = measure(results[name], naive[name], exact[name], rootMeanSquare);
      assertWithinBudget(`${name} ${what}`, errors);
    }
  };
}

/** Runs a problem in arrays. */
export async function resultsOf(
  engine: Engine,
  problem: Problem,
  meaning: Meaning,
): Promise<Results<Float32Array>> {
  const { q, k, v } = inputsOf(problem);
  const { out, lse } = await engine.attention(q, k, v, { ...meaning, lse: true });
  return { out: out.data, lse: lse.data };
}
