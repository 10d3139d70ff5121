import { assert, assertEquals, assertRejects } from "@std/assert";
import type { RopeOptions, Tensor } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { normals, seeded } from "../support/random.ts";
import { numbersIn, stored } from "../support/storage.ts";
import { contract } from "./backends.ts";

const needs = "rope";

function numbers(shape: readonly number[], seed: number): Tensor {
  return { data: normals(shape.reduce((a, b) => a * b, 1), seeded(seed)), shape };
}

/** A row rotated in float64. */
function rotated(row: readonly number[], position: number, options: RopeOptions): number[] {
  const { theta = 10_000, style = "half", dims = row.length } = options, pairs = dims / 2;
  const result = [...row];
  for (let pair = 0; pair < pairs; pair++) {
    const angle = position * theta ** (-2 * pair / dims);
    const [i, j] = style === "half" ? [pair, pair + pairs] : [2 * pair, 2 * pair + 1];
    result[i] = row[i] * Math.cos(angle) - row[j] * Math.sin(angle);
    result[j] = row[j] * Math.cos(angle) + row[i] * Math.sin(angle);
  }
  return result;
}

/** Asserts that every row of a tensor `[B, H, N, D]` was rotated by its position. */
function assertRotated(
  after: ArrayLike<number>,
  before: Tensor,
  positionOf: (batch: number, row: number) => number,
  options: RopeOptions = {},
  allowed = 1e-6,
): void {
  const [B, H, N, D] = before.shape;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let n = 0; n < N; n++) {
        const at = ((b * H + h) * N + n) * D;
        const row = Array.from(before.data.subarray(at, at + D));
        for (const [d, x] of rotated(row, positionOf(b, n), options).entries()) {
          const error = Math.abs(after[at + d] - x);
          assert(error <= allowed * (1 + Math.abs(x)), `[${[b, h, n, d]}] is off by ${error}`);
        }
      }
    }
  }
}

const shapes: [RopeOptions, string][] = [
  [{}, "the defaults"],
  [{ style: "interleaved", theta: 500_000 }, "interleaved pairs"],
  [{ dims: 6 }, "a part of each row"],
];

for (const [options, what] of shapes) {
  contract(`rope() turns every row by its position: ${what}`, async (engine) => {
    const q = numbers([2, 3, 70, 10], 1), k = numbers([2, 1, 70, 10], 2);
    const before = [q, k].map((one) => ({ ...one, data: one.data.slice() }));
    await engine.rope(q, k, { ...options, positions: 5 });
    for (const [index, one] of [q, k].entries()) {
      assertRotated(one.data, before[index], (_, row) => 5 + row, options);
    }
  }, { needs });
}

contract("rope() takes a position for each row, or for each row of each batch", async (engine) => {
  const each = [3, 0, 1000, 7.5, 2, 31_999];
  const q = numbers([2, 2, 3, 8], 1), before = { ...q, data: q.data.slice() };
  await engine.rope(q, null, { positions: each });
  assertRotated(q.data, before, (batch, row) => each[batch * 3 + row], {}, 1e-5);
  q.data.set(before.data);
  await engine.rope(q, null, { positions: Int32Array.of(9, 0, 4) });
  assertRotated(q.data, before, (_, row) => [9, 0, 4][row]);
}, { needs });

contract("rope() rotates a slice in place, and nothing beside it", async (engine) => {
  const data = normals(2 * 4 * 3 * 9, seeded(4)), before = data.slice();
  // [B, N, H, D] with a column more than D.
  const view = { data, shape: [2, 4, 3, 8], strides: [108, 27, 9, 1], offset: 0 };
  await engine.rope(view, undefined, { layout: "bnhd", positions: 2 });
  for (let row = 0; row < 24; row++) {
    const own = Array.from(before.subarray(row * 9, row * 9 + 8));
    const expected = rotated(own, 2 + Math.floor(row / 3) % 4, {});
    for (const [d, x] of expected.entries()) assert(Math.abs(data[row * 9 + d] - x) < 1e-5);
    assertEquals(data[row * 9 + 8], before[row * 9 + 8]);
  }
}, { needs });

contract("rope() rounds 16-bit storage once", async (engine) => {
  const rows = numbers([1, 2, 5, 8], 6);
  for (const dtype of ["f16", "bf16"] as const) {
    const narrow = stored(rows, dtype), before = numbersIn(narrow.data, dtype);
    await engine.rope(narrow, null, { positions: 3 });
    const after = numbersIn(narrow.data, dtype), rounding = dtype === "f16" ? 2 ** -11 : 2 ** -8;
    assertRotated(after, { ...rows, data: before }, (_, row) => 3 + row, {}, rounding * 1.01);
  }
}, { needs });

contract("products of rotated rows depend on their distance alone", async (engine) => {
  const product = async (first: number, second: number) => {
    const [a, b] = [numbers([1, 1, 1, 64], 1), numbers([1, 1, 1, 64], 2)];
    await engine.rope(a, null, { positions: first });
    await engine.rope(b, null, { positions: second });
    return a.data.reduce((sum, x, at) => sum + x * b.data[at], 0);
  };
  assert(Math.abs(await product(3, 10) - await product(1003, 1010)) < 1e-4);
}, { needs });

contract("rope() refuses what does not fit, before anything is turned", async (engine) => {
  const q = numbers([2, 3, 8], 1), before = q.data.slice();
  const refused = async (k: unknown, options: unknown, kind: new () => Error, message: string) => {
    await assertRejects(() => engine.rope(q, k as never, options as never), kind, message);
  };
  await refused(numbers([2, 4, 8], 1), {}, RangeError, "`k` must have B, N and D as `q` has");
  await refused(null, { dims: 3 }, RangeError, "`dims` must be even and from 2 to D = 8, got 3");
  await refused(null, { positions: [1, 2] }, RangeError, "`positions` must be a number, or 3 of");
  await refused(null, { positions: [1, 2, NaN] }, RangeError, "`positions` must be finite");
  await refused(null, { style: "gptj" }, TypeError, "`style` must be one of");
  await refused(null, { scaling: { type: "x" } }, TypeError, "`scaling.type` must be one of");
  await refused(null, { scaling: { type: "linear" } }, RangeError, "`scaling.factor` must be");
  const llama = { type: "llama3", factor: 8, originalLength: 100, lowFrequencyFactor: 4 };
  await refused(
    null,
    { scaling: llama },
    RangeError,
    "`scaling.highFrequencyFactor` must be above",
  );
  const yarn = { type: "yarn", factor: 8, originalLength: 100, betaFast: -1 };
  await refused(null, { scaling: yarn }, RangeError, "`scaling.betaFast` must be above 1");
  const rough = { type: "yarn", factor: 8, originalLength: 100, truncate: 1 };
  await refused(null, { scaling: rough }, TypeError, "`scaling.truncate` must be one of");
  const long = (factors: unknown, attentionFactor = 1) => ({
    scaling: { type: "longrope", factors, attentionFactor },
  });
  await refused(null, long([1, 2, 3]), RangeError, "`scaling.factors` must be 4 numbers for");
  await refused(null, long(4), TypeError, "for `dims / 2` pairs, got 4");
  await refused(null, long([1, 2, 0, 3]), RangeError, "`scaling.factors` must be above 0, got 0");
  await refused(null, long([1, 2, NaN, 3]), RangeError, "must be above 0, got NaN");
  await refused(null, long([1, 2, 3, 4], 0), RangeError, "`scaling.attentionFactor` must be");
  await refused(null, { scaling: { type: "linear", factors: [1] } }, TypeError, "unknown option");
  await refused(
    null,
    { positions: [0, 1, 1e308], scaling: { type: "linear", factor: 1e-10 } },
    RangeError,
    "and angles too",
  );
  await refused(q, {}, RangeError, "`q` and `k` share elements");
  await refused(null, { theta: 0 }, RangeError, "`theta` must be above 0");
  await refused(new Float32Array(4), {}, TypeError, "`k` is a bare Float32Array");
  assertSameBits(q.data, before);
}, { needs });
