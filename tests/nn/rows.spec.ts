import { type HostData, type Tensor, tensor } from "@flashtile/attention";
import {
  type Activation,
  add,
  addSync,
  embedding,
  embeddingSync,
  gated,
  gatedSync,
  gelu,
  geluSync,
  meanRows,
  meanRowsSync,
  packLinear,
  relu,
  reluSync,
  silu,
  siluSync,
  tanh,
  tanhSync,
} from "@flashtile/attention/nn";
import { referenceActivation, referenceMeanRows } from "@flashtile/attention/reference";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import {
  activations,
  bandOf,
  elementsOf,
  formsOf,
  naiveActivation,
  oneOf,
  randomOut,
  randomShape,
  randomTensor,
  seeded,
  triesOf,
  weightAs,
} from "../support/layers.ts";
import { errorOf } from "../support/errors.ts";
import { normals, whole } from "../support/random.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const f = Math.fround;

/** A function of each number by its name. */
const functions = {
  gelu: (x: Tensor, options: object) => gelu(x, options),
  "gelu-tanh": (x: Tensor, options: object) => gelu(x, { ...options, approximate: "tanh" }),
  silu,
  relu,
  tanh,
} as Readonly<Record<Activation, (x: Tensor, options: object) => Promise<{ out: Tensor }>>>;

contract(
  "functions of each number are as exact as the plain formulas, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.constantFrom(...activations), async (seed, activation) => {
        const random = seeded(seed), columns = oneOf(random, [1, 3, 8, 16, 31, 64, 1030]);
        const shape = randomShape(random, columns, 40), by = oneOf(random, [0.1, 1, 4]);
        const x = randomTensor(shape, random, engine, by);
        const up = random() < 0.5 ? randomTensor(shape, random, engine) : undefined;
        const out = oneOf(random, [undefined, x, up, randomOut(shape, random, engine)]);
        const numbers = elementsOf(x), factors = up && elementsOf(up);
        const result = (up === undefined
          ? await functions[activation](x as Tensor, { out, engine })
          : await gated(x, up, { activation, out, engine })) as { out: Tensor<HostData> };
        if (out) {
          assertStrictEquals(result.out, out);
        }
        assertEquals(result.out.shape, shape);
        const errors = measure(
          elementsOf(result.out),
          Array.from(numbers, (n, at) =>
            f(naiveActivation(activation, n) * (factors?.[at] ?? 1))),
          referenceActivation(
            { data: numbers, shape },
            activation,
            factors && { data: factors, shape },
          ).out.data,
        );
        // An exponential may be off by two ULP of the number that it multiplies.
        const greatest = (all: Float32Array | undefined) =>
          all?.reduce((most, n) => Math.max(most, Math.abs(n)), 0);
        const size = greatest(numbers)!, factor = greatest(factors) ?? 1;
        const largest = Math.max(errors.largest, size * factor / 4);
        const band = bandOf(largest, result.out.dtype ?? "f32", activation, size, factor);
        assertWithinBudget(activation, errors, band);
      }),
      runs(triesOf(engine, 300)),
    );
  },
  { daily: 3, needs: "layers" },
);

contract("functions have their limits at infinities, and NaN stays", async (engine) => {
  const x = tensor(Float32Array.of(Infinity, -Infinity, NaN, 0, 1e30, -1e30, 1e-40), [7]);
  for (const activation of activations) {
    const { out: { data } } = await functions[activation](x, { engine }),
      isTanh = activation === "tanh";
    assertEquals([data[0], data[2], data[3]], [isTanh ? 1 : Infinity, NaN, 0], activation);
    assertEquals(Math.abs(data[1]), isTanh ? 1 : 0, activation);
    assertEquals([data[4], Math.abs(data[5])], isTanh ? [1, 1] : [f(1e30), 0], activation);
    assert(Math.abs(data[6]) <= 1.1e-40, activation);
  }
}, { needs: "layers" });

contract(
  "gelu() is off by at most what is said of it, also of what is small",
  async (engine) => {
    const x = tensor(
      Float32Array.from({ length: 4000 }, (_, at) => at < 2000 ? -at / 250 : 2 ** (-at / 200)),
      [4000],
    );
    const { out } = await gelu(x, { engine }), expected = referenceActivation(x, "gelu").out.data;
    for (const [at, y] of out.data.entries()) {
      const most = Math.min(2.6e-7, 5.5e-7 * Math.abs(x.data[at]));
      assert(Math.abs(y - expected[at]) <= most, `${x.data[at]}: ${y}, not ${expected[at]}`);
    }
  },
  { needs: "layers" },
);

contract("add() adds, also what is repeated", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const random = seeded(seed), shape = randomShape(random, oneOf(random, [1, 5, 32, 1030]), 40);
      const a = randomTensor(shape, random, engine), b = randomTensor(shape, random, engine);
      const out = oneOf(random, [undefined, a, b, randomOut(shape, random, engine)]);
      const numbers = elementsOf(a), others = elementsOf(b);
      const result = (await add(a, b, { out, engine })).out as Tensor<HostData>;
      const sums = numbers.map((n, at) => n + others[at]);
      const errors = measure(elementsOf(result), sums, sums);
      assertWithinBudget("add", errors, bandOf(errors.largest, result.dtype ?? "f32"));
    }),
    runs(150),
  );
  const b = tensor(Float32Array.of(10, 20), [2]);
  const { out } = await add(tensor(Float32Array.of(1, 2, 3, 4), [2, 2]), {
    ...{ data: b.data, shape: [2, 2], strides: [0, 1], engine },
  }, { engine });
  assertEquals([...out.data], [11, 22, 13, 24]);
}, { needs: "layers" });

contract("embedding() gives rows of its table times a scale", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const random = seeded(seed),
        rows = whole(random, 1, 30),
        width = oneOf(random, [1, 5, 32, 100]);
      const table = randomTensor([rows, width], random, engine),
        count = oneOf(random, [0, 1, 7, 700]);
      const ids = Int32Array.from({ length: count }, () => whole(random, 0, rows - 1));
      const scale = oneOf(random, [undefined, 1, Math.sqrt(64), -0.5]), numbers = elementsOf(table);
      const out = random() < 0.5 ? randomOut([count, width], random, engine) : undefined;
      const given = random() < 0.5 ? ids : [...ids];
      const result = (await embedding(given, table, { scale, out, engine })).out as Tensor<
        HostData
      >;
      assertEquals(result.shape, [count, width]);
      const expected = Float32Array.from(
        { length: count * width },
        (_, at) => f((scale ?? 1) * numbers[ids[Math.floor(at / width)] * width + at % width]),
      );
      const errors = measure(elementsOf(result), expected, expected);
      assertWithinBudget("rows", errors, bandOf(errors.largest, result.dtype ?? "f32"));
      if ((result.dtype ?? "f32") === "f32") assertSameBits(elementsOf(result), expected);
    }),
    runs(150),
  );
}, { needs: "layers" });

contract("embedding() of a packed weight gives its rows", async (engine, { lacks }) => {
  const random = seeded(6), outputs = 45, inputs = 70, ids = [44, 0, 7, 8, 31, 32, 7];
  const weight = normals(outputs * inputs, random);
  const kept = new Set(formsOf(engine).map(([dtype]) => dtype));
  for (const dtype of kept) {
    const packed = await packLinear(tensor(weight, [outputs, inputs]), { dtype, engine });
    const { numbers, step } = weightAs(weight, inputs, dtype);
    const { out } = await embedding(ids, packed, { scale: -2 });
    assertEquals(out.shape, [7, inputs]);
    for (const [at, y] of out.data.entries()) {
      const wanted = -2 * numbers[ids[Math.floor(at / inputs)] * inputs + at % inputs];
      const most = 4e-7 * Math.abs(wanted) + (dtype === "int16" ? 2 * step : 0);
      assert(Math.abs(y - wanted) <= most, `${dtype} ${at}: ${y}, not ${wanted}`);
    }
    if (!lacks?.attentionSync) {
      assertSameBits(embeddingSync(ids, packed, { scale: -2, engine }).out.data, out.data);
    }
    packed.free();
    const freed = await errorOf(() => embedding(ids, packed)) as Error;
    assertEquals(freed.message, "Cannot use a tensor after `free()`");
  }
}, { needs: "layers" });

contract("meanRows() is exact to some roundings, however long sequences are", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const random = seeded(seed), width = oneOf(random, [1, 5, 32, 100]), bounds = [0];
      for (let left = whole(random, 0, 4); left > 0; left--) {
        bounds.push(bounds.at(-1)! + oneOf(random, [0, 1, 2, 40, 64, 65, 300]));
      }
      const x = randomTensor([bounds.at(-1)!, width], random, engine), count = bounds.length - 1;
      const out = random() < 0.5 ? randomOut([count, width], random, engine) : undefined;
      const numbers = elementsOf(x);
      const result = (await meanRows(x, bounds, { out, engine })).out as Tensor<HostData>;
      const expected = referenceMeanRows({ data: numbers, shape: x.shape }, bounds).out;
      assertEquals(result.shape, expected.shape);
      const errors = measure(elementsOf(result), expected.data, expected.data);
      assertWithinBudget(
        "means",
        errors,
        4 * bandOf(Math.max(1, errors.largest), result.dtype ?? "f32"),
      );
    }),
    runs(150),
  );
  const rows = 5000, long = tensor(new Float32Array(rows * 4).fill(0.1), [rows, 4]);
  for (const y of (await meanRows(long, [0, rows], { engine })).out.data) {
    assert(Math.abs(y / Math.fround(0.1) - 1) < 1e-6, `${y}`);
  }
}, { needs: "layers" });

contract(
  "functions that return at once give the bits of those that are awaited",
  async (engine) => {
    const random = seeded(8), x = tensor(normals(5 * 33, random), [5, 33]), options = { engine };
    const pairs = [
      [await gelu(x, options), () => geluSync(x, options)],
      [await silu(x, options), () => siluSync(x, options)],
      [await relu(x, options), () => reluSync(x, options)],
      [await tanh(x, options), () => tanhSync(x, options)],
      [await gated(x, x, options), () => gatedSync(x, x, options)],
      [await add(x, x, options), () => addSync(x, x, options)],
      [await embedding([4, 0], x, options), () => embeddingSync([4, 0], x, options)],
      [await meanRows(x, [0, 2, 5], options), () => meanRowsSync(x, [0, 2, 5], options)],
    ] as const;
    for (const [awaited, sync] of pairs) assertSameBits(sync().out.data, awaited.out.data);
  },
  { needs: ["layers", "attentionSync"] },
);
