import { type Engine, type HostData, type Tensor, tensor } from "@flashtile/attention";
import { linear, type LinearDType, linearSync, packLinear } from "@flashtile/attention/nn";
import { referenceLinear } from "@flashtile/attention/reference";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import { errorOf } from "../support/errors.ts";
import {
  activations,
  bandOf,
  elementsOf,
  forms,
  formsOf,
  naiveLinear,
  oneOf,
  randomOut,
  randomShape,
  randomTensor,
  rowsAs,
  seeded,
  triesOf,
  weightAs,
} from "../support/layers.ts";
import { normals, whole } from "../support/random.ts";
import { spread, stored } from "../support/softmax.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const extents = [1, 2, 3, 7, 8, 15, 31, 32, 33, 40, 64, 65, 100, 128, 130];

/** A random call: its weight as numbers, and all else as callers write it. */
function randomCall(seed: number, engine: Engine) {
  const random = seeded(seed), [dtype, precision] = oneOf(random, formsOf(engine));
  const inputs = random() < 0.1 ? 384 : oneOf(random, extents), outputs = oneOf(random, extents);
  const weight = normals(inputs * outputs, random, 1 / Math.sqrt(inputs));
  const isTurned = random() < 0.3, shape = isTurned ? [inputs, outputs] : [outputs, inputs];
  const written = isTurned
    ? Float32Array.from(weight, (_, at) => weight[at % outputs * inputs + Math.floor(at / outputs)])
    : weight;
  const x = randomTensor(
    randomShape(random, inputs, 4e5 / (inputs * outputs), outputs),
    random,
    engine,
  );
  const results = [...x.shape.slice(0, -1), outputs];
  const residual = random() < 0.5 ? randomTensor(results, random, engine) : undefined;
  const place = whole(random, 0, 2);
  return {
    ...{ dtype, precision, inputs, outputs, weight, x, residual, random },
    packed: spread(written, shape, "f32", random),
    layout: isTurned ? "in-out" : "out-in",
    bias: random() < 0.6 ? randomTensor([outputs], random, engine) : undefined,
    activation: random() < 0.5 ? oneOf(random, activations) : undefined,
    out: place === 0 ? randomOut(results, random, engine) : place === 1 ? residual : undefined,
  } as const;
}

contract(
  "linear() is as exact as the plain formula of what its weight and its rows are, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const call = randomCall(seed, engine);
        const { dtype, precision, inputs, outputs, weight, layout, activation, ...given } = call;
        const packed = await packLinear(given.packed, { dtype, layout, engine });
        const numbers = elementsOf(given.x), bias = given.bias && elementsOf(given.bias);
        const residual = given.residual && elementsOf(given.residual);
        const { out } = await linear(given.x, packed, {
          ...{ bias: given.bias, residual: given.residual, out: given.out },
          ...{ activation, precision, engine },
        }) as { out: Tensor<HostData> };
        packed.free();
        if (given.out) assertStrictEquals(out, given.out);
        assertEquals(out.shape, [...given.x.shape.slice(0, -1), outputs]);

        const ofWeight = weightAs(weight, inputs, dtype),
          ofRows = rowsAs(numbers, inputs, precision);
        const expected = referenceLinear(
          { data: ofRows.numbers, shape: given.x.shape },
          { data: ofWeight.numbers, shape: [outputs, inputs] },
          {
            ...(bias && { bias: { data: bias, shape: [outputs] } }),
            ...(residual && { residual: { data: residual, shape: out.shape } }),
            activation,
          },
        ).out.data;
        const plain = naiveLinear({
          ...{ x: ofRows.numbers, inputs, outputs },
          // What is stored as integers becomes f32 before it is multiplied in f32.
          weight: precision === "f32" ? Float32Array.from(ofWeight.numbers) : ofWeight.numbers,
          ...{ bias, residual, activation },
        });
        const errors = measure(elementsOf(out), plain, expected);
        // Where a factor's last bit makes a number another integer: two of a row, and of an output.
        const greatest = (all: Float64Array) =>
          all.reduce((most, n) => Math.max(most, Math.abs(n)), 0);
        const steps = 2 * (ofRows.step * greatest(ofWeight.numbers) +
          (dtype === "int16" ? ofWeight.step * greatest(ofRows.numbers) : 0));
        const band = bandOf(errors.largest, out.dtype ?? "f32", activation) + steps;
        assertWithinBudget(`${dtype}, ${precision}`, errors, band);
      }),
      runs(triesOf(engine, 250)),
    );
  },
  { daily: 3, needs: "layers" },
);

contract(
  "a row has the same bits alone, in any batch and by linearSync()",
  async (engine) => {
    const random = seeded(11), inputs = 96, outputs = 72, rows = 37;
    const weight = tensor(normals(inputs * outputs, random), [outputs, inputs]);
    const x = tensor(normals(rows * inputs, random), [rows, inputs]);
    const bias = tensor(normals(outputs, random), [outputs]);
    for (const [dtype, precision] of forms) {
      const packed = await packLinear(weight, { dtype, engine });
      for (const activation of [undefined, ...activations]) {
        const options = { bias, activation, precision, engine };
        const { out } = await linear(x, packed, options);
        assertSameBits(linearSync(x, packed, options).out.data, out.data, "sync");
        for (const [from, to] of [[0, 1], [5, 6], [36, 37], [3, 7], [8, 21]]) {
          const some = tensor(x.data.slice(from * inputs, to * inputs), [to - from, inputs]);
          const own = out.data.subarray(from * outputs, to * outputs);
          const got = (await linear(some, packed, options)).out.data;
          assertSameBits(got, own, `${dtype}, ${precision}, ${activation}, ${from} to ${to}`);
        }
      }
    }
  },
  { daily: 3, needs: ["layers", "attentionSync"] },
);

contract(
  "linear() is so large that it is cut: the bits of rows one by one",
  async (engine) => {
    const random = seeded(12), inputs = 520, outputs = 700, rows = 300;
    const weight = tensor(normals(inputs * outputs, random), [outputs, inputs]);
    const x = engine.tensor([rows, inputs]), out = engine.tensor([rows, outputs]);
    x.data.set(normals(rows * inputs, random));
    for (
      const [dtype, precision] of [["f32", "f32"], ["int16", "int16"], ["int8", "int8"]] as const
    ) {
      const packed = await packLinear(weight, { dtype, engine });
      await linear(x, packed, { out, precision });
      for (const row of [0, 31, 128, 299]) {
        const one = tensor(x.data.slice(row * inputs, (row + 1) * inputs), [inputs]);
        const alone = (await linear(one, packed, { precision })).out.data;
        assertSameBits(out.data.subarray(row * outputs, (row + 1) * outputs), alone, `${row}`);
      }
      const fromArrays = await linear({ data: x.data.slice(), shape: x.shape }, packed, {
        precision,
      });
      assertSameBits(fromArrays.out.data, out.data, "arrays");
      packed.free();
    }
  },
  { needs: ["layers", "hostTensors"] },
);

contract("`out` may be an input, or share elements with some", async (engine) => {
  const random = seeded(13), n = 24, weight = tensor(normals(n * n, random), [n, n]);
  const packed = await packLinear(weight, { engine });
  const data = normals(60 * n, random), x = tensor(data.slice(), [60, n]);
  const expected = (await linear(x, packed, { residual: x })).out.data;
  for (const isResident of [false, true]) {
    const own = isResident ? engine.tensor([60, n]) : tensor(new Float32Array(60 * n), [60, n]);
    own.data.set(data);
    const { out } = await linear(own, packed, { residual: own, out: own });
    assertStrictEquals(out, own);
    assertSameBits(own.data, expected, "in place");
    own.data.set(data);
    // One row further on in the same memory.
    const from = { ...own, shape: [59, n] }, to = { ...from, offset: n };
    await linear(from, packed, { residual: from, out: to });
    assertSameBits(own.data.subarray(n), expected.subarray(0, 59 * n), "shifted");
  }
}, { needs: ["layers", "hostTensors"] });

contract("blocks of a GGUF file are the numbers that they stand for", async (engine) => {
  const random = seeded(14), inputs = 96, outputs = 11, rows = 5, blocks = outputs * inputs / 32;
  const x = tensor(normals(rows * inputs, random), [rows, inputs]);
  for (const dtype of ["q8_0", "q4_0"] as const) {
    const bytes = dtype === "q8_0" ? 34 : 18, data = new Uint8Array(blocks * bytes);
    const weight = new Float32Array(outputs * inputs);
    for (let block = 0; block < blocks; block++) {
      const at = block * bytes, scale = whole(random, 1, 60) / 64;
      data.set(new Uint8Array(stored([scale], "f16").buffer), at);
      for (let k = 0; k < 32; k++) {
        const q = dtype === "q8_0" ? whole(random, -127, 127) : whole(random, -8, 7);
        weight[block * 32 + k] = scale * q;
        if (dtype === "q8_0") data[at + 2 + k] = q & 255;
        else data[at + 2 + k % 16] |= (q + 8) << (k < 16 ? 0 : 4);
      }
    }
    const packed = await packLinear({ data, shape: [outputs, inputs], dtype }, { engine });
    assertEquals([packed.dtype, packed.inputs, packed.outputs], ["int8", inputs, outputs]);
    const exact = referenceLinear(x, { data: weight, shape: [outputs, inputs] }).out.data;
    const errors = measure(
      (await linear(x, packed)).out.data,
      naiveLinear({ x: x.data, weight, inputs, outputs }),
      exact,
    );
    assertWithinBudget(dtype, errors);
  }
}, { needs: "layers" });

contract("what is not finite stays where it is", async (engine, { lacks }) => {
  const inputs = 40, outputs = 9, rows = 6, random = seeded(15);
  const bad: [number, number][] = [[1, NaN], [3, Infinity], [4, -Infinity]];
  const x = tensor(normals(rows * inputs, random), [rows, inputs]);
  const weight = tensor(normals(inputs * outputs, random).map(Math.abs), [outputs, inputs]);
  for (const [row, value] of bad) x.data[row * inputs + 7] = value;
  for (const [dtype, precision] of formsOf(engine)) {
    const packed = await packLinear(weight, { dtype, engine });
    const { out } = await linear(x, packed, { precision });
    for (let row = 0; row < rows; row++) {
      const own = out.data.subarray(row * outputs, (row + 1) * outputs);
      const given = bad.find(([of]) => of === row)?.[1];
      // Integers know no infinity: the row is NaN.
      const wanted = given === undefined || precision === "f32" ? given : NaN;
      for (const y of own) {
        assert(
          wanted === undefined ? Number.isFinite(y) : Object.is(y, wanted),
          `${dtype} ${row} ${y}`,
        );
      }
      if (lacks?.sameBitsForFewRows) continue;
      const alone = tensor(x.data.slice(row * inputs, (row + 1) * inputs), [inputs]);
      assertSameBits((await linear(alone, packed, { precision })).out.data, own, `${dtype} ${row}`);
    }
  }
}, { needs: "layers" });

contract("weights that are not finite make their output so", async (engine) => {
  const inputs = 40, outputs = 9, random = seeded(16);
  const x = tensor(normals(5 * inputs, random).map((n) => Math.abs(n) + 0.1), [5, inputs]);
  const weight = tensor(normals(inputs * outputs, random).map(Math.abs), [outputs, inputs]);
  weight.data[2 * inputs + 39] = Infinity;
  weight.data[5 * inputs] = NaN;
  for (const [dtype, precision] of formsOf(engine)) {
    const packed = await packLinear(weight, { dtype, engine });
    const wanted = dtype === "int16" || dtype === "int8" ? NaN : Infinity;
    for (const rows of [1, 5]) {
      const some = tensor(x.data.slice(0, rows * inputs), [rows, inputs]);
      const { out } = await linear(some, packed, { precision });
      for (const [at, y] of out.data.entries()) {
        const output = at % outputs;
        const right = output === 2
          ? Object.is(y, wanted)
          : output === 5
          ? Number.isNaN(y)
          : Number.isFinite(y);
        assert(right, `${dtype}, ${precision}, ${rows} rows: output ${output} is ${y}`);
      }
    }
  }
}, { needs: "layers" });

contract("packed weights take the memory that they say, and give it back", async (engine) => {
  const weight = tensor(new Float32Array(1000 * 300).fill(0.5), [1000, 300]);
  const expected: Record<LinearDType, number> = { f32: 4, f16: 2, bf16: 2, int16: 2, int8: 1.25 };
  await packLinear(weight, { engine }).then((packed) => packed.free());
  for (const dtype of Object.keys(expected) as LinearDType[]) {
    const packed = await packLinear(weight, { dtype, engine });
    const inputs = dtype === "int8" ? 320 : 300;
    const least = 1024 * inputs * expected[dtype];
    assert(packed.bytes >= least && packed.bytes < least + 5000, `${dtype}: ${packed.bytes}`);
    packed.free();
    const before = engine.memoryBytes;
    for (let at = 0; at < 5; at++) (await packLinear(weight, { dtype, engine })).free();
    assertEquals(engine.memoryBytes, before);
  }
}, { needs: ["layers", "linearMemory"] });

contract("a weight that is freed while a call runs is there until it ends", async (engine) => {
  const random = seeded(17), n = 200, weight = tensor(normals(n * n, random), [n, n]);
  const x = tensor(normals(300 * n, random), [300, n]);
  const packed = await packLinear(weight, { engine });
  const expected = (await linear(x, packed)).out.data;
  const running = linear(x, packed);
  packed.free();
  const other = await packLinear(tensor(new Float32Array(n * n), [n, n]), { engine });
  assertSameBits((await running).out.data, expected);
  const error = await errorOf(() => linear(x, packed)) as Error;
  assertEquals([error.constructor, error.message], [
    TypeError,
    "Cannot use a tensor after `free()`",
  ]);
  other.free();
}, { daily: 1 / 3, needs: "layers" });
