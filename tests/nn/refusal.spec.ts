import { BackendUnavailableError, createEngine, type Engine, tensor } from "@flashtile/attention";
import * as nn from "@flashtile/attention/nn";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { contract } from "../contract/backends.ts";
import { gpuTest, withGpu } from "../support/device.ts";
import { assertRefused, type ErrorClass, errorOf } from "../support/errors.ts";
import { fakeDevice } from "../support/fake_gpu.ts";

const zeros = (...shape: number[]) =>
  tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

const x = zeros(3, 8), wide = zeros(3, 9), vector = zeros(8);

type Given = { engine: Engine; weight: nn.PackedLinear };

/** A call that is refused, and what is said. */
type Refusal = readonly [act: (given: Given) => unknown, error: ErrorClass, message: string];

const linear: readonly Refusal[] = [
  [
    ({ weight }) => nn.linear(wide, weight),
    RangeError,
    "`x` must have 8 columns as `weight` has inputs, got shape [3,9]",
  ],
  [({ weight }) => nn.linear(8 as never, weight), TypeError, "`x` must be { data, shape }, got 8"],
  [
    ({ weight }) => nn.linear({ data: new Float32Array(1), shape: [] }, weight),
    RangeError,
    "`x` must have at least one axis, got shape []",
  ],
  [
    () => nn.linear(x, zeros(4, 8) as never),
    TypeError,
    "`weight` must be what `packLinear()` of this copy of the library gave, got Object",
  ],
  [
    () => nn.linear(x, undefined as never),
    TypeError,
    "`weight` must be what `packLinear()` of this copy of the library gave, got undefined",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { bias: zeros(5) }),
    RangeError,
    "`bias` must have shape [4], got [5]",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { residual: zeros(4) }),
    RangeError,
    "`residual` must have shape [3,4], got [4]",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { out: zeros(3, 5) }),
    RangeError,
    "`out` must have shape [3,4], got [3,5]",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { out: { ...zeros(3, 4), strides: [0, 1] } }),
    RangeError,
    "`out` with strides [0,1] may write an element twice, each stride must step past all that the smaller ones reach",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { activation: "swish" as never }),
    TypeError,
    '`activation` must be one of "gelu", "gelu-tanh", "silu", "relu", "tanh", got "swish"',
  ],
  [
    ({ weight }) => nn.linear(x, weight, { precision: "int4" as never }),
    TypeError,
    '`precision` must be one of "f32", "int16", "int8", got "int4"',
  ],
  [
    ({ weight }) => nn.linear(x, weight, { precision: "int16" }),
    RangeError,
    '`precision: "int16"` needs a weight packed with `dtype` "int16" or "int8", this one is "f32"',
  ],
  [
    ({ weight }) => nn.linear(x, weight, { precision: "int8" }),
    RangeError,
    '`precision: "int8"` needs a weight packed with `dtype` "int8", this one is "f32"',
  ],
  [
    ({ weight }) => nn.linear(x, weight, { signal: 1 as never }),
    TypeError,
    "`signal` must be an AbortSignal, got 1",
  ],
  [
    ({ weight }) => nn.linear(x, weight, { dropout: 1 } as never),
    TypeError,
    "unknown option `dropout`, known are bias, activation, residual, precision, out, signal, engine; " +
    "leave it out: nothing is dropped",
  ],
];

const packing: readonly Refusal[] = [
  [
    () => nn.packLinear(zeros(8)),
    RangeError,
    "`weight` must have two axes of at least 1, got shape [8]",
  ],
  [
    () => nn.packLinear(zeros(0, 8)),
    RangeError,
    "`weight` must have two axes of at least 1, got shape [0,8]",
  ],
  [() => nn.packLinear(null as never), TypeError, "`weight` must be { data, shape }, got null"],
  [
    () => nn.packLinear(x, { dtype: "int4" as never }),
    TypeError,
    '`dtype` must be one of "f32", "f16", "bf16", "int16", "int8", got "int4"',
  ],
  [
    () => nn.packLinear(x, { layout: "io" as never }),
    TypeError,
    '`layout` must be one of "out-in", "in-out", got "io"',
  ],
  [
    () => nn.packLinear({ data: new Uint8Array(33), shape: [1, 32], dtype: "q8_0" }),
    RangeError,
    "`weight` of shape [1,32] must have 34 bytes of q8_0, got 33",
  ],
  [
    () => nn.packLinear({ data: new Uint8Array(34), shape: [1, 40], dtype: "q8_0" }),
    RangeError,
    "`weight` in blocks of 32 must have a multiple of that in a row, got 40",
  ],
  [
    () => nn.packLinear({ data: new Float32Array(34) as never, shape: [1, 32], dtype: "q4_0" }),
    TypeError,
    '`weight.data` must be a Uint8Array where `weight.dtype` is "q4_0", got Float32Array',
  ],
  [
    () => nn.packLinear({ data: new Uint8Array(34), shape: "1,32" as never, dtype: "q8_0" }),
    TypeError,
    '`weight.shape` must be [outputs, inputs], got "1,32"',
  ],
  [
    () =>
      nn.packLinear({ data: new Uint8Array(34), shape: [1, 32], dtype: "q8_0" }, {
        layout: "in-out",
      }),
    RangeError,
    '`weight` in blocks is kept as "int8" in the layout "out-in", got undefined and "in-out"',
  ],
  [
    () =>
      nn.packLinear({ data: new Uint8Array(34), shape: [1, 32], dtype: "q8_0" }, { dtype: "f32" }),
    RangeError,
    '`weight` in blocks is kept as "int8" in the layout "out-in", got "f32" and "out-in"',
  ],
  [
    () => nn.packLinear({ data: new Uint8Array(0), shape: [0, 32], dtype: "q8_0" }),
    RangeError,
    "`weight` must have two axes of at least 1, got shape [0,32]",
  ],
  [
    () => nn.packLinear({ ...zeros(1, 1), shape: [2 ** 12, 2 ** 20], strides: [0, 0] }),
    RangeError,
    `\`weight\` must have at most ${2 ** 20} inputs and 4 GiB, got [${2 ** 12}, ${
      2 ** 20
    }], which has ${2 ** 34 + 4} bytes as f32`,
  ],
  [
    () => nn.packLinear({ ...zeros(1, 1), shape: [1, 2 ** 21], strides: [0, 0] }),
    RangeError,
    `\`weight\` must have at most ${2 ** 20} inputs and 4 GiB, got [1, ${2 ** 21}], which has ${
      2 ** 21 * 32 * 4 + 4
    } bytes as f32`,
  ],
];

const norms: readonly Refusal[] = [
  [() => nn.layerNorm(x, zeros(9)), RangeError, "`weight` must have shape [8], got [9]"],
  [() => nn.layerNorm(x, vector, zeros(3, 8)), RangeError, "`bias` must have shape [8], got [3,8]"],
  [
    () => nn.layerNorm(x, null, null, { residual: wide }),
    RangeError,
    "`residual` must have shape [3,8], got [3,9]",
  ],
  [
    () => nn.layerNorm(x, null, null, { sum: zeros(3, 8) }),
    RangeError,
    "`sum` is for a call with a `residual`, there is none",
  ],
  [
    () => {
      const both = zeros(3, 8);
      return nn.layerNorm(x, null, null, { residual: x, sum: both, out: both });
    },
    RangeError,
    "`out` and `sum` must not share elements",
  ],
  [
    () => nn.layerNorm(x, null, null, { eps: -1 }),
    RangeError,
    "`eps` must be finite in f32 and at least 0, got -1",
  ],
  [
    () => nn.layerNorm(x, null, null, { eps: "1" as never }),
    RangeError,
    '`eps` must be finite in f32 and at least 0, got "1"',
  ],
  [
    () => nn.layerNorm(x, null, null, { eps: 1e300 }),
    RangeError,
    "`eps` must be finite in f32 and at least 0, got 1e+300",
  ],
];

const rows: Readonly<Record<string, readonly Refusal[]>> = {
  rmsNorm: [
    [
      () => nn.rmsNorm(x, null, { offset: Infinity }),
      RangeError,
      "`offset` must be finite in f32, got Infinity",
    ],
    [
      () => nn.rmsNorm(x, null, { offset: "1" as never }),
      RangeError,
      '`offset` must be finite in f32, got "1"',
    ],
  ],
  gelu: [[
    () => nn.gelu(x, { approximate: "erf" as never }),
    TypeError,
    '`approximate` must be one of "none", "tanh", got "erf"',
  ]],
  gated: [
    [() => nn.gated(x, wide), RangeError, "`up` must have shape [3,8], got [3,9]"],
    [
      () => nn.gated(x, x, { activation: "glu" as never }),
      TypeError,
      '`activation` must be one of "gelu", "gelu-tanh", "silu", "relu", "tanh", got "glu"',
    ],
  ],
  add: [[() => nn.add(x, vector), RangeError, "`b` must have shape [3,8], got [8]"]],
  embedding: [
    [
      () => nn.embedding([3], x),
      RangeError,
      "`ids` must be whole numbers from 0 to 2, the rows of `table`, got 3",
    ],
    [
      () => nn.embedding([0.5], x),
      RangeError,
      "`ids` must be whole numbers from 0 to 2, the rows of `table`, got 0.5",
    ],
    [
      () => nn.embedding([-1], x),
      RangeError,
      "`ids` must be whole numbers from 0 to 2, the rows of `table`, got -1",
    ],
    [
      () => nn.embedding("0" as never, x),
      TypeError,
      '`ids` must be an Int32Array or an array of numbers, got "0"',
    ],
    [() => nn.embedding([0], vector), RangeError, "`table` must have two axes, got shape [8]"],
    [
      () => nn.embedding([0], x, { scale: NaN }),
      RangeError,
      "`scale` must be finite in f32, got NaN",
    ],
    [
      () => nn.embedding([0], x, { scale: "2" as never }),
      RangeError,
      '`scale` must be finite in f32, got "2"',
    ],
    [
      () => nn.embedding([0], x, { out: zeros(2, 8) }),
      RangeError,
      "`out` must have shape [1,8], got [2,8]",
    ],
  ],
  meanRows: [
    [
      () => nn.meanRows(x, [0, 2]),
      RangeError,
      "`cuSeqlens` must rise from 0 to 3, the rows of `x`, got [0,2]",
    ],
    [
      () => nn.meanRows(x, [1, 3]),
      RangeError,
      "`cuSeqlens` must rise from 0 to 3, the rows of `x`, got [1,3]",
    ],
    [
      () => nn.meanRows(x, [0, 2, 1, 3]),
      RangeError,
      "`cuSeqlens` must rise from 0 to 3, the rows of `x`, got 1",
    ],
    [
      () => nn.meanRows(x, []),
      RangeError,
      "`cuSeqlens` must rise from 0 to 3, the rows of `x`, got []",
    ],
    [() => nn.meanRows(x, 3 as never), TypeError, "`cuSeqlens` must be an array of numbers, got 3"],
  ],
};

contract("layers refuse what does not fit, before anything is allocated", async (engine) => {
  const weight = await nn.packLinear(zeros(4, 8), { engine }), given = { engine, weight };
  const before = engine.memoryBytes;
  for (const [act, error, message] of linear) {
    await assertRefused(() => act(given), error, `Cannot compute \`linear()\`: ${message}`);
  }
  for (const [act, error, message] of packing) {
    await assertRefused(() => act(given), error, `Cannot pack a weight: ${message}`);
  }
  for (const [name, refusals] of Object.entries({ layerNorm: norms, ...rows })) {
    for (const [act, error, message] of refusals) {
      await assertRefused(() => act(given), error, `Cannot compute \`${name}()\`: ${message}`);
    }
  }
  assertEquals(engine.memoryBytes, before);
}, { needs: "layers" });

contract("a weight of another engine is refused", async (engine, backend) => {
  const other = await backend.make();
  const weight = await nn.packLinear(zeros(4, 8), { engine: other });
  await assertRefused(
    () => nn.linear(x, weight, { engine }),
    TypeError,
    "Cannot compute `linear()`: `weight` was packed for another engine, pack it with this `engine`",
  );
  await other.close();
  const closed = await errorOf(() => nn.linear(x, weight)) as Error;
  assertEquals(closed.message, "Cannot use an engine after `close()`");
}, { needs: "layers" });

contract(
  "calls that are aborted reject with the signal's reason, and leave no memory",
  async (engine) => {
    const weight = await nn.packLinear(zeros(600, 600), { engine }), reason = new Error("stop");
    const rows = zeros(2000, 600), aborted = AbortSignal.abort(reason);
    const calls = [
      () => nn.packLinear(zeros(4, 8), { engine, signal: aborted }),
      () => nn.linear(rows, weight, { signal: aborted }),
      () => nn.layerNorm(rows, null, null, { engine, signal: aborted }),
      () => nn.silu(rows, { engine, signal: aborted }),
      () => nn.embedding([1], rows, { engine, signal: aborted }),
      () => nn.meanRows(rows, [0, 2000], { engine, signal: aborted }),
    ];
    for (const call of calls) assertEquals(await errorOf(call), reason);
    await nn.linear(rows, weight);
    const before = engine.memoryBytes;
    for (let round = 0; round < 4; round++) {
      const controller = new AbortController(), running = nn.linear(rows, weight, controller);
      controller.abort(reason);
      assertEquals(await errorOf(() => running), reason);
    }
    assertEquals(engine.memoryBytes, before);
  },
  { daily: 1 / 3, needs: ["layers", "linearMemory"] },
);

contract("functions that return at once say what they lack", async (engine) => {
  await assertRefused(
    () => nn.siluSync(x, {} as never),
    TypeError,
    "Cannot compute `silu()`: `siluSync()` needs an `engine` among its options, of `createEngine()`",
  );
  const fresh = await errorOf(() => nn.siluSync(x, { engine })) as Error | undefined;
  assert(fresh === undefined || /await a call of it on this engine first$/.test(fresh.message));
  await nn.silu(x, { engine });
  assertEquals(nn.siluSync(x, { engine }).out.shape, [3, 8]);
}, { needs: ["layers", "attentionSync"] });

test("an engine of a GPU says which layers it lacks", async () => {
  const { device } = fakeDevice(), engine = await createEngine({ backend: "webgpu", device });
  await assertRefused(
    () => nn.packLinear(x, { engine, dtype: "int16" }),
    BackendUnavailableError,
    'Cannot use the webgpu backend: it keeps no weights as "int16"; pack them as "f16", or make the engine with ' +
      '{ backend: "wasm" }',
  );
  await assertRefused(
    () => nn.siluSync(x, { engine }),
    Error,
    "Cannot compute `silu()`: the webgpu backend has no `siluSync()`, use `silu()`",
  );
  await engine.close();
});

gpuTest("products by integers are for the CPU", async () => {
  await withGpu(async (engine) => {
    const weight = await nn.packLinear(zeros(4, 8), { engine, dtype: "int8" });
    await assertRefused(
      () => nn.linear(x, weight, { precision: "int8" }),
      BackendUnavailableError,
      'Cannot use the webgpu backend: it forms no products by `precision: "int8"`; leave it out, or make the ' +
        'engine with { backend: "wasm" }',
    );
    weight.free();
  });
});

test("layers without an engine run on the one that functions share", async () => {
  const weight = await nn.packLinear(zeros(4, 8));
  const { out } = await nn.linear(x, weight, { bias: tensor(Float32Array.of(1, 2, 3, 4), [4]) });
  assertEquals([...out.data.subarray(4, 8)], [1, 2, 3, 4]);
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  await assertRefused(
    () => nn.linear(x, weight, { engine }),
    TypeError,
    "Cannot compute `linear()`: `weight` was packed for another engine, pack it with this `engine`",
  );
  weight.free();
  await engine.close();
});
