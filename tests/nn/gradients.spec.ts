import { createEngine, type Engine, type Tensor, tensor } from "@flashtile/attention";
import * as nn from "@flashtile/attention/nn";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { noGpu, sharedDevice } from "../support/device.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused, type ErrorClass, errorOf } from "../support/errors.ts";
import {
  activationAt,
  assertGradients,
  differencesOf,
  exactly,
  floatTensor,
  linearGradientsOf,
  linearOf,
  normGradientsOf,
  normOf,
  plainly,
  slopeAt,
} from "../support/layer_gradients.ts";
import { activations, elementsOf, oneOf, randomShape, seeded } from "../support/layers.ts";
import { normals, type Random, whole } from "../support/random.ts";
import { isWhole } from "../support/share.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const needs = ["layers", "rowGradients"] as const;

/** A tensor where one is there. */
const numbersOf = (given: Tensor<Float32Array> | undefined) => given && elementsOf(given);

const flat = (given: Float64Array) => Array.from(given, Math.fround);

function largest(numbers: ArrayLike<number>): number {
  return Array.from(numbers).reduce((most, n) => Math.max(most, Math.abs(n)), 0);
}

/** A weight as it is written in a layout, with its numbers as `[outputs, inputs]`. */
function randomWeight(random: Random, inputs: number, outputs: number, engine: Engine) {
  const isTurned = random() < 0.4, by = 1 / Math.sqrt(inputs);
  const given = floatTensor(isTurned ? [inputs, outputs] : [outputs, inputs], random, engine, by);
  const lying = elementsOf(given),
    turn = (numbers: ArrayLike<number>) =>
      Float32Array.from(
        numbers,
        (_, at) =>
          isTurned ? numbers[at % inputs * outputs + Math.floor(at / inputs)] : numbers[at],
      );
  const layout = isTurned ? "in-out" : "out-in";
  return { given, numbers: turn(lying), turn, layout } as const;
}

contract(
  "linearWithGradient() gives linear() and the gradients of the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const random = seeded(seed), sizes = [1, 2, 7, 8, 9, 31, 32, 33, 64, 65];
        const inputs = oneOf(random, sizes), outputs = oneOf(random, sizes);
        const shape = randomShape(
          random,
          inputs,
          2e5 / (inputs * outputs),
          Math.min(inputs, outputs),
        );
        const x = floatTensor(shape, random, engine), of = [...shape.slice(0, -1), outputs];
        const weight = randomWeight(random, inputs, outputs, engine);
        const maybe = (own: readonly number[]) =>
          random() < 0.5 ? floatTensor(own, random, engine) : undefined;
        const bias = maybe([outputs]), residual = maybe(of), dOut = floatTensor(of, random, engine);
        const activation = random() < 0.6 ? oneOf(random, activations) : undefined;
        const options = { bias, residual, activation, layout: weight.layout, engine };
        const { out, backward } = await nn.linearWithGradient(x, weight.given, options);
        const packed = await nn.packLinear(weight.given, { layout: weight.layout, engine });
        const { out: without } = await nn.linear(x, packed, { bias, residual, activation });
        packed.free();
        assertSameBits(out.data, without.data as Float32Array, "out");

        const gradients = await backward(dOut) as Record<string, Tensor<Float32Array>>;
        assertEquals(
          Object.keys(gradients).sort(),
          ["dx", "dWeight", ...bias ? ["dBias"] : [], ...residual ? ["dResidual"] : []].sort(),
        );
        assertEquals(gradients.dx.shape, shape);
        assertEquals(gradients.dWeight.shape, weight.given.shape);
        const call = {
          ...{ x: elementsOf(x), weight: weight.numbers, inputs, outputs, activation },
          ...{ bias: numbersOf(bias), residual: numbersOf(residual) },
        };
        const d = elementsOf(dOut),
          absolute = (numbers: ArrayLike<number>) => Float64Array.from(numbers, Math.abs);
        const magnitudes = linearGradientsOf(
          { x: absolute(call.x), weight: absolute(call.weight), inputs, outputs },
          absolute(d),
        );
        // Slopes have errors of their own, of some roundings of numbers near 1.
        const by = activation === undefined ? 1 : 5;
        const most = Object.fromEntries(
          Object.entries(magnitudes).map(([name, numbers]) => [name, by * largest(numbers)]),
        );
        const own = {
          ...gradients,
          dWeight: tensor(weight.turn(gradients.dWeight.data), [call.weight.length]),
        };
        assertGradients(
          own,
          linearGradientsOf(call, d, plainly),
          linearGradientsOf(call, d, exactly),
          most,
        );
      }),
      runs(120),
    );
  },
  { daily: 1 / 3, needs },
);

contract(
  "norms have the gradients of the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const random = seeded(seed), width = oneOf(random, [2, 5, 8, 15, 16, 17, 33, 96, 130]);
        const shape = randomShape(random, width, 300), isCentred = random() < 0.5;
        const x = floatTensor(shape, random, engine);
        const maybe = (own: readonly number[]) =>
          random() < 0.6 ? floatTensor(own, random, engine) : undefined;
        const weight = maybe([width]), bias = isCentred ? maybe([width]) : undefined;
        const residual = maybe(shape), dSum = residual && maybe(shape);
        const dOut = floatTensor(shape, random, engine);
        const eps = oneOf(random, [1e-5, 0.1]), offset = isCentred ? 0 : oneOf(random, [0, 1]);
        const made = isCentred
          ? await nn.layerNormWithGradient(x, weight, bias, { residual, eps, engine })
          : await nn.rmsNormWithGradient(x, weight, { residual, eps, offset, engine });
        const { out, sum, backward } = made as nn.NormWithGradient<
          { residual: Tensor },
          Tensor,
          Tensor
        >;
        const without = isCentred
          ? await nn.layerNorm(x, weight, bias, { residual, eps, engine })
          : await nn.rmsNorm(x, weight, { residual, eps, offset, engine });
        assertSameBits(out.data, without.out.data as Float32Array, "out");
        assertEquals(sum === undefined, residual === undefined);

        const gradients = await backward(dOut, { dSum });
        const { dx, dWeight, dBias, dResidual } = gradients;
        assertEquals(
          [dWeight, dBias, dResidual].map((given) => given === undefined),
          [weight, bias, residual].map((given) => given === undefined),
        );
        if (residual) assertSameBits(dResidual.data, dx.data, "by residual");
        const call = {
          ...{ x: elementsOf(sum ?? x), width, eps: Math.fround(eps), offset, isCentred },
          ...{ weight: numbersOf(weight), bias: numbersOf(bias) },
        };
        const d = elementsOf(dOut), more = numbersOf(dSum), rows = d.length / width;
        const sizes = { dWeight: 4 * rows, dBias: 4 * rows };
        assertGradients(
          { dx, ...(weight && { dWeight }), ...(bias && { dBias }) },
          normGradientsOf(call, d, more, plainly),
          normGradientsOf(call, d, more, exactly),
          sizes,
        );
      }),
      runs(120),
    );
  },
  { needs },
);

/** Functions of one tensor by the activation that they are. */
const ofEach = {
  gelu: (x: Tensor, engine: Engine) => nn.geluWithGradient(x, { engine }),
  "gelu-tanh": (x: Tensor, engine: Engine) =>
    nn.geluWithGradient(x, { approximate: "tanh", engine }),
  silu: (x: Tensor, engine: Engine) => nn.siluWithGradient(x, { engine }),
  relu: (x: Tensor, engine: Engine) => nn.reluWithGradient(x, { engine }),
  tanh: (x: Tensor, engine: Engine) => nn.tanhWithGradient(x, { engine }),
} as const;

contract("slopes of activations are right to some roundings of 1, everywhere", async (engine) => {
  const numbers = Float32Array.from({ length: 2401 }, (_, at) => (at - 1200) / 100);
  const x = tensor(numbers, [numbers.length]), ones = tensor(numbers.map(() => 1), x.shape);
  for (const activation of activations) {
    const { backward } = await ofEach[activation](x, engine), { dx } = await backward(ones);
    for (const [at, slope] of dx.data.entries()) {
      const wanted = slopeAt(activation, numbers[at]);
      assert(
        Math.abs(slope - wanted) < 5e-7,
        `${activation} at ${numbers[at]}: ${slope}, not ${wanted}`,
      );
    }
  }
  // Where 1 - tanh^2 would have lost all.
  const { dx } = await (await nn.tanhWithGradient(x, { engine })).backward(ones);
  for (const [at, slope] of dx.data.entries()) {
    const wanted = 1 / Math.cosh(numbers[at]) ** 2;
    assert(Math.abs(slope / wanted - 1) < 3e-6, `${numbers[at]}: ${slope}, not ${wanted}`);
  }
}, { needs });

contract("slopes far from 0 are 0 or 1, and NaN of a NaN", async (engine) => {
  const x = tensor(Float32Array.of(-Infinity, -1e30, -300, 300, 1e30, Infinity, NaN), [7]);
  const ones = tensor(new Float32Array(7).fill(1), [7]);
  for (const activation of activations) {
    const { dx } = await (await ofEach[activation](x, engine)).backward(ones);
    const high = activation === "tanh" ? 0 : 1;
    assertEquals(
      [...dx.data].map((slope) => slope + 0),
      [0, 0, 0, high, high, high, NaN],
      activation,
    );
  }
}, { needs });

contract("functions of each number, gates and sums have their gradients", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const random = seeded(seed), shape = randomShape(random, oneOf(random, [1, 5, 32, 1030]), 40);
      const x = floatTensor(shape, random, engine, 2), up = floatTensor(shape, random, engine);
      const dOut = floatTensor(shape, random, engine), activation = oneOf(random, activations);
      const [numbers, others, d] = [x, up, dOut].map(elementsOf);
      const by = (r: typeof exactly, of: (at: number, r: typeof exactly) => number) =>
        Float64Array.from(numbers, (_, at) => of(at, r));
      const slope = (at: number, r: typeof exactly) =>
        r(d[at] * slopeAt(activation, numbers[at], r));
      const gate = (at: number, r: typeof exactly) =>
        r(d[at] * r(others[at] * slopeAt(activation, numbers[at], r)));
      const passed = (at: number, r: typeof exactly) =>
        r(d[at] * r(activationAt(activation, numbers[at])));
      const of = (r: typeof exactly) => ({
        ...{ dx: by(r, slope), dGate: by(r, gate), dUp: by(r, passed) },
      });
      const each = await (await ofEach[activation](x, engine)).backward(dOut);
      const both = await nn.gatedWithGradient(x, up, { activation, engine });
      assertSameBits(
        both.out.data,
        (await nn.gated(x, up, { activation, engine })).out.data as Float32Array,
      );
      assertGradients({ ...each, ...await both.backward(dOut) }, of(plainly), of(exactly));
      const sum = await nn.addWithGradient(x, up, { engine });
      assertSameBits(sum.out.data, (await nn.add(x, up, { engine })).out.data as Float32Array);
      const { da, db } = await sum.backward(dOut);
      assertSameBits(da.data, d);
      assertSameBits(db.data, d);
    }),
    runs(60),
  );
}, { needs });

contract("rows of tables and means have their gradients", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const random = seeded(seed), rows = whole(random, 1, 30);
      const width = oneOf(random, [1, 3, 5, 32, 100]), amount = oneOf(random, [0, 1, 7, 700]);
      const table = floatTensor([rows, width], random, engine);
      const ids = Int32Array.from({ length: amount }, () => whole(random, 0, rows - 1));
      const scale = oneOf(random, [1, -0.5]), dOut = floatTensor([amount, width], random, engine);
      const embedded = await nn.embeddingWithGradient(ids, table, { scale, engine });
      assertSameBits(
        embedded.out.data,
        (await nn.embedding(ids, table, { scale, engine })).out.data as Float32Array,
      );
      const { dTable } = await embedded.backward(dOut), d = elementsOf(dOut);
      const sums = new Float32Array(rows * width);
      for (const [at, id] of ids.entries()) {
        for (let i = 0; i < width; i++) sums[id * width + i] += scale * d[at * width + i];
      }
      assertEquals(dTable.shape, [rows, width]);
      assertSameBits(dTable.data, sums, "table"); // In their order, and no other.

      const bounds = [0];
      for (let left = whole(random, 0, 4); left > 0; left--) {
        bounds.push(bounds.at(-1)! + oneOf(random, [0, 1, 2, 40, 300]));
      }
      const x = floatTensor([bounds.at(-1)!, width], random, engine);
      const dMeans = floatTensor([bounds.length - 1, width], random, engine);
      const means = await nn.meanRowsWithGradient(x, bounds, { engine });
      const { dx } = await means.backward(dMeans), shares = elementsOf(dMeans);
      assertEquals(dx.shape, x.shape);
      for (let at = 0; at + 1 < bounds.length; at++) {
        for (let row = bounds[at]; row < bounds[at + 1]; row++) {
          for (let i = 0; i < width; i++) {
            const wanted = Math.fround(shares[at * width + i] / (bounds[at + 1] - bounds[at]));
            assertEquals(dx.data[row * width + i], wanted);
          }
        }
      }
    }),
    runs(60),
  );
}, { needs });

test("the plain formulas have the gradients that central differences have", () => {
  const random = seeded(21), rows = 4, inputs = 5, outputs = 3;
  const numbers = (length: number) => Float64Array.from(normals(length, random));
  const close = (got: Float64Array, wanted: Float64Array, name: string) => {
    for (const [at, n] of got.entries()) {
      assert(
        Math.abs(n - wanted[at]) < 1e-8 * (1 + Math.abs(wanted[at])),
        `${name} ${at}: ${n}, not ${wanted[at]}`,
      );
    }
  };
  const lossOf = (out: Float64Array, dOut: Float64Array) =>
    out.reduce((sum, y, at) => sum + y * dOut[at], 0);
  for (const activation of [undefined, ...activations]) {
    const call = {
      ...{ x: numbers(rows * inputs), weight: numbers(outputs * inputs), bias: numbers(outputs) },
      ...{ residual: numbers(rows * outputs), inputs, outputs, activation },
    };
    const dOut = numbers(rows * outputs), got = linearGradientsOf(call, dOut);
    const loss = () => lossOf(linearOf(call), dOut);
    const by = { dx: call.x, dWeight: call.weight, dBias: call.bias, dResidual: call.residual };
    for (const [name, x] of Object.entries(by)) {
      close(got[name], differencesOf(loss, x), `${activation} ${name}`);
    }
  }
  for (const isCentred of [false, true]) {
    const width = 6, x = numbers(rows * width), weight = numbers(width), bias = numbers(width);
    const call = { x, width, weight, bias, eps: 0.01, offset: 0.5, isCentred };
    const dOut = numbers(x.length), dSum = numbers(x.length);
    const loss = () => lossOf(normOf(call), dOut) + lossOf(x, dSum);
    const got = normGradientsOf(call, dOut, dSum);
    for (const [name, given] of Object.entries({ dx: x, dWeight: weight, dBias: bias })) {
      close(got[name], differencesOf(loss, given), `${isCentred} ${name}`);
    }
  }
});

/** All gradients of layers so large that they are cut, as arrays. */
async function largeGradients(engine: Engine, isResident: boolean): Promise<Float32Array[]> {
  const random = seeded(22), rows = 1100, inputs = 72, outputs = 100;
  const put = (shape: number[], by = 1): Tensor<Float32Array> => {
    const numbers = normals(shape.reduce((a, b) => a * b), random, by);
    if (!isResident) return tensor(numbers, shape);
    const made = engine.tensor(shape);
    made.data.set(numbers);
    return made;
  };
  const x = put([rows, inputs]), weight = put([outputs, inputs], 0.1), bias = put([outputs]);
  const dOut = put([rows, outputs]), turned = put([inputs, outputs], 0.1), gain = put([inputs]);
  const ids = Int32Array.from({ length: rows }, () => whole(random, 0, 9)),
    table = put([10, outputs]);
  const made = [
    await nn.linearWithGradient(x, weight, { bias, activation: "gelu", engine }),
    await nn.linearWithGradient(x, turned, { bias, layout: "in-out", engine }),
    await nn.embeddingWithGradient(ids, table, { engine }),
  ];
  const norm = await nn.layerNormWithGradient(x, gain, gain, { engine });
  const gated = await nn.gatedWithGradient(x, x, { engine });
  const all: object[] = [];
  for (const { backward } of made) all.push(await backward(dOut));
  all.push(await norm.backward(x), await gated.backward(x));
  return all.flatMap((gradients) =>
    Object.values(gradients as Record<string, Tensor<Float32Array>>).map(({ data }) => data)
  );
}

test("gradients of layers have the same bits on any number of threads, in arrays and in an engine's memory", async () => {
  await withEngines(async (alone, teams) => {
    const expected = await largeGradients(alone, false);
    assertEquals(expected.length, 3 + 3 + 1 + 3 + 2);
    // In a daily run two threads are enough.
    for (const [at, engine] of (isWhole ? [alone, ...teams] : teams.slice(0, 1)).entries()) {
      for (const isResident of [false, true]) {
        const got = await largeGradients(engine, isResident);
        for (const [index, data] of got.entries()) {
          assertSameBits(
            data,
            expected[index],
            `engine ${at}, ${isResident}, gradient ${index}`,
          );
        }
      }
    }
  });
});

contract("gradients of many rows are summed part by part, and right", async (engine) => {
  const random = seeded(23), rows = 1300, inputs = 9, outputs = 11;
  const x = normals(rows * inputs, random), weight = normals(outputs * inputs, random);
  const d = normals(rows * outputs, random), bias = normals(outputs, random);
  const call = { x, weight, bias, inputs, outputs };
  const { backward } = await nn.linearWithGradient(
    tensor(x, [rows, inputs]),
    tensor(weight, [outputs, inputs]),
    { bias: tensor(bias, [outputs]), engine },
  );
  const dOut = tensor(d, [rows, outputs]), first = await backward(dOut);
  const size = 3 * rows, sizes = { dx: 40, dWeight: size, dBias: size };
  assertGradients(
    { ...first },
    linearGradientsOf(call, d, plainly),
    linearGradientsOf(call, d, exactly),
    sizes,
  );
  const again = await backward(dOut); // More than once.
  assertSameBits(again.dWeight.data, first.dWeight.data);
  const twice = await backward(tensor(d.map((n) => 2 * n), [rows, outputs]));
  assertSameBits(twice.dWeight.data, first.dWeight.data.map((n) => 2 * n));
}, { needs });

const zeros = (...shape: number[]) =>
  tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

const x = zeros(3, 8), weight = zeros(4, 8), vector = zeros(8);

const short = tensor(new Uint16Array(24), [3, 8], "bf16") as never;

const reason = "gradients of layers are computed and summed in f32, make a Float32Array of it";

/** A call that is refused, and what is said. */
type Refusal = readonly [act: (engine: Engine) => unknown, error: ErrorClass, message: string];

const refusals: Readonly<Record<string, readonly Refusal[]>> = {
  linear: [
    [
      (engine) => nn.linearWithGradient(short, weight, { engine }),
      TypeError,
      `\`x\` must be f32, got bf16: ${reason}`,
    ],
    [
      (engine) =>
        nn.linearWithGradient(x, tensor(new Uint16Array(32), [4, 8], "f16") as never, { engine }),
      TypeError,
      `\`weight\` must be f32, got f16: ${reason}`,
    ],
    [
      (engine) =>
        nn.linearWithGradient(
          zeros(3, 32),
          { data: new Uint8Array(34), shape: [1, 32], dtype: "q8_0" } as never,
          { engine },
        ),
      TypeError,
      `\`weight\` must be f32, got q8_0: ${reason}`,
    ],
    [
      (engine) => nn.linearWithGradient(zeros(3, 9), weight, { engine }),
      RangeError,
      "`x` must have 8 columns as `weight` has inputs, got shape [3,9]",
    ],
    [
      (engine) => nn.linearWithGradient(x, vector, { engine }),
      RangeError,
      "`weight` must have two axes of at least 1, got shape [8]",
    ],
    [
      (engine) => nn.linearWithGradient(x, weight, { layout: "io" as never, engine }),
      TypeError,
      '`layout` must be one of "out-in", "in-out", got "io"',
    ],
    [
      (engine) => nn.linearWithGradient(x, weight, { bias: zeros(5), engine }),
      RangeError,
      "`bias` must have shape [4], got [5]",
    ],
    [
      (engine) => nn.linearWithGradient(x, weight, { residual: short, engine }),
      RangeError,
      "`residual` must have shape [3,4], got [3,8]",
    ],
    [
      (engine) => nn.linearWithGradient(x, weight, { activation: "swish" as never, engine }),
      TypeError,
      '`activation` must be one of "gelu", "gelu-tanh", "silu", "relu", "tanh", got "swish"',
    ],
    [
      (engine) => nn.linearWithGradient(x, weight, { out: zeros(3, 4), engine } as never),
      TypeError,
      "unknown option `out`, known are bias, activation, residual, layout, signal, engine",
    ],
  ],
  layerNorm: [
    [
      (engine) => nn.layerNormWithGradient(x, zeros(9), null, { engine }),
      RangeError,
      "`weight` must have shape [8], got [9]",
    ],
    [
      (engine) => nn.layerNormWithGradient(x, null, null, { residual: short, engine }),
      TypeError,
      `\`residual\` must be f32, got bf16: ${reason}`,
    ],
    [
      (engine) => nn.layerNormWithGradient(x, null, null, { eps: -1, engine }),
      RangeError,
      "`eps` must be finite in f32 and at least 0, got -1",
    ],
  ],
  rmsNorm: [[
    (engine) => nn.rmsNormWithGradient(x, null, { offset: NaN, engine }),
    RangeError,
    "`offset` must be finite in f32, got NaN",
  ]],
  gelu: [[
    (engine) => nn.geluWithGradient(x, { approximate: "erf" as never, engine }),
    TypeError,
    '`approximate` must be one of "none", "tanh", got "erf"',
  ]],
  silu: [[
    (engine) => nn.siluWithGradient(short, { engine }),
    TypeError,
    `\`x\` must be f32, got bf16: ${reason}`,
  ]],
  gated: [[
    (engine) => nn.gatedWithGradient(x, vector, { engine }),
    RangeError,
    "`up` must have shape [3,8], got [8]",
  ]],
  add: [[
    (engine) => nn.addWithGradient(x, short, { engine }),
    TypeError,
    `\`b\` must be f32, got bf16: ${reason}`,
  ]],
  embedding: [[
    (engine) => nn.embeddingWithGradient([3], x, { engine }),
    RangeError,
    "`ids` must be whole numbers from 0 to 2, the rows of `table`, got 3",
  ]],
  meanRows: [[
    (engine) => nn.meanRowsWithGradient(x, [0, 2], { engine }),
    RangeError,
    "`cuSeqlens` must rise from 0 to 3, the rows of `x`, got [0,2]",
  ]],
};

contract(
  "layers with gradients refuse what does not fit, before anything is allocated",
  async (engine) => {
    const before = engine.memoryBytes;
    for (const [name, all] of Object.entries(refusals)) {
      for (const [act, error, message] of all) {
        await assertRefused(
          () => act(engine),
          error,
          `Cannot compute \`${name}WithGradient()\`: ${message}`,
        );
      }
    }
    const { backward } = await nn.linearWithGradient(x, weight, { engine });
    const norm = await nn.rmsNormWithGradient(x, null, { engine });
    const passes: readonly Refusal[] = [
      [() => backward(x), RangeError, "`dOut` must have shape [3,4], got [3,8]"],
      [
        () => backward(undefined as never),
        TypeError,
        "`dOut` must be { data, shape }, got undefined",
      ],
      [
        () => backward(zeros(3, 4), { dSum: x } as never),
        TypeError,
        "unknown option `dSum`, known are signal",
      ],
      [() => norm.backward(short), TypeError, `\`dOut\` must be f32, got bf16: ${reason}`],
      [
        () => norm.backward(x, { dSum: x }),
        RangeError,
        "`dSum` is for a norm with a `residual`, this one has none, got Object",
      ],
    ];
    for (const [act, error, message] of passes) {
      await assertRefused(() => act(engine), error, `Cannot differentiate: ${message}`);
    }
    assertEquals(engine.memoryBytes, before);
  },
  { needs: [...needs, "linearMemory"] },
);

contract(
  "passes that are aborted reject with the signal's reason, and leave no memory",
  async (engine) => {
    const stop = new Error("stop"), signal = AbortSignal.abort(stop);
    const rows = zeros(1500, 300), matrix = zeros(300, 300), options = { engine };
    const ids = new Int32Array(1500);
    const layers = [
      await nn.linearWithGradient(rows, matrix, { bias: zeros(300), activation: "silu", engine }),
      await nn.layerNormWithGradient(rows, zeros(300), null, options),
      await nn.siluWithGradient(rows, options),
      await nn.gatedWithGradient(rows, rows, options),
      await nn.addWithGradient(rows, rows, options),
      await nn.embeddingWithGradient(ids, matrix, options),
    ];
    assertEquals(
      await errorOf(() => nn.linearWithGradient(rows, matrix, { engine, signal })),
      stop,
    );
    for (const { backward } of layers) await backward(rows);
    const before = engine.memoryBytes;
    for (const { backward } of layers) {
      assertEquals(await errorOf(() => backward(rows, { signal })), stop);
      const controller = new AbortController(), running = backward(rows, controller);
      controller.abort(stop);
      await running.catch((error) => assertEquals(error, stop)); // A sum is a copy, made at once.
      await backward(rows);
    }
    assertEquals(engine.memoryBytes, before);
  },
  { needs: [...needs, "linearMemory"] },
);

contract("gradients say when what they need is gone", async (engine, backend) => {
  const given = engine.tensor([3, 8]), { backward } = await nn.siluWithGradient(given, { engine });
  given.free();
  const freed = await errorOf(() => backward(x)) as Error;
  assertEquals(freed.message, "Cannot use a tensor after `free()`");
  const other = await backend.make(), sum = await nn.addWithGradient(x, x, { engine: other });
  await other.close();
  const closed = await errorOf(() => sum.backward(x)) as Error;
  assertEquals(closed.message, "Cannot use an engine after `close()`");
}, { needs });

test("no rows have gradients of 0", async () => {
  const none = zeros(0, 8), { backward } = await nn.linearWithGradient(none, weight);
  const { dx, dWeight } = await backward(zeros(0, 4));
  assertEquals([dx.shape, [...dWeight.data]], [[0, 8], flat(new Float64Array(32))]);
  const norm = await nn.layerNormWithGradient(none, vector, vector);
  assertEquals([...(await norm.backward(none)).dBias.data], [0, 0, 0, 0, 0, 0, 0, 0]);
});

/** Where there is no GPU. */
const webgpuOnly = noGpu === undefined ? {} : { skip: noGpu };

test("gradients of layers are for the CPU (webgpu)", webgpuOnly, async () => {
  const engine = await createEngine({ backend: "webgpu", device: await sharedDevice() });
  const error = await errorOf(() => nn.siluWithGradient(x, { engine })) as Error;
  assertEquals(
    error.message,
    "Cannot compute `siluWithGradient()`: the webgpu backend has no `siluWithGradient()`; " +
      'make the engine with { backend: "wasm" }',
  );
  await engine.close();
});
