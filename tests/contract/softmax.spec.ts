import { type DType, type Engine, type HostData, type Tensor, tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, halfUlp, measure, rootMeanSquare } from "../support/budget.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { familyCases } from "../support/family.ts";
import { count } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import {
  backwardOracles,
  exact,
  functions,
  naive,
  naiveBackward,
  names,
  numbersOf,
  placeOf,
  randomCall,
  spread,
  stored,
  twins,
} from "../support/softmax.ts";
import { halfUlpOf } from "../support/storage.ts";
import { contract } from "./backends.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

/** A rounding of the largest of some numbers. */
function roundingOf(numbers: ArrayLike<number>, dtype: DType): number {
  let largest = 0;
  for (let at = 0; at < numbers.length; at++) {
    if (Number.isFinite(numbers[at])) largest = Math.max(largest, Math.abs(numbers[at]));
  }
  return halfUlpOf(dtype, largest) + halfUlp(largest);
}

const cases = familyCases.filter(({ kind }) => kind === "softmax");

contract("softmax() and its logarithms give what PyTorch does", async (engine) => {
  assert(cases.length >= 4);
  for (const { name, options, inputs: { x }, results } of cases) {
    for (
      const [what, expected] of [
        ["softmax", results.out],
        ["logSoftmax", results.logSoftmax],
        ["logSumExp", results.logSumExp],
      ] as const
    ) {
      const { out } = await functions[what](x, { ...options, engine });
      assertEquals(out.shape, expected.shape, name);
      const errors = measure(out.data, out.data, expected.data);
      assert(errors.ours <= 3e-7 * Math.max(1, errors.largest), `${what} ${name}: ${errors.ours}`);
    }
  }
});

contract(
  "softmax() and its logarithms are as exact as the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.constantFrom(...names), async (seed, name) => {
        const call = randomCall(seed), { x, options } = call;
        const { out } = await functions[name](x, { ...options, engine });
        const expected = exact(call, name), got = numbersOf(out as Tensor<HostData>);
        assertEquals(out.shape, expected.shape);
        const errors = measure(got, naive(call, name), expected.data);
        // An exponential may be off by two ULP, where the plain formula's is exact by luck: of a weight, or of a sum.
        const ofPowers = 4 * halfUlp(name === "softmax" ? errors.largest : 1);
        const rounding = roundingOf(expected.data, out.dtype ?? "f32") + ofPowers;
        assertWithinBudget(name, errors, rounding);
      }),
      runs(500),
    );
  },
  { daily: 3 },
);

contract("gradients of softmax and its logarithms are those of PyTorch", async (engine) => {
  for (const { name, options, inputs: { x }, dOut, gradients } of cases) {
    const given = options as { axis: number; scale: number };
    const { backward } = await twins.softmax(x, { ...given, engine });
    const { dx } = await backward(dOut);
    const plain = naiveBackward({ x, options: given, random: seeded(1) }, "softmax", dOut.data);
    assertWithinBudget(name, measure(dx.data, plain, gradients.x.data));
  }
}, { needs: "rowGradients" });

contract(
  "gradients of softmax and its logarithms are as exact as the plain formulas",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.constantFrom(...names), async (seed, name) => {
        const call = randomCall(seed), { x, options, random } = call;
        const { out, backward } = await twins[name](x, { ...options, engine });
        const numbers = normals(count(out.shape), random);
        const { dx } = await backward(spread(numbers, out.shape, "f32", random));
        const given = { data: numbers, shape: out.shape };
        const { dx: expected } = backwardOracles[name](x, given, options);
        assertEquals([dx.shape, dx.dtype], [x.shape, x.dtype]);
        const got = numbersOf(dx as Tensor<HostData>), plain = naiveBackward(call, name, numbers);
        // Gradients are differences: what the largest of their terms is off by is theirs, too: an exponential by two ULP,
        // a product and a division by a rounding. What rounding takes from a score its weight lacks, relative to itself.
        const scores = numbersOf(x).map((one) => Number.isFinite(one) ? options.scale * one : 0);
        const ofScores = roundingOf(scores, "f32") * roundingOf(expected.data, "f32") * 2 ** 23;
        const terms = 3 * Math.abs(options.scale) * roundingOf(numbers, "f32") + ofScores;
        const rounding = roundingOf(expected.data, x.dtype ?? "f32") + terms;
        assertWithinBudget(name, measure(got, plain, expected.data, rootMeanSquare), rounding);
      }),
      runs(500),
    );
  },
  { needs: "rowGradients" },
);

contract("a level that all gradients of a row have leaves none behind", async (engine) => {
  const shape = [3, 777], random = seeded(11);
  const x = tensor(normals(count(shape), random, 3), shape);
  for (const level of [0, 1000, -1e6]) {
    const dOut = tensor(Float32Array.from({ length: count(shape) }, () => level + random()), shape);
    const { backward } = await twins.softmax(x, { axis: 1, engine });
    const { dx } = await backward(dOut);
    const wanted = backwardOracles.softmax(x, dOut, { axis: 1 }).dx;
    const errors = measure(dx.data, dx.data, wanted.data);
    assert(errors.ours <= 1e-6 * errors.largest, `${level}: ${errors.ours} of ${errors.largest}`);
  }
}, { needs: "rowGradients" });

contract("rows that see nothing are 0, and -Infinity in logarithms", async (engine) => {
  const none = tensor(Float32Array.of(-Infinity, -Infinity, 1, 2, NaN, 3), [3, 2]);
  const mask = { data: Uint8Array.of(1, 1, 0, 0, 0, 1), shape: [3, 2] };
  const given = { mask, engine };
  assertEquals(Array.from((await functions.softmax(none, given)).out.data), [0, 0, 0, 0, 0, 1]);
  const { out } = await functions.logSoftmax(none, given), inf = -Infinity;
  assertEquals(Array.from(out.data), [inf, inf, inf, inf, inf, 0]);
  assertEquals(Array.from((await functions.logSumExp(none, given)).out.data), [inf, inf, 3]);
});

contract("magnitudes do not matter to a softmax", async (engine) => {
  for (const scale of [1, -1, 1e30, 1e-30]) {
    const x = tensor(Float32Array.of(3e38, 3e38, -3e38, 0), [2, 2]), sign = Math.sign(scale);
    const { out } = await functions.softmax(x, { scale, engine });
    const second = Math.abs(scale) < 1 ? 1 / (1 + Math.exp(sign * -3e8)) : sign > 0 ? 1 : 0;
    assertEquals(Array.from(out.data), [0.5, 0.5, 1 - second, second], `scale ${scale}`);
  }
  const { out } = await functions.softmax(tensor(Float32Array.of(5, -1e9, 2), [3]), {
    scale: 0,
    engine,
  });
  assertEquals(Array.from(out.data, (p) => Math.fround(p)), new Array(3).fill(Math.fround(1 / 3)));
});

contract("far below the greatest a logarithm is exact", async (engine) => {
  const x = tensor(Float32Array.of(0, -1000, -3e38, 88), [2, 2]);
  assertEquals(Array.from((await functions.logSoftmax(x, { engine })).out.data), [
    ...[0, -1000],
    ...[Math.fround(-3e38), 0],
  ]);
});

contract("a row with a NaN, or with an infinity, is NaN, and no other", async (engine) => {
  const x = tensor(Float32Array.of(1, NaN, 2, 3, Infinity, 4), [3, 2]);
  const { out } = await functions.softmax(x, { engine });
  assertEquals(Array.from(out.data, Number.isNaN), [true, true, false, false, true, true]);
});

contract("errors do not grow with the length of rows", async (engine) => {
  for (const length of [4096, 100_000]) {
    const x = tensor(new Float32Array(length).fill(0.1), [1, length]);
    const { out } = await functions.softmax(x, { engine });
    const error = Math.abs(out.data[length - 1] * length - 1);
    assert(error <= 2e-6, `${length}: ${error}`);
    const lse = (await functions.logSumExp(x, { engine })).out.data[0];
    assert(Math.abs(lse - (Math.fround(0.1) + Math.log(length))) <= 2e-6, `${lse}`);
  }
});

/** Every function on the same numbers. */
async function all(engine: Engine, x: Tensor<HostData>, options: object): Promise<HostData[]> {
  const results = [];
  for (const name of names) {
    results.push((await functions[name](x, { ...options, engine })).out.data);
  }
  return results as HostData[];
}

contract("many rows, which are read ahead, have the bits that each has alone", async (engine) => {
  for (const [rows, columns] of [[4100, 33], [140, 1000], [70, 2049], [3, 50_001]]) {
    const shape = [rows, columns], row = columns + 3, random = seeded(columns);
    const data = normals(rows * row, random, 4), x = { data, shape, strides: [row, 1] };
    const { out } = await functions.softmax(x, { engine });
    for (const at of [0, 1, rows - 9, rows - 2, rows - 1].filter((index) => index >= 0)) {
      const alone = tensor(data.slice(at * row, at * row + columns), [1, columns]);
      const expected = await functions.softmax(alone, { engine });
      assertSameBits(out.data.subarray(at * columns, (at + 1) * columns), expected.out.data);
    }
    await functions.softmax(x, { out: x, engine });
    const last = data.subarray((rows - 1) * row, (rows - 1) * row + columns);
    assertSameBits(last, out.data.subarray(-columns));
  }
}, { daily: 1 / 3, needs: "sameBitsForFewRows" });

contract("tensors of the engine's, and arrays, give the same bits", async (engine) => {
  const shape = [3, 50, 700],
    x = engine.tensor(shape),
    numbers = normals(count(shape), seeded(5), 4);
  x.data.set(numbers);
  for (const options of [{}, { axis: 1, scale: -2 }, { axis: 0 }]) {
    const ours = await all(engine, x, options);
    const theirs = await all(engine, tensor(numbers, shape), options);
    for (const [index, one] of ours.entries()) assertSameBits(one, theirs[index], names[index]);
  }
  x.free();
}, { daily: 1 / 3, needs: "hostTensors" });

contract(
  "the number of threads does not change a bit of a softmax",
  async (engine, { threads }) => {
    const shape = [40, 3000], x = tensor(normals(count(shape), seeded(6), 4), shape);
    const { createEngine } = await import("@flashtile/attention");
    const alone = await createEngine({ backend: "wasm", threads: 1 });
    try {
      if (threads === 1) return;
      const ours = await all(engine, x, {}), theirs = await all(alone, x, {});
      for (const [index, one] of ours.entries()) assertSameBits(one, theirs[index], names[index]);
    } finally {
      await alone.close();
    }
  },
  { needs: "linearMemory" },
);

contract(
  "softmax() writes into `out`, of any storage, where `x` is or beside it",
  async (engine) => {
    const shape = [4, 33], numbers = normals(count(shape), seeded(7));
    const { out: plain } = await functions.softmax(tensor(numbers, shape), { engine });
    const data = numbers.slice(), own = tensor(data, shape);
    assertEquals((await functions.softmax(own, { out: own, engine })).out, own);
    assertSameBits(data, plain.data, "in place");
    // The same numbers turned, written over where they are read.
    const square = normals(256, seeded(8)),
      turned = { data: square, shape: [16, 16], strides: [1, 16] };
    const { out: expected } = await functions.softmax(tensor(square.slice(), [16, 16]), { engine });
    await functions.softmax(tensor(square, [16, 16]), { out: turned, engine });
    for (let at = 0; at < 256; at++) {
      assertEquals(square[placeOf(at, [16, 16], [1, 16], 0)], expected.data[at]);
    }
    for (const dtype of ["f16", "bf16"] as const) {
      const wide = new Uint16Array(4 * 40).fill(9);
      const out = { data: wide, shape, strides: [40, 1], offset: 3, dtype };
      await functions.softmax(tensor(numbers, shape), { out, engine });
      const want = stored(plain.data, dtype);
      for (let at = 0; at < want.length; at++) {
        assertEquals(wide[placeOf(at, shape, [40, 1], 3)], want[at], dtype);
      }
      assertEquals([wide[0], wide[36], wide[39]], [9, 9, 9]);
    }
  },
  { needs: "hostTensors" },
);

const x = tensor(new Float32Array(6), [2, 3]);

/** What each of the three refuses. */
const refusals: readonly [
  what: string,
  given: unknown,
  options: object,
  error: new (...given: never[]) => Error,
  message: string,
][] = [
  ["a bare array", new Float32Array(3), {}, TypeError, "`x` is a bare Float32Array"],
  ["no tensor", null, {}, TypeError, "`x` must be { data, shape }, got null"],
  [
    "too little data",
    { data: new Float32Array(5), shape: [2, 3] },
    {},
    RangeError,
    "needs 6 elements",
  ],
  [
    "a hole in a shape",
    { data: new Float32Array(6), shape: [, 6] },
    {},
    RangeError,
    "whole numbers >= 0",
  ],
  [
    "bits without a type",
    { data: new Uint16Array(6), shape: [6] },
    {},
    TypeError,
    '"f16" or "bf16"',
  ],
  [
    "an axis beyond the last",
    x,
    { axis: 2 },
    RangeError,
    "`axis` must be whole, from -2 to 1, got 2",
  ],
  ["an axis before the first", x, { axis: -3 }, RangeError, "from -2 to 1, got -3"],
  ["half an axis", x, { axis: 0.5 }, RangeError, "got 0.5"],
  ["no axis at all", tensor(new Float32Array(1), []), {}, RangeError, "`x`'s, which has none"],
  [
    "an infinite scale",
    x,
    { scale: Infinity },
    RangeError,
    "`scale` must be finite in f32, got Infinity",
  ],
  ["a scale beyond f32", x, { scale: 1e39 }, RangeError, "`scale` must be finite in f32"],
  [
    "a scale that is no number",
    x,
    { scale: "2" },
    RangeError,
    '`scale` must be finite in f32, got "2"',
  ],
  [
    "a mask of another shape",
    x,
    { mask: { data: new Uint8Array(2), shape: [2] } },
    RangeError,
    "[2,3] full or 1",
  ],
  [
    "a mask of more axes",
    x,
    { mask: { data: new Uint8Array(6), shape: [1, 2, 3] } },
    RangeError,
    "[2,3] full or 1",
  ],
  [
    "a mask of floats",
    x,
    { mask: { data: x.data, shape: x.shape } },
    TypeError,
    "`mask.data` must be a Uint8Array",
  ],
  [
    "words for bits",
    x,
    { mask: { data: new Uint32Array(6), shape: [2, 3] } },
    TypeError,
    "a word per element",
  ],
  [
    "null for a mask",
    x,
    { mask: null },
    TypeError,
    "`mask` must be { data: Uint8Array, shape }, got null",
  ],
  ["an unknown option", x, { dim: 1 }, TypeError, "unknown option `dim`, known are axis"],
  [
    "options that are none",
    x,
    3 as unknown as object,
    TypeError,
    "options must be an object, got 3",
  ],
  ["no engine", x, { engine: {} }, TypeError, "`engine` must be what `createEngine()`"],
];

contract(
  "softmax() and its logarithms refuse bad input, take no memory, and work afterwards",
  async (engine) => {
    const expected = await all(engine, x, {}), bytes = engine.memoryBytes;
    for (const name of names) {
      for (const [what, given, options, error, message] of refusals) {
        const asked = typeof options === "object" ? { engine, ...options } : options;
        const call = () => functions[name](given as Tensor, asked as { axis?: number });
        const refused = await errorOf(call) as Error;
        assert(
          refused instanceof error && refused.message.includes(message),
          `${what}: ${refused}`,
        );
        assert(refused.message.startsWith(`Cannot compute \`${name}()\`: `), refused.message);
        assertEquals(engine.memoryBytes, bytes, what);
      }
    }
    for (const [index, one] of (await all(engine, x, {})).entries()) {
      assertSameBits(
        one,
        expected[index],
      );
    }
  },
);

contract("softmax() refuses an `out` that does not fit", async (engine) => {
  const call = (out: Tensor) => functions.softmax(x, { out, engine });
  const cannot = "Cannot compute `softmax()`: ";
  await assertRefused(
    () => call(tensor(new Float32Array(6), [3, 2])),
    RangeError,
    `${cannot}\`out\` must have shape [2,3], got [3,2]`,
  );
  await assertRefused(
    () => call({ data: new Float32Array(6), shape: [2, 3], strides: [0, 1] }),
    RangeError,
    `${cannot}\`out\` with strides [0,1] may write an element twice, ` +
      "each stride must step past all that the smaller ones reach",
  );
});

contract("a softmax ends when its signal aborts, and gives its memory back", async (engine) => {
  const big = tensor(new Float32Array(4e6), [4000, 1000]);
  await functions.softmax(big, { engine });
  const bytes = engine.memoryBytes, reason = new Error("enough");
  const aborted = await errorOf(() =>
    functions.softmax(big, { engine, signal: AbortSignal.abort(reason) })
  );
  assertEquals(aborted, reason);
  let looks = 0;
  const later = {
    reason,
    get aborted() {
      return looks++ > 2;
    },
  };
  assertEquals(await errorOf(() => functions.softmax(big, { engine, signal: later })), reason);
  for (let time = 0; time < 3; time++) await functions.softmax(big, { engine });
  assertEquals(engine.memoryBytes, bytes);
}, { needs: "linearMemory" });

contract(
  "softmax() uses its tensors from the call on, whatever happens to them",
  async (engine) => {
    const x = engine.tensor([2, 1000]), options = { axis: 1, scale: 1, engine };
    x.data.fill(1);
    const call = functions.softmax(x, options);
    options.axis = 0;
    options.scale = NaN;
    x.free();
    const grown = engine.tensor([3000, 1000]); // Memory grows.
    assertEquals([...new Set((await call).out.data)], [Math.fround(0.001)]);
    await assertRefused(
      () => functions.softmax(x, { engine }),
      TypeError,
      "Cannot use a tensor of shape [2,1000] after `free()`",
    );
    grown.free();
  },
  { needs: "hostTensors" },
);

contract("softmax() on a closed engine says so", async (engine) => {
  await engine.close();
  const refused = await errorOf(() => functions.softmax(x, { engine }));
  assertEquals((refused as Error).message, "Cannot use an engine after `close()`");
});

contract("gradients refuse what is no gradient of the result", async (engine) => {
  const { backward } = await twins.softmax(x, { engine });
  await assertRefused(
    () => backward(tensor(new Float32Array(6), [3, 2])),
    RangeError,
    "Cannot differentiate: `dOut` must have shape [2,3], got [3,2]",
  );
  const refused = await errorOf(() => backward(x, { scale: 1 } as never));
  assert((refused as Error).message.includes("unknown option `scale`, known are signal"));
}, { needs: "rowGradients" });
