import { type Engine, type HostData, type Tensor, tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import {
  bandOf,
  type ConvolutionCall,
  denseOf,
  denseWeights,
  exact,
  exactGradients,
  functions,
  naive,
  naiveGradients,
  names,
  oneOf,
  randomCall,
  twins,
} from "../support/convolution.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { familyCases } from "../support/family.ts";
import { count, type Extents, placesOf, written } from "../support/problem.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { residentOf } from "../support/resident.ts";
import { spread } from "../support/softmax.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

/** Runs a call as it is written. */
function run(engine: Engine, { name, v, weights, options }: ConvolutionCall, more: object = {}) {
  return functions[name](v, weights, { ...options, ...more, engine }) as Promise<
    { out: Tensor<HostData> }
  >;
}

/** The numbers of a result, by row of each head. */
function resultOf({ extents, options: { layout } }: ConvolutionCall, out: Tensor<HostData>) {
  return denseOf(out, extents, layout);
}

const cases = familyCases.flatMap(({ kind, ...one }) =>
  kind === "lightweightConvolution" || kind === "dynamicConvolution" ? [{ kind, ...one }] : []
);

contract("convolutions give what PyTorch does", async (engine) => {
  assert(new Set(cases.map(({ kind }) => kind)).size === 2);
  for (const { kind, name, options, inputs: { v, weights }, results } of cases) {
    const { out } = await functions[kind](v, weights, { ...options, engine });
    assertEquals(out.shape, results.out.shape);
    const errors = measure(out.data, out.data, results.out.data);
    assert(errors.ours <= 4e-7 * errors.largest, `${kind} ${name}: ${errors.ours}`);
  }
});

contract("gradients of convolutions are those of PyTorch", async (engine) => {
  for (const { kind, name, options, inputs: { v, weights }, dOut, gradients } of cases) {
    const { backward } = await twins[kind](v, weights, { ...options, engine });
    const { dv, dWeights } = await backward(dOut);
    for (const [got, wanted] of [[dv, gradients.v], [dWeights, gradients.weights]] as const) {
      assertEquals(got.shape, wanted.shape);
      const errors = measure(got.data, got.data, wanted.data);
      assert(errors.ours <= 1e-6 * errors.largest, `${kind} ${name}: ${errors.ours}`);
    }
  }
}, { needs: "rowGradients" });

contract(
  "convolutions are as exact as the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const call = randomCall(seed), { out } = await run(engine, call);
        assertEquals([out.shape, out.dtype], [call.v.shape, call.v.dtype]);
        const expected = exact(call), plain = naive(call);
        const errors = measure(resultOf(call, out), plain.numbers, expected);
        assertWithinBudget(call.name, errors, bandOf(expected, plain, out.dtype));
      }),
      runs(600),
    );
  },
  { daily: 1 / 3 },
);

contract(
  "gradients of convolutions are as exact as the plain formulas",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const call = randomCall(seed), { name, v, weights, options, extents, rank, random } = call;
        const numbers = normals(count(extents), random);
        const given = spread(numbers, written(extents, rank, options.layout), "f32", random);
        const { backward } = await twins[name](v, weights, { ...options, engine });
        const { dv, dWeights } = await backward(given);
        assertEquals([dv.shape, dv.dtype], [v.shape, v.dtype]);
        assertEquals([dWeights.shape, dWeights.dtype], [weights.shape, weights.dtype]);
        const dOut = denseOf(given, extents, options.layout);
        const wanted = exactGradients(call, dOut), plain = naiveGradients(call, dOut);
        const ours = { dv: resultOf(call, dv), dWeights: denseWeights(call, dWeights) };
        for (const [which, dtype] of [["dv", v.dtype], ["dWeights", weights.dtype]] as const) {
          const own = plain[which], exact = wanted[which];
          const errors = measure(ours[which], own.numbers, exact, rootMeanSquare);
          assertWithinBudget(`${name} ${which}`, errors, bandOf(exact, own, dtype));
        }
      }),
      runs(500),
    );
  },
  { daily: 1 / 3, needs: "rowGradients" },
);

contract("what all taps' products have in common leaves no gradient behind", async (engine) => {
  const extents: Extents = [1, 1, 4096, 16], [, , N, D] = extents, random = seeded(7);
  const options = { engine, causal: true };
  for (const W of [2, 3, 7, 31]) {
    // Sums of products are some 65,536 each, exactly, and differ by little.
    const nearOne = () => Float32Array.from({ length: N * D }, () => 1 + whole(random, 0, 1) / 64);
    const v = tensor(nearOne(), extents), dOut = tensor(nearOne(), extents);
    const weights = tensor(normals(W, random), [1, W]);
    const { backward } = await twins.lightweightConvolution(v, weights, options);
    const { dWeights } = await backward(dOut);
    const call: ConvolutionCall = {
      ...{ name: "lightweightConvolution", v, weights, extents, width: W, rank: 4, random },
      options: { causal: true, layout: "bhnd" },
    };
    const wanted = exactGradients(call, dOut.data).dWeights;
    const errors = measure(dWeights.data, dWeights.data, wanted);
    assert(errors.ours <= 1e-6 * errors.largest, `${W} taps: ${errors.ours} of ${errors.largest}`);
  }
}, { daily: 1 / 3, needs: "rowGradients" });

contract("tensors of the engine's, and arrays, give the same bits", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, fc.integer({ min: 1, max: 7 }), async (seed, which) => {
      const call = randomCall(seed), { out: plain } = await run(engine, call);
      const held: { free(): void }[] = [];
      const place = (one: Tensor<HostData>, bit: number) => {
        if ((which & bit) === 0) return one;
        held.push(residentOf(engine, one));
        return held.at(-1) as Tensor<HostData> & { free(): void };
      };
      const dtype = oneOf(call.random, ["f32", "f16", "bf16"] as const);
      const room = spread(new Float32Array(count(call.extents)), call.v.shape, dtype, call.random);
      const apart = await run(engine, call, { out: { ...room, data: room.data.slice() } });
      const out = place(room, 4);
      const result = await run(
        engine,
        { ...call, v: place(call.v, 1), weights: place(call.weights, 2) },
        { out },
      );
      assertEquals(result.out === out, true);
      assertSameBits(resultOf(call, out), resultOf(call, apart.out));
      if (dtype === call.v.dtype) assertSameBits(resultOf(call, out), resultOf(call, plain));
      for (const one of held) one.free();
    }),
    runs(150),
  );
}, { needs: "hostTensors" });

contract("convolutions write into `out` of any strides, and nothing beside it", async (engine) => {
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const call = randomCall(seed), { out: plain } = await run(engine, call);
      const dtype = call.v.dtype!, mark = dtype === "f32" ? 12345 : 0x1234;
      const room = spread(new Float32Array(count(call.extents)), call.v.shape, dtype, call.random);
      room.data.fill(mark);
      await run(engine, call, { out: room });
      assertSameBits(resultOf(call, room), resultOf(call, plain));
      const places = new Set(placesOf(room));
      room.data.forEach((x, at) => places.has(at) || assertEquals(x, mark));
    }),
    runs(100),
  );
});

contract("a convolution is right where `out` lies over what it reads", async (engine) => {
  for (const name of names) {
    for (const [at, outAt] of [[0, 0], [0, 24], [24, 0], [7, 0]]) {
      const data = normals(700, seeded(1)), shape = [3, 20, 8], W = 5;
      const v = { data, shape, offset: at }, out = { data, shape, offset: outAt };
      const ofWeights = name === "dynamicConvolution" ? [3, 20, W] : [3, W];
      const weights = { data, shape: ofWeights, offset: 100 };
      const copy = (one: Tensor) => ({ ...one, data: one.data.slice() });
      const apart = await functions[name](copy(v), copy(weights), { engine });
      await functions[name](v, weights, { out, engine });
      assertSameBits(data.subarray(outAt, outAt + 480), apart.out.data, `${name} ${at} ${outAt}`);
    }
  }
});

contract(
  "rows that are not finite spoil those whose taps are on them, and no others",
  async (engine) => {
    const N = 150, W = 7;
    for (const name of names) {
      for (const causal of [true, false]) {
        for (const [bad, D] of [[NaN, 8], [Infinity, 8], [NaN, 5]]) {
          for (const at of [0, 3, 66, 149]) {
            const v = tensor(normals(N * D, seeded(2)), [N, D]);
            v.data.fill(bad, at * D, at * D + D);
            const ofWeights = name === "dynamicConvolution" ? [N, W] : [1, W];
            const weights = tensor(normals(count(ofWeights), seeded(3)), ofWeights);
            const { out } = await functions[name](v, weights, { causal, engine });
            const first = causal ? at : at - 3;
            for (let i = 0; i < N; i++) {
              const isOn = i >= first && i < first + W;
              assertEquals(Number.isFinite(out.data[i * D]), !isOn, `${name} ${bad} ${at} ${i}`);
            }
          }
        }
      }
    }
  },
);

contract("a weight that is not finite spoils its own rows", async (engine) => {
  const v = tensor(normals(9 * 4, seeded(2)), [9, 4]),
    weights = tensor(new Float32Array(27), [9, 3]);
  weights.data[4 * 3 + 1] = NaN;
  weights.data[7 * 3] = Infinity;
  const { out } = await functions.dynamicConvolution(v, weights, { engine });
  for (let i = 0; i < 9; i++) assertEquals(Number.isNaN(out.data[i * 4]), i === 4 || i === 7);
});

contract("taps of -Infinity do not count; rows without any are 0", async (engine) => {
  const v = tensor(Float32Array.of(1, 3, 5), [3, 1]), none = -Infinity;
  const weights = tensor(Float32Array.of(0, none, none, none, 0, 0), [3, 2]);
  const { out } = await functions.dynamicConvolution(v, weights, { causal: true, engine });
  assertEquals(Array.from(out.data), [0, 0, 4]);
});

contract("taps beyond the ends have no part in gradients that are not finite", async (engine) => {
  const v = tensor(Float32Array.of(1, 1, 1), [3, 1]), inf = Infinity;
  const weights = tensor(new Float32Array(9), [3, 3]),
    dOut = tensor(Float32Array.of(inf, 0, 0), [3, 1]);
  const { backward } = await twins.dynamicConvolution(v, weights, { causal: true, engine });
  const { dWeights } = await backward(dOut);
  assertEquals(Array.from(dWeights.data), [-inf, -inf, NaN, 0, 0, 0, 0, 0, 0]);
}, { needs: "rowGradients" });

contract("errors of summed gradients do not grow with the number of rows", async (engine) => {
  const N = 100_000, W = 3, ones = tensor(new Float32Array(N).fill(0.1), [N, 1]);
  const v = tensor(new Float32Array(N).fill(0.3), [N, 1]);
  const weights = tensor(Float32Array.of(0, 1, 0), [1, W]);
  const { backward } = await twins.lightweightConvolution(v, weights, { engine });
  const { dWeights } = await backward(ones);
  // Taps beyond the ends are all that differs.
  const p = [0, 1, 0].map((w) => Math.exp(w) / (2 + Math.E)),
    x = Math.fround(0.3) * Math.fround(0.1);
  const sums = [x * (N - 1), x * N, x * (N - 1)];
  const mean = sums.reduce((sum, s, t) => sum + s * p[t], 0);
  sums.forEach((s, t) => {
    const error = Math.abs(dWeights.data[t] - p[t] * (s - mean));
    assert(error <= 2e-7 * x * N, `${t}: ${error}`);
  });
}, { needs: "rowGradients" });

contract(
  "the number of threads does not change a bit of a convolution",
  async (engine, { threads }) => {
    if (threads === 1) return;
    const { createEngine } = await import("@flashtile/attention");
    const alone = await createEngine({ backend: "wasm", threads: 1 });
    try {
      for (const name of names) {
        const v = tensor(normals(3 * 1500 * 40, seeded(6)), [3, 1500, 40]);
        const ofWeights = name === "dynamicConvolution" ? [3, 1500, 31] : [3, 31];
        const weights = tensor(normals(count(ofWeights), seeded(7)), ofWeights);
        const all = async (engine: Engine) => {
          const { out, backward } = await twins[name](v, weights, { engine });
          const { dv, dWeights } = await backward(out);
          return [out, dv, dWeights];
        };
        const ours = await all(engine), theirs = await all(alone);
        ours.forEach(({ data }, at) => assertSameBits(data, theirs[at].data, `${name} ${at}`));
      }
    } finally {
      await alone.close();
    }
  },
  { daily: 1 / 3, needs: "linearMemory" },
);

const v = tensor(new Float32Array(2 * 3 * 5 * 4), [2, 3, 5, 4]);
const shared = tensor(new Float32Array(9), [3, 3]);
const byRow = tensor(new Float32Array(2 * 3 * 5 * 3), [2, 3, 5, 3]);
const right = { lightweightConvolution: shared, dynamicConvolution: byRow };

/** What both refuse; where weights are not said, right ones. */
const refusals: readonly [
  what: string,
  given: { readonly v?: unknown; readonly weights?: unknown; readonly options?: unknown },
  error: new (...given: never[]) => Error,
  message: string,
][] = [
  ["a bare array", { v: new Float32Array(3) }, TypeError, "`v` is a bare Float32Array"],
  ["no values", { v: null }, TypeError, "`v` must be { data, shape }, got null"],
  ["no weights", { weights: null }, TypeError, "`weights` must be { data, shape }, got null"],
  ["rank 1", { v: tensor(new Float32Array(3), [3]) }, RangeError, "`v` must have rank 2 [N, D]"],
  [
    "no heads",
    { v: { data: new Float32Array(0), shape: [2, 0, 5, 4] } },
    RangeError,
    "`v` must have H of at least 1, got 0",
  ],
  [
    "no columns",
    { v: { data: new Float32Array(0), shape: [2, 3, 5, 0] } },
    RangeError,
    "`v` must have D of at least 1, got 0",
  ],
  [
    "too many columns",
    { v: { data: new Float32Array(1), shape: [1, 1, 1, 2 ** 20 + 1], strides: [0, 0, 0, 0] } },
    RangeError,
    "`v` must have D of at most 1048576, got 1048577",
  ],
  [
    "too many heads",
    { v: { data: new Float32Array(0), shape: [4, 2 ** 21, 0, 4] } },
    RangeError,
    "`v` must have B times H of at most 4194304",
  ],
  [
    "too little data",
    { v: { data: new Float32Array(119), shape: [2, 3, 5, 4] } },
    RangeError,
    "needs 120 elements",
  ],
  [
    "weights of one axis",
    { weights: tensor(new Float32Array(3), [3]) },
    RangeError,
    "`weights` must have shape [",
  ],
  [
    "weights of other heads",
    { weights: tensor(new Float32Array(6), [2, 3]) },
    RangeError,
    "`weights` must have shape [",
  ],
  ["causal as a word", { options: { causal: "top-left" } }, TypeError, "`causal` must be one of"],
  ["causal of 1", { options: { causal: 1 } }, TypeError, "`causal` must be one of true, false"],
  ["a layout", { options: { layout: "bdhn" } }, TypeError, "`layout` must be one of"],
  [
    "a result of another shape",
    { options: { out: tensor(new Float32Array(120), [2, 5, 3, 4]) } },
    RangeError,
    "`out` must have shape [2,3,5,4], got [2,5,3,4]",
  ],
  [
    "a result of one row",
    { options: { out: { ...v, strides: [60, 20, 0, 1] } } },
    RangeError,
    "`out` with strides [60,20,0,1] may write an element twice",
  ],
  ["an unknown option", { options: { width: 3 } }, TypeError, "unknown option `width`"],
  ["options that are none", { options: 3 }, TypeError, "options must be an object, got 3"],
  ["no engine", { options: { engine: {} } }, TypeError, "`engine` must be what `createEngine()`"],
];

/** The same of the number of taps. */
const badWidths: readonly [width: number, causal: boolean, message: string][] = [
  [0, true, "`weights` must have W from 1 to 127, got 0"],
  [128, true, "`weights` must have W from 1 to 127, got 128"],
  [129, false, "`weights` must have W from 1 to 127, got 129"],
  [4, false, "`weights` must have an odd W, so that there is a middle tap, got 4; or ask for"],
];

contract("convolutions refuse bad input, take no memory, and work afterwards", async (engine) => {
  for (const name of names) {
    const run = (given: { v?: unknown; weights?: unknown; options?: unknown }) => {
      const { v: values = v, weights = right[name], options = {} } = given;
      const asked = typeof options === "object" ? { engine, ...options } : options;
      return functions[name](values as Tensor, weights as Tensor, asked as object);
    };
    const refuses = async (
      given: Parameters<typeof run>[0],
      error: new (...given: never[]) => Error,
      message: string,
    ) => {
      const refused = await errorOf(() => run(given)) as Error;
      assert(refused instanceof error && refused.message.includes(message), `${refused}`);
      assert(refused.message.startsWith(`Cannot compute \`${name}()\`: `), refused.message);
      assertEquals(engine.memoryBytes, bytes, message);
    };
    const expected = (await run({})).out.data, bytes = engine.memoryBytes;
    for (const [, given, error, message] of refusals) {
      await refuses("v" in given || "weights" in given ? given : { ...given }, error, message);
    }
    for (const [W, causal, message] of badWidths) {
      const shape = name === "dynamicConvolution" ? [2, 3, 5, W] : [3, W];
      const weights = { data: new Float32Array(count(shape)), shape };
      await refuses({ weights, options: { causal } }, RangeError, message);
    }
    assertSameBits((await run({})).out.data, expected);
  }
});

contract(
  "weights of rows are refused in another rank, layout or number of rows",
  async (engine) => {
    const call = (weights: Tensor) => functions.dynamicConvolution(v, weights, { engine });
    const message = (got: string) =>
      `Cannot compute \`dynamicConvolution()\`: \`weights\` must have shape [2,3,5,W], got [${got}]`;
    for (const shape of [[3, 3], [3, 5, 3], [2, 5, 3, 3], [2, 3, 6, 3], [1, 3, 5, 3]]) {
      const weights = tensor(new Float32Array(count(shape)), shape);
      await assertRefused(() => call(weights), RangeError, message(`${shape}`));
    }
  },
);

/** What looks like a buffer on a GPU. */
function bufferOf(shape: readonly number[]): Tensor<never> {
  const data = { mapAsync() {}, usage: 0x80, size: count(shape) * 4 };
  return { data: data as never, shape, dtype: "f32" };
}

contract("a buffer is not written while it is read", async (engine) => {
  const values = bufferOf([3, 4]), weights = bufferOf([3, 3]);
  for (const [name, data] of [["v", values.data], ["weights", weights.data]]) {
    const out = { ...values, data: data as never };
    await assertRefused(
      () =>
        functions.dynamicConvolution({ ...values, shape: [3, 3] }, weights, {
          out: { ...out, shape: [3, 3] },
          engine,
        }),
      RangeError,
      `Cannot compute \`dynamicConvolution()\`: \`out\` must be another GPUBuffer than \`${name}\`, ` +
        "a GPU cannot read and write one in one pass",
    );
  }
});

contract("gradients refuse buffers of a GPU", async (engine) => {
  const message = (name: string) =>
    `Cannot compute \`dynamicConvolutionWithGradient()\`: \`${name}\` is a GPUBuffer, ` +
    "gradients are computed on the CPU";
  for (
    const [name, given] of [["v", [bufferOf(v.shape), byRow]], ["weights", [
      v,
      bufferOf(byRow.shape),
    ]]] as const
  ) {
    const call = () => twins.dynamicConvolution(given[0] as Tensor, given[1] as Tensor, { engine });
    await assertRefused(call, TypeError, message(name));
  }
}, { needs: "rowGradients" });

contract("a convolution ends when its signal aborts, and gives its memory back", async (engine) => {
  const big = tensor(new Float32Array(3e6), [3, 20_000, 50]);
  for (const name of names) {
    const ofWeights = name === "dynamicConvolution" ? [3, 20_000, 5] : [3, 5];
    const weights = tensor(new Float32Array(count(ofWeights)), ofWeights);
    const { backward } = await twins[name](big, weights, { engine });
    await backward(big);
    const bytes = engine.memoryBytes, reason = new Error("enough");
    const call = (signal: AbortSignal) => functions[name](big, weights, { engine, signal });
    assertEquals(await errorOf(() => call(AbortSignal.abort(reason))), reason);
    const later = () => {
      let looks = 0;
      return {
        reason,
        get aborted() {
          return looks++ > 2;
        },
      } as AbortSignal;
    };
    assertEquals(await errorOf(() => call(later())), reason);
    assertEquals(await errorOf(() => backward(big, { signal: later() })), reason);
    for (let time = 0; time < 2; time++) await backward(big);
    assertEquals(engine.memoryBytes, bytes);
  }
}, { daily: 1 / 3, needs: "linearMemory" });

contract(
  "a convolution uses its tensors from the call on, whatever happens to them",
  async (engine) => {
    const v = engine.tensor([1000, 4]), weights = engine.tensor([1, 3]);
    v.data.fill(1);
    const options = { causal: true, engine };
    const call = functions.lightweightConvolution(v, weights, options);
    options.causal = false;
    v.free(), weights.free();
    const grown = engine.tensor([3000, 1000]); // Memory grows.
    const { out } = await call;
    assertEquals([out.data[0], out.data[4]].map((x) => Math.round(x * 3)), [1, 2]);
    grown.free();
  },
  { needs: "hostTensors" },
);

contract("convolutions on a closed engine say so", async (engine) => {
  await engine.close();
  for (const name of names) {
    const refused = await errorOf(() => functions[name](v, right[name], { engine }));
    assertEquals((refused as Error).message, "Cannot use an engine after `close()`");
  }
});

contract("gradients refuse what is no gradient of the result", async (engine) => {
  const { backward } = await twins.lightweightConvolution(v, shared, { engine });
  await assertRefused(
    () => backward(tensor(new Float32Array(120), [2, 5, 3, 4])),
    RangeError,
    "Cannot differentiate: `dOut` must have shape [2,3,5,4], got [2,5,3,4]",
  );
  const refused = await errorOf(() => backward(v, { causal: true } as never));
  assert((refused as Error).message.includes("unknown option `causal`, known are signal"));
}, { needs: "rowGradients" });

contract("gradients of convolutions are of the CPU", async (engine, { name: backend }) => {
  for (const name of names) {
    const call = () => twins[name](v, right[name], { engine });
    if (backend !== "webgpu") await call();
    else {
      await assertRefused(
        call,
        Error,
        `Cannot compute \`${name}WithGradient()\`: the webgpu backend has no ` +
          `\`${name}WithGradient()\`; make the engine with { backend: "wasm" }`,
      );
    }
  }
});
