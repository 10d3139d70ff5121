import { referenceAttention } from "@flashtile/attention/reference";
import { assertWithinBudget, measure } from "../support/budget.ts";
import { naiveAttention } from "../support/naive.ts";
import { inputsOf } from "../support/problem.ts";
import { vectorCases } from "../support/vectors.ts";
import { contract } from "./backends.ts";

for (const { name, read } of vectorCases) {
  contract(`attention() agrees with PyTorch on ${name}`, async (engine) => {
    const { problem, options } = read();
    const { q, k, v } = inputsOf(problem);
    const { out, lse } = await engine.attention(q, k, v, { ...options, lse: true });
    // The file's results are rounded to f32; the oracle, which agrees with them to that, is not.
    const exact = referenceAttention(q, k, v, options);
    const naive = naiveAttention(problem, options);
    assertWithinBudget("out", measure(out.data, naive.out, exact.out.data));
    assertWithinBudget("lse", measure(lse.data, naive.lse, exact.lse.data));
  });
}
