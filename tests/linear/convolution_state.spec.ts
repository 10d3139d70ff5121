import { type Engine, type HostData, type Layout, type Tensor, tensor } from "@flashtile/attention";
import {
  createDynamicConvolutionState,
  createLightweightConvolutionState,
  type DynamicConvolutionState,
  type LightweightConvolutionState,
} from "@flashtile/attention/linear";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { type ConvolutionCall, denseOf, functions, randomCall } from "../support/convolution.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { contiguousStrides } from "../../src/tensor/tensor.ts";
import { normals, seeded, whole } from "../support/random.ts";
import { stored } from "../support/storage.ts";

/** Rows of a tensor of any rank, where they are. */
function rowsOf(one: Tensor<HostData>, from: number, to: number, layout: Layout): Tensor<HostData> {
  const { shape, strides = contiguousStrides(shape), offset = 0 } = one, rank = shape.length;
  const axis = rank === 2 || layout === "bnhd" ? Math.max(0, rank - 3) : rank - 2;
  return {
    ...one,
    shape: shape.map((extent, at) => at === axis ? to - from : extent),
    strides,
    offset: offset + from * strides[axis],
  };
}

/** A state for a call, and its steps. */
function open(engine: Engine, { name, weights, options: { layout } }: ConvolutionCall) {
  const lightweight = name === "lightweightConvolution";
  const state = lightweight
    ? createLightweightConvolutionState(weights, { layout, engine })
    : createDynamicConvolutionState({ layout, engine });
  const step = (v: Tensor<HostData>, own: Tensor<HostData>, options = {}) =>
    (lightweight
      ? (state as LightweightConvolutionState).step(v, options)
      : (state as DynamicConvolutionState).step(v, own, options)) as Promise<{
        out: Tensor<HostData>;
      }>;
  return { state, step };
}

/** Runs a call in steps that end at some rows; the result of each, by row of each head. */
async function inSteps(engine: Engine, call: ConvolutionCall, ends: readonly number[]) {
  const { extents: [B, H, , D], v, weights, options: { layout } } = call;
  const { state, step } = open(engine, call), results: Float32Array[] = [];
  let from = 0;
  for (const to of ends) {
    const { out } = await step(rowsOf(v, from, to, layout), rowsOf(weights, from, to, layout));
    results.push(denseOf(out, [B, H, to - from, D], layout));
    from = to;
  }
  state.close();
  return results;
}

contract(
  "steps give the bits of the causal convolution of all rows so far",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const call = randomCall(seed, { causal: true }), { random, options: { layout } } = call;
        const [B, H, N, D] = call.extents, ends: number[] = [], most = whole(random, 1, 200);
        while ((ends.at(-1) ?? 0) < N) {
          ends.push(Math.min(N, (ends.at(-1) ?? 0) + whole(random, 0, most)));
        }
        const few = ends.slice(0, 12), causal = { causal: true, layout, engine };
        const { out } = await functions[call.name](call.v, call.weights, causal);
        const expected = denseOf(out as Tensor<HostData>, call.extents, layout);
        const results = await inSteps(engine, call, few);
        let from = 0;
        for (const [index, to] of few.entries()) {
          const rows = Array.from(
            { length: B * H },
            (_, head) => expected.subarray((head * N + from) * D, (head * N + to) * D),
          );
          const wanted = rows.flatMap((one) => Array.from(one));
          assertSameBits(results[index], wanted, `rows ${from} to ${to}`);
          from = to;
        }
      }),
      runs(250),
    );
  },
  { daily: 1 },
);

contract("steps of one row, of any storage, are those of all rows", async (engine) => {
  const N = 70, D = 12, W = 31, dtypes = ["f32", "f16", "bf16"] as const;
  const weights = tensor(normals(2 * W, seeded(2)), [2, W]);
  const numbers = normals(2 * N * D, seeded(1)).map((x) => Math.round(x * 16) / 16);
  const v = tensor(numbers, [2, N, D]), causal = { causal: true, engine };
  const { out } = await functions.lightweightConvolution(v, weights, causal);
  const state = createLightweightConvolutionState(weights, { engine });
  for (let n = 0; n < N; n++) {
    const one = rowsOf(v, n, n + 1, "bhnd"), row = one.offset!;
    const both = [0, N * D].flatMap((at) => Array.from(numbers.subarray(row + at, row + at + D)));
    const given = stored({ data: Float32Array.from(both), shape: [2, 1, D] }, dtypes[n % 3]);
    const room = tensor(new Float32Array(2 * D), [2, 1, D]);
    assertEquals((await state.step(given, { out: room })).out, room);
    for (const head of [0, 1]) {
      const at = (head * N + n) * D;
      assertSameBits(room.data.subarray(head * D, head * D + D), out.data.subarray(at, at + D));
    }
  }
  state.close();
});

contract("memory does not grow with the steps, and states give it back", async (engine) => {
  const weights = tensor(new Float32Array(8 * 127), [8, 127]),
    v = tensor(new Float32Array(512), [8, 1, 64]);
  let bytes = 0;
  for (let time = 0; time < 40; time++) {
    const state = createLightweightConvolutionState(weights, { engine });
    for (let token = 0; token < 5; token++) await state.step(v);
    if (time < 2) bytes = engine.memoryBytes;
    assertEquals(engine.memoryBytes, bytes);
    state.close();
  }
}, { needs: "linearMemory" });

contract("a step that fails leaves the state as it was", async (engine) => {
  const v = tensor(normals(40 * 4, seeded(1)), [40, 4]),
    weights = tensor(normals(5, seeded(2)), [1, 5]);
  const { out } = await functions.lightweightConvolution(v, weights, { causal: true, engine });
  const state = createLightweightConvolutionState(weights, { engine });
  const reason = new Error("enough"), signal = AbortSignal.abort(reason);
  const failing = () => errorOf(() => state.step(rowsOf(v, 7, 30, "bhnd"), { signal }));
  assertEquals(await failing(), reason);
  for (const [from, to] of [[0, 10], [10, 11], [11, 11], [11, 40]]) {
    assertEquals(await failing(), reason);
    const { out: own } = await state.step(rowsOf(v, from, to, "bhnd"));
    assertSameBits(own.data as Float32Array, out.data.subarray(from * 4, to * 4), `from ${from}`);
  }
  state.close();
});

const stepping = "Cannot compute `step()`: ";

contract("a closed state refuses steps", async (engine) => {
  const v = tensor(new Float32Array(8), [2, 4]), weights = tensor(new Float32Array(3), [1, 3]);
  const message = `${stepping}the state was closed`;
  for (const end of ["close", Symbol.dispose] as const) {
    const one = createLightweightConvolutionState(weights, { engine });
    const other = createDynamicConvolutionState({ engine });
    await one.step(v);
    one[end](), one.close(), other[end](), other.close();
    await assertRefused(() => one.step(v), Error, message);
    await assertRefused(() => other.step(v, tensor(new Float32Array(6), [2, 3])), Error, message);
  }
});

contract(
  "steps follow one another, and those before close() are done",
  async (engine) => {
    const v = tensor(new Float32Array(12).fill(3), [3, 4]),
      weights = tensor(new Float32Array(3), [1, 3]);
    const state = createLightweightConvolutionState(weights, { engine });
    const gone = AbortSignal.abort(new Error("gone"));
    const [first, aborted, last] = [
      state.step(v),
      state.step(v, { signal: gone }),
      state.step(v),
    ];
    const numbers = async (step: typeof first) => Array.from((await step).out.data, Math.round);
    assertEquals(await numbers(first), [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    assertEquals(await errorOf(() => aborted), gone.reason);
    assertEquals(await numbers(last), new Array(12).fill(3));
    const before = [state.step(v), state.step(v)];
    state.close();
    for (const step of before) assertEquals(await numbers(step), new Array(12).fill(3));
    await assertRefused(() => state.step(v), Error, `${stepping}the state was closed`);
  },
);

contract("steps are of one shape", async (engine) => {
  const state = createDynamicConvolutionState({ engine });
  const step = (shape: number[], width: number) => {
    const make = (last: number) => {
      const own = [...shape.slice(0, 3), last];
      return tensor(new Float32Array(own.reduce((a, b) => a * b)), own);
    };
    return state.step(make(shape[3]), make(width));
  };
  await step([2, 3, 4, 5], 7);
  for (
    const [shape, width, axis, was, got] of [
      [[1, 3, 4, 5], 7, "B", 2, 1],
      [[2, 2, 4, 5], 7, "H", 3, 2],
      [[2, 3, 4, 6], 7, "D", 5, 6],
      [[2, 3, 4, 5], 8, "W", 7, 8],
    ] as const
  ) {
    const message = `${stepping}${axis} must be ${was} as in the steps before, got ${got}`;
    await assertRefused(() => step([...shape], width), RangeError, message);
  }
  await step([2, 3, 1, 5], 7);
  state.close();
});

contract("a state keeps weights that were freed until it is closed", async (engine) => {
  const weights = engine.tensor([1, 3]), v = tensor(new Float32Array(4).fill(3), [1, 4]);
  const state = createLightweightConvolutionState(weights, { engine });
  weights.free();
  const taken = engine.tensor([1, 3]);
  taken.data.fill(NaN);
  assertEquals(Array.from((await state.step(v)).out.data, Math.round), [1, 1, 1, 1]);
  state.close();
  taken.free();
}, { needs: "hostTensors" });

contract(
  "what a step reads is its own to the end, also when all is closed and freed",
  async (engine) => {
    const weights = engine.tensor([1, 3]), v = engine.tensor([1, 4]);
    v.data.fill(3);
    const state = createLightweightConvolutionState(weights, { engine });
    await state.step(v);
    const last = state.step(v);
    state.close(), weights.free(), v.free();
    const taken = [[1, 3], [1, 4], [1, 1, 2, 4]].map((shape) => engine.tensor(shape));
    for (const { data } of taken) data.fill(NaN);
    assertEquals(Array.from((await last).out.data, Math.round), [2, 2, 2, 2]);
    for (const one of taken) one.free();
  },
  { needs: "hostTensors" },
);

contract("states and steps refuse bad input", async (engine) => {
  const weights = tensor(new Float32Array(3), [1, 3]), v = tensor(new Float32Array(4), [1, 4]);
  const make = (given: unknown, options: object = {}) => () =>
    createLightweightConvolutionState(given as Tensor, { engine, ...options });
  const cannot = "Cannot compute `createLightweightConvolutionState()`: ";
  assertThrows(make(null), TypeError, `${cannot}\`weights\` must be { data, shape }, got null`);
  assertThrows(make(v.data), TypeError, `${cannot}\`weights\` is a bare Float32Array`);
  assertThrows(
    make(tensor(new Float32Array(128), [1, 128])),
    RangeError,
    `${cannot}\`weights\` must have W from 1 to 127, got 128`,
  );
  assertThrows(
    make(tensor(new Float32Array(3), [3])),
    RangeError,
    `${cannot}\`weights\` must have shape [H, W], got [3]`,
  );
  assertThrows(
    make(weights, { causal: false }),
    TypeError,
    `${cannot}unknown option \`causal\`, known are layout, engine`,
  );
  assertThrows(make(weights, { layout: 1 }), TypeError, `${cannot}\`layout\` must be one of`);
  assertThrows(make(weights, { engine: 1 }), TypeError, `${cannot}\`engine\` must be what`);
  const state = createLightweightConvolutionState(weights, { engine });
  const refused = async (given: unknown, options: unknown, message: string) => {
    const error = await errorOf(() => state.step(given as Tensor, options as object)) as Error;
    assert(error.message.startsWith(stepping + message), error.message);
  };
  await refused(null, {}, "`v` must be { data, shape }, got null");
  await refused(
    tensor(new Float32Array(8), [2, 1, 4]),
    {},
    "`weights` must have shape [H, W] with H = 2",
  );
  await refused(v, { causal: true }, "unknown option `causal`, known are out, signal");
  await refused(v, { out: weights }, "`out` must have shape [1,4], got [1,3]");
  assertEquals((await state.step(v)).out.shape, [1, 4]);
  state.close();
});

contract("a state of a closed engine says so", async (engine) => {
  const weights = tensor(new Float32Array(3), [1, 3]), v = tensor(new Float32Array(4), [1, 4]);
  const state = createLightweightConvolutionState(weights, { engine });
  await state.step(v);
  await engine.close();
  const refused = await errorOf(() => state.step(v)) as Error;
  assertEquals(refused.message, "Cannot use an engine after `close()`");
  state.close();
  assertThrows(() => createDynamicConvolutionState({ engine }), Error, "after `close()`");
});

test("a state without an engine is on the one that all share", async () => {
  const state = createDynamicConvolutionState(), one = tensor(Float32Array.of(2), [1, 1]);
  const weights = tensor(new Float32Array(2), [1, 2]);
  assertEquals((await state.step(one, weights)).out.data, Float32Array.of(1));
  assertEquals((await state.step(one, weights)).out.data, Float32Array.of(2));
  state.close();
});
