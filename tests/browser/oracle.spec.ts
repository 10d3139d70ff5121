import { test } from "node:test";
import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { referenceAttention } from "@flashtile/attention/reference";
import { chooseRows, expectRows, greatestDifference } from "../../examples/browser/oracle.ts";
import { operationsOf, randomProblem } from "../../examples/browser/problem.ts";
import { longTest } from "../support/share.ts";

const { signal } = new AbortController();

function problemOf(heads: number, dim: number, length: number, causal = false) {
  return randomProblem({ heads, dim, causal, largest: length }, length);
}

longTest(
  "chooseRows() takes all rows of a short sequence and both ends of a long one",
  () => {
    assertEquals(chooseRows(problemOf(1, 8, 64)), Array.from({ length: 64 }, (_, row) => row));
    const rows = chooseRows(problemOf(4, 64, 4096));
    assertEquals(rows, [0, 1365, 2730, 4095]);
  },
);

for (const causal of [false, true]) {
  test(`expectRows() are rows of the whole oracle${causal ? ", causal" : ""}`, async () => {
    const problem = problemOf(2, 5, 64, causal);
    const { out } = referenceAttention(problem.q, problem.k, problem.v, { causal });
    const rows = await expectRows(problem, signal);
    const whole = { data: Float32Array.from(out.data), shape: out.shape };
    // What is left is the rounding to f32.
    assertLess(greatestDifference(whole, rows), 2 ** -23);
    whole.data[64 * 5 + 63 * 5 + 4] += 0.5; // the last of all
    assertGreater(greatestDifference(whole, rows), 0.49);
  });
}

test("greatestDifference() is NaN where a result is", async () => {
  const problem = problemOf(1, 4, 64);
  const data = new Float32Array(64 * 4);
  data[7] = NaN;
  assertEquals(
    greatestDifference({ data, shape: [1, 64, 4] }, await expectRows(problem, signal)),
    NaN,
  );
});

test("operationsOf() counts the keys that are seen", () => {
  assertEquals(operationsOf(problemOf(2, 8, 64)), 4 * 2 * 8 * 64 * 64);
  assertEquals(operationsOf(problemOf(2, 8, 64, true)), 4 * 2 * 8 * 64 * 65 / 2);
});
