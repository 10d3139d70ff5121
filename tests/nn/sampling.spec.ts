import { tensor } from "@flashtile/attention";
import { argmax, argmaxSync, sample, sampleSync } from "@flashtile/attention/nn";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { assertRefused } from "../support/errors.ts";
import { stored } from "../support/softmax.ts";
import { longTest } from "../support/share.ts";

const logits = tensor(Float32Array.of(1, 5, 2, 9, 8, 9, -1, -Infinity, -2), [3, 3]);

test("argmax() gives the first of the greatest, in any storage and strides", async () => {
  assertEquals([...await argmax(logits)], [1, 0, 0]);
  assertEquals([...argmaxSync({ ...logits, shape: [3, 3], strides: [1, 3] })], [1, 1, 1]);
  assertEquals([...argmaxSync({ ...logits, shape: [2], offset: 7 })], [1]);
  for (const dtype of ["f16", "bf16"] as const) {
    assertEquals([...argmaxSync({ data: stored(logits.data, dtype), shape: [3, 3], dtype })], [
      1,
      0,
      0,
    ]);
  }
  assertEquals([...argmaxSync(tensor(Float32Array.of(1, NaN, 3), [3]))], [1]);
  assertEquals([...argmaxSync(tensor(Float32Array.of(-Infinity, -Infinity), [2]))], [0]);
  assertEquals(argmaxSync(tensor(new Float32Array(0), [0, 4])).length, 0);
});

/** How often each id of a row is drawn. */
function shares(row: Float32Array, options: Parameters<typeof sample>[1]): number[] {
  const rows = 20_000, all = { data: row, shape: [rows, row.length], strides: [0, 1] };
  const counts = new Array<number>(row.length).fill(0);
  for (const id of sampleSync(all, options)) counts[id]++;
  return counts.map((count) => count / rows);
}

function assertNear(got: readonly number[], expected: readonly number[], what: string): void {
  for (const [id, share] of expected.entries()) {
    // Five standard deviations.
    const most = 5 * Math.sqrt(share * (1 - share) / 20_000);
    assert(Math.abs(got[id] - share) <= most, `${what}: ${got} instead of ${expected}`);
  }
}

/** Shares of a softmax of some ids. */
function softmaxOf(row: Float32Array, ids: readonly number[], temperature = 1): number[] {
  const powers = Array.from(row, (x, id) => ids.includes(id) ? Math.exp(x / temperature) : 0);
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

longTest(
  "sample() draws by the softmax of what its options leave",
  () => {
    const row = Float32Array.of(0.5, 2, 1, -Infinity, 1.5, -3), all = [0, 1, 2, 4, 5];
    // From the likeliest on: 1 with 0.45, 4 with 0.27, 2 with 0.17, 0 with 0.1.
    for (const seed of [1, 2 ** 40 + 7]) {
      const cases = [
        [{ seed }, all, 1],
        [{ seed, temperature: 0.5 }, all, 0.5],
        [{ seed, topK: 3 }, [1, 2, 4], 1],
        [{ seed, topK: 100 }, all, 1],
        [{ seed, topP: 0.7 }, [1, 4], 1],
        [{ seed, topP: 0.73 }, [1, 4, 2], 1],
        [{ seed, minP: 0.3 }, [1, 2, 4], 1],
        [{ seed, minP: 0.3, temperature: 3 }, [0, 1, 2, 4], 3],
        [{ seed, topK: 4, topP: 0.8, minP: 0.2 }, [1, 2, 4], 1],
        [{ seed, temperature: 0 }, [1], 1],
        [{ seed, topK: 1 }, [1], 1],
        [{ seed, topP: 1e-9 }, [1], 1],
      ] as const;
      for (const [options, ids, temperature] of cases) {
        assertNear(shares(row, options), softmaxOf(row, ids, temperature), JSON.stringify(options));
      }
    }
  },
);

test("sample() draws the same of the same seed, and others without", async () => {
  const row = { data: Float32Array.of(1, 1.1, 0.9, 1), shape: [200, 4], strides: [0, 1] };
  const first = await sample(row, { seed: 5 });
  assertEquals([...await sample(row, { seed: 5 })], [...first]);
  assert(`${[...await sample(row, { seed: 6 })]}` !== `${[...first]}`);
  assert(`${[...await sample(row)]}` !== `${[...await sample(row)]}`);
  const large = { data: Float32Array.of(1e38, 3e38, -3e38), shape: [3] };
  assertEquals([...await sample(large, { seed: 1 })], [1]);
});

test("argmax() and sample() refuse what they cannot take", async () => {
  const refusals = [
    [
      () => argmax(3 as never),
      TypeError,
      "Cannot compute `argmax()`: `logits` must be { data, shape }, got 3",
    ],
    [
      () => argmax({ data: new Float32Array(1), shape: [] }),
      RangeError,
      "Cannot compute `argmax()`: `logits` must have at least one axis, got shape []",
    ],
    [
      () => sample(tensor(new Float32Array(0), [2, 0])),
      RangeError,
      "Cannot compute `sample()`: `logits` must have at least one id, got shape [2,0]",
    ],
    [
      () => sample(logits, { temperature: -1 }),
      RangeError,
      "Cannot compute `sample()`: `temperature` must be finite and at least 0, got -1",
    ],
    [
      () => sample(logits, { topK: 0 }),
      RangeError,
      "Cannot compute `sample()`: `topK` must be a whole number of at least 1, got 0",
    ],
    [
      () => sample(logits, { topP: 1.5 }),
      RangeError,
      "Cannot compute `sample()`: `topP` must be above 0 and at most 1, got 1.5",
    ],
    [
      () => sample(logits, { topP: "1" as never }),
      RangeError,
      'Cannot compute `sample()`: `topP` must be above 0 and at most 1, got "1"',
    ],
    [
      () => sample(logits, { minP: 1 }),
      RangeError,
      "Cannot compute `sample()`: `minP` must be at least 0 and below 1, got 1",
    ],
    [
      () => sample(logits, { seed: 0.5 }),
      RangeError,
      "Cannot compute `sample()`: `seed` must be a whole number, got 0.5",
    ],
    [
      () => sample(logits, { typical: 1 } as never),
      TypeError,
      "Cannot compute `sample()`: unknown option `typical`, known are temperature, topK, topP, minP, seed",
    ],
  ] as const;
  for (const [act, error, message] of refusals) await assertRefused(act, error, message);
});
