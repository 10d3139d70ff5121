import { type HostData, type Tensor, tensor } from "@flashtile/attention";
import { layerNorm, layerNormSync, rmsNorm, rmsNormSync } from "@flashtile/attention/nn";
import { referenceLayerNorm, referenceRmsNorm } from "@flashtile/attention/reference";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import {
  bandOf,
  elementsOf,
  oneOf,
  randomOut,
  randomShape,
  randomTensor,
  seeded,
  triesOf,
} from "../support/layers.ts";
import { normals } from "../support/random.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const f = Math.fround;

/** Norms of rows by the plain formula in f32. */
function naive(
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
  eps: number,
  isCentred: boolean,
): number[] {
  const width = weight.length, out: number[] = [];
  for (let from = 0; from < x.length; from += width) {
    const row = Array.from(x.subarray(from, from + width));
    const mean = isCentred ? f(row.reduce((sum, n) => f(sum + n), 0) / width) : 0;
    const less = row.map((n) => f(n - mean));
    const square = f(less.reduce((sum, n) => f(sum + f(n * n)), 0) / width);
    const by = f(1 / f(Math.sqrt(f(square + f(eps)))));
    out.push(...less.map((n, at) => f(f(f(n * by) * weight[at]) + bias[at])));
  }
  return out;
}

contract(
  "norms are as exact as the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.boolean(), async (seed, isCentred) => {
        const random = seeded(seed), width = oneOf(random, [1, 2, 3, 5, 16, 17, 31, 64, 100, 700]);
        const shape = randomShape(random, width, 60), x = randomTensor(shape, random, engine, 3);
        const vector = () => random() < 0.6 ? randomTensor([width], random, engine) : null;
        const weight = vector(),
          bias = isCentred ? vector() : null,
          eps = oneOf(random, [0, 1e-12, 1e-5, 0.1]);
        const offset = isCentred ? undefined : oneOf(random, [undefined, 1, -0.5]);
        const residual = random() < 0.5 ? randomTensor(shape, random, engine, 3) : undefined;
        const sum = residual &&
          oneOf(random, [undefined, residual, randomOut(shape, random, engine)]);
        const out = oneOf(random, [undefined, x, randomOut(shape, random, engine)]);
        if (sum !== undefined && sum === out) return;
        const added = residual && elementsOf(residual);
        const numbers = elementsOf(x).map((n, at) => n + (added?.[at] ?? 0));
        const gain = (weight ? elementsOf(weight) : new Float32Array(width).fill(1)).map((w) =>
          w + (offset ?? 0)
        );
        const shift = bias ? elementsOf(bias) : new Float32Array(width);
        // Of one number without `eps` nothing is left to divide by.
        if (isCentred && width === 1 && eps === 0) return;
        const options = { eps, residual, out, engine, ...(sum && { sum }) };
        const result = (isCentred
          ? await layerNorm(x, weight, bias, options)
          : await rmsNorm(x, weight, { ...options, ...(offset && { offset }) })) as unknown as {
            out: Tensor<HostData>;
            sum?: Tensor<HostData>;
          };
        if (out) {
          assertStrictEquals(result.out, out);
        }
        if (sum) {
          assertStrictEquals(result.sum, sum);
        }
        assertEquals(result.sum === undefined, residual === undefined);
        const given = {
          weight: { data: gain, shape: [width] },
          bias: { data: shift, shape: [width] },
          eps,
        };
        const of = { data: numbers, shape };
        const { bias: _, ...withoutBias } = given;
        const expected = isCentred
          ? referenceLayerNorm(of, given)
          : referenceRmsNorm(of, withoutBias);
        const errors = measure(
          elementsOf(result.out),
          naive(numbers, gain, shift, eps, isCentred),
          expected.out.data,
        );
        assertWithinBudget("norm", errors, 2 * bandOf(errors.largest, result.out.dtype ?? "f32"));
        if (result.sum === undefined) {
          return;
        }
        const sums = measure(elementsOf(result.sum), numbers, numbers);
        assertWithinBudget("sum", sums, bandOf(sums.largest, result.sum.dtype ?? "f32"));
      }),
      runs(triesOf(engine, 250)),
    );
  },
  { daily: 3, needs: "layers" },
);

contract("layerNorm() of rows on a high level is as exact as of rows on none", async (engine) => {
  const random = seeded(3), width = 384, rows = 20;
  for (const level of [1e3, -1e5, 1e6]) {
    // Whole steps of what f32 has there: the numbers themselves are exact.
    const step = 2 ** -4, x = tensor(new Float32Array(rows * width), [rows, width]);
    x.data.set(normals(rows * width, random, 100).map((n) => level + Math.round(n) * step));
    const { out } = await layerNorm(x, null, null, { engine, eps: 1e-12 });
    const expected = referenceLayerNorm(x, { eps: 1e-12 }).out.data;
    const errors = measure(out.data, out.data, expected);
    assert(errors.ours < 2e-6, `${level}: ${errors.ours}`);
  }
}, { needs: "layers" });

contract("norms of rows one by one have the bits of all", async (engine) => {
  const random = seeded(4), width = 96, rows = 900;
  const x = tensor(normals(rows * width, random), [rows, width]);
  const weight = tensor(normals(width, random), [width]);
  const { out } = await layerNorm(x, weight, weight, { engine, residual: x });
  const plain = await rmsNorm(x, weight, { engine });
  assertSameBits(layerNormSync(x, weight, weight, { engine, residual: x }).out.data, out.data);
  assertSameBits(rmsNormSync(x, weight, { engine }).out.data, plain.out.data);
  for (const row of [0, 1, 341, 899]) {
    const one = tensor(x.data.slice(row * width, (row + 1) * width), [width]);
    const alone = await layerNorm(one, weight, weight, { engine, residual: one });
    assertSameBits(alone.out.data, out.data.subarray(row * width, (row + 1) * width));
  }
}, { daily: 2, needs: ["layers", "attentionSync"] });

contract("a row that is not finite is NaN, and no other", async (engine) => {
  const x = tensor(normals(5 * 20, seeded(5)), [5, 20]);
  x.data[20] = Infinity;
  x.data[79] = NaN;
  for (
    const { out } of [
      await layerNorm(x, null, null, { engine }),
      await rmsNorm(x, null, { engine }),
    ]
  ) {
    const isBad = (row: number) => out.data.subarray(row * 20, row * 20 + 20).some(Number.isNaN);
    assertEquals([0, 1, 2, 3, 4].map(isBad), [false, true, false, true, false]);
    assert(Number.isNaN(out.data[20]) && out.data.subarray(60, 80).every(Number.isNaN));
  }
}, { needs: "layers" });
