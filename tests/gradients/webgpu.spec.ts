import {
  blockMask,
  type DType,
  type Engine,
  type HostTensor,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { readBackward } from "../../src/operations/backward/plan.ts";
import { HeldArray } from "../../src/tensor/arrays.ts";
import { broadcastOf, viewOf } from "../../src/tensor/tensor.ts";
import { backward } from "../../src/webgpu/backward/backward.ts";
import {
  backwardCode,
  biasGradientCode,
  deltaCode,
  gradientBytes,
  gradientTile,
  sinkGradientCode,
} from "../../src/webgpu/backward/variants.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { watch } from "../../src/webgpu/device/device.ts";
import { pipelineOf } from "../../src/webgpu/device/pipelines.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import type { Access } from "../../src/webgpu/shader/access.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedGpu, withGpu } from "../support/device.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { findGpu } from "../support/gpu.ts";
import {
  assertSameGradients,
  cotangentTensors,
  eachGradient,
  type GradientCall,
  gradientCall,
  gradientExpectation,
  type Gradients,
  gradientsOf,
} from "../support/gradients.ts";
import {
  count,
  inputsOf,
  type Meaning,
  randomProblem,
  shapesOf,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { stored } from "../support/storage.ts";

function zeros(shape: readonly number[]): Tensor {
  return { data: new Float32Array(count(shape)), shape };
}

/** What of a call's session a test chooses. */
interface Bounded {
  readonly bounds?: Partial<Bounds>;
  /** Multiply-adds of a submit. */
  readonly work?: number;
  readonly session?: Session;
}

/** The gradients in a session of its own, from the oracle's results; and how many pieces there were. */
async function run(
  { problem, meaning, cotangents }: GradientCall,
  { bounds, work = 1e12, session }: Bounded = {},
): Promise<{ gradients: Gradients<Float32Array>; pieces: number }> {
  const { q, k, v } = inputsOf(problem), { dOut, dLse } = cotangentTensors(problem, cotangents);
  const exact = referenceAttention(q, k, v, meaning);
  const [out, lse] = [exact.out, exact.lse].map(({ data, shape }) => ({
    data: Float32Array.from(data),
    shape,
  }));
  const { plan } = readBackward(dOut, q, k, v, { ...meaning, out, lse, dLse });
  const [dq, dk, dv] = [q, k, v].map(({ shape }) => zeros(shape));
  const dBias = meaning.bias && zeros(meaning.bias.shape);
  const dSinks = meaning.sinks && zeros(meaning.sinks.shape);
  const { B, Hq, Nq, Nk } = problem.sizes;
  const target = {
    ...{ dq: viewOf(dq, "bhnd"), dk: viewOf(dk, "bhnd"), dv: viewOf(dv, "bhnd") },
    dBias: dBias === undefined ? null : {
      ...broadcastOf(dBias, [B, Hq, Nq, Nk]),
      data: new HeldArray(dBias.data),
      dtype: "f32" as const,
    },
    dSinks: dSinks?.data ?? null,
    captured: new Map(),
  };
  const used = session ?? new Session(await sharedGpu(), bounds);
  used.work = work;
  let pieces = 0;
  try {
    await backward(used, plan, target, {}, () => pieces++); // Checks before each.
  } finally {
    if (session === undefined) used.close();
  }
  const gradients: Gradients<Tensor> = {
    ...{ dq, dk, dv },
    ...(dBias && { dBias }),
    ...(dSinks && { dSinks }),
  };
  return { gradients: eachGradient(gradients, ({ data }) => data), pieces };
}

/** Bits for scores, of which about two in three are set. */
function bitMask(shape: readonly number[], seed: number) {
  const random = seeded(seed), length = Math.ceil(count(shape) / 32);
  const data = Uint32Array.from({ length }, () => (random() * 2 ** 32) | (random() * 2 ** 32));
  return { data, shape };
}

function normalTensor(shape: readonly number[], seed: number): Tensor {
  return { data: normals(count(shape), seeded(seed)), shape };
}

/** Every term at once. */
function everyTerm({ B, Hq, Nq, Nk }: Sizes): Meaning {
  return {
    softcap: 5,
    bias: normalTensor([Hq, Nq, Nk], 1),
    mask: bitMask([B, 1, Nq, Nk], 2),
    alibi: { data: Float32Array.from({ length: Hq }, (_, h) => 2 ** -h / 8), shape: [Hq] },
    sinks: normalTensor([Hq], 3),
    blockMask: blockMask.window([90, 40], { queries: Nq, keys: Nk, block: [24, 20] }),
  };
}

test("the gradients' tile keeps the default limits and fills its staging loops", () => {
  const { TX, TY, RK, SLICE, VALUES } = gradientTile;
  assert(gradientBytes(gradientTile) <= 16_384);
  assertEquals(TX * RK, 4 * TY); // As many keys as rows: who owns keys has them as rows.
  assertEquals(SLICE * TX * RK % (TX * TY), 0);
  assertEquals(VALUES, 2 * SLICE);
  assertEquals(VALUES % TX, 0);
});

gpuTest("the gradients' shaders compile for every way to store", async () => {
  const gpu = await sharedGpu();
  const ways: Access[] = [
    { dtype: "f32", vectors: false },
    { dtype: "f16", vectors: true },
    { dtype: "bf16", vectors: false },
  ];
  for (const [at, one] of ways.entries()) {
    const other = ways[(at + 1) % ways.length];
    const inputs = { q: one, k: other, v: one, d_out: other };
    for (const goal of ["dq", "dk", "dv"] as const) {
      await pipelineOf(gpu, backwardCode(goal, inputs, one, 100, { plain: at === 1 }), goal);
    }
    await pipelineOf(gpu, biasGradientCode(inputs), "dBias");
    const ofRows = { out: one, lse: ways[0], d_out: other, d_lse: at === 0 ? null : other };
    await pipelineOf(gpu, deltaCode({ ...ofRows, lse_rest: null }), "delta");
  }
  await pipelineOf(gpu, sinkGradientCode(), "dSinks");
});

const bounds: [name: string, bounds: Partial<Bounds>][] = [
  ["bindings of 64 KiB over whole arrays", { bindingBytes: 65_536 }],
  ["bindings of 64 KiB, arrays in parts", { bindingBytes: 65_536, wholeBytes: 20_000 }],
  ["bindings of 64 KiB, nothing kept", { bindingBytes: 65_536, wholeBytes: 100 }],
];

for (const [name, given] of bounds) {
  gpuTest(`attentionBackward() takes every term with ${name}`, async () => {
    const sizes = sizesOf({ B: 3, Hq: 4, Hkv: 2, Nq: 70, Nk: 100, D: 20 });
    for (const meaning of [everyTerm(sizes), { causal: true }] as const) {
      const call = gradientCall(randomProblem(sizes, 1), meaning);
      const { gradients, pieces } = await run(call, { bounds: given, work: 1e5 });
      assert(pieces > 8, `${pieces} pieces`);
      gradientExpectation(call)(gradients);
    }
  });
}

gpuTest("gradients have the same bits however their call is cut", async () => {
  // Neither 216 keys nor 150 rows of three heads are a whole number of tiles.
  const sizes = sizesOf({ B: 2, Hq: 6, Hkv: 2, Nq: 150, Nk: 216, D: 16 });
  const problem = randomProblem(sizes, 4);
  const meanings: Meaning[] = [
    { ...everyTerm(sizes), causal: true },
    { window: [30, 20] },
    { bias: normalTensor([216], 5) },
  ];
  for (const meaning of meanings) {
    const call = gradientCall(problem, meaning), { gradients: whole } = await run(call);
    for (const work of [2e5, 2e4]) {
      const { gradients } = await run(call, { work });
      assertSameGradients(gradients, whole, `in pieces of ${work}`);
    }
  }
});

gpuTest("packed sequences have the same gradients however their call is cut", async () => {
  const cuSeqlens = { q: [0, 3, 3, 73, 113], k: [0, 5, 9, 209, 210] };
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 113, Nk: 210, D: 12 }), 6);
  for (const shape of [[4, 113, 210], [113, 1], [210], [1]]) {
    const bias = normalTensor(shape, 7);
    const call = gradientCall(problem, {
      cuSeqlens,
      causal: true,
      kvLengths: [5, 4, 150, 1],
      bias,
    });
    const { gradients } = await run(call, { work: 1e5 });
    gradientExpectation(call)(gradients, `bias [${shape}]`);
    assertSameGradients(gradients, (await run(call)).gradients);
  }
});

gpuTest(
  "a gradient with respect to a bias is right in parts, whatever it is summed over",
  async () => {
    const sizes = sizesOf({ B: 3, Hq: 4, Hkv: 2, Nq: 70, Nk: 90, D: 8 });
    const problem = randomProblem(sizes, 8), session = new Session(await sharedGpu());
    for (let axes = 0; axes < 16; axes++) {
      const shape = [3, 4, 70, 90].map((extent, axis) => axes >> axis & 1 ? extent : 1);
      const call = gradientCall(problem, {
        bias: normalTensor(shape, axes),
        kvLengths: [9, 90, 50],
      });
      const { gradients } = await run(call, { session });
      gradientExpectation(call)(gradients, `bias [${shape}]`);
    }
    session.close();
    // Pieces of which several add to one element.
    const small = new Session(await sharedGpu(), { bindingBytes: 10_000 });
    for (const shape of [[90], [4, 70, 1], [1, 1, 1]]) {
      const call = gradientCall(problem, { bias: normalTensor(shape, 9), kvLengths: [9, 90, 50] });
      const { gradients } = await run(call, { session: small });
      gradientExpectation(call)(gradients, `bias [${shape}] in parts`);
    }
    small.close();
  },
);

gpuTest(
  "gradients are right where one submit has more dispatches than the ring has slots",
  async () => {
    const call = gradientCall(randomProblem(sizesOf({ Nq: 2, Nk: 3, D: 4, Dv: 40_000 }), 1));
    gradientExpectation(call)((await run(call)).gradients);
  },
);

gpuTest("attentionBackward() is right on a device at the default limits", async () => {
  const adapter = await (await findGpu())!.requestAdapter();
  const device = await adapter!.requestDevice();
  const session = new Session(watch(device));
  // Every binding that there is.
  const sizes = sizesOf({ B: 2, Hq: 2, Nq: 40, Nk: 50, D: 40, Dv: 30 });
  const call = gradientCall(randomProblem(sizes, 2), everyTerm(sizes));
  gradientExpectation(call)((await run(call, { session })).gradients);
  session.close();
  device.destroy();
});

gpuTest("attentionBackward() says what a GPU cannot bind, and nothing is left behind", async () => {
  const session = new Session(await sharedGpu(), { bindingBytes: 4096 });
  const call = gradientCall(randomProblem(sizesOf({ Nq: 20, Nk: 30, D: 64 }), 1));
  const error = await errorOf(() => run(call, { session }));
  assert(error instanceof RangeError, `${error}`);
  assertEquals(
    (error as Error).message,
    "Cannot differentiate: `dq` for one query position of a key/value head, with its keys, needs " +
      "more than the 4096 bytes that this GPU can bind at once; use fewer positions a call, or the " +
      "wasm backend",
  );
  assert(session.bytes < 256 * 1024, `${session.bytes} bytes`);
  const small = gradientCall(randomProblem(sizesOf({ Nq: 3, Nk: 5, D: 8 }), 1));
  gradientExpectation(small)((await run(small, { session })).gradients);
  session.close();
});

type GpuTensor = Tensor<GPUBuffer>;

/** Copies a tensor into a buffer of the test's own, behind three elements that nobody reads. */
function upload(device: GPUDevice, { data, shape, dtype = "f32" }: HostTensor): GpuTensor {
  const offset = 3, bytes = data.BYTES_PER_ELEMENT;
  const size = Math.ceil((offset + data.length) * bytes / 16) * 16;
  const buffer = device.createBuffer({ size, usage: usages.storage, mappedAtCreation: true });
  const range = buffer.getMappedRange();
  const target = dtype === "f32" ? new Float32Array(range) : new Uint16Array(range);
  target.fill(dtype === "f32" ? NaN : 0x7fff);
  target.set(data, offset);
  buffer.unmap();
  return { data: buffer, shape, dtype, offset };
}

/** What a buffer holds. */
async function read(device: GPUDevice, { data, dtype, shape }: GpuTensor) {
  const copy = device.createBuffer({ size: data.size, usage: usages.mapRead | usages.copyTarget });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, copy, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(usages.mapRead);
  const bytes = copy.getMappedRange().slice(0);
  copy.destroy();
  const all = dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
  return all.subarray(0, count(shape));
}

const ways: [dtypes: [q: DType, k: DType, v: DType, dOut: DType], D: number, Dv: number][] = [
  [["f32", "f32", "f32", "f32"], 16, 8],
  [["f16", "bf16", "f32", "bf16"], 5, 7],
  [["bf16", "f32", "f16", "f16"], 12, 6],
];

for (const [dtypes, D, Dv] of ways) {
  gpuTest(
    `attentionBackward() reads and writes buffers of ${dtypes}, D = ${D}, Dv = ${Dv}`,
    () =>
      withGpu(async (engine, device) => {
        const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 37, Nk: 45, D, Dv });
        const problem = randomProblem(sizes, 1), inputs = inputsOf(problem);
        const shape = shapesOf(sizes).out;
        const [q, k, v, dOut] = [inputs.q, inputs.k, inputs.v, normalTensor(shape, 2)].map((
          one,
          at,
        ) => stored(one, dtypes[at]));
        const bias = normalTensor([4, 1, 45], 3), sinks = normalTensor([4], 4);
        const dLse = normalTensor(shape.slice(0, 3), 5), options = { causal: true, sinks } as const;
        const host = engine as unknown as Engine;
        const { out, lse } = await host.attention(q, k, v, { ...options, bias, lse: true });
        const wanted = await host.attentionBackward(dOut, q, k, v, {
          ...{ ...options, bias, out, lse, dLse },
        });
        const there = (one: HostTensor) => upload(device, one);
        const got = await engine.attentionBackward(there(dOut), there(q), there(k), there(v), {
          ...{ ...options, bias: there(bias) },
          ...{ out: there(out), lse: there(lse), dLse: there(dLse) },
        });
        for (const name of ["dq", "dk", "dv", "dBias", "dSinks"] as const) {
          const expected: HostTensor = wanted[name]!, actual = got[name]!;
          assertEquals(actual.dtype, expected.dtype, name);
          assertEquals(actual.shape, expected.shape, name);
          assertSameBits(
            Float32Array.from(await read(device, actual)),
            Float32Array.from(expected.data),
            name,
          );
        }
      }),
  );
}

gpuTest(
  "attentionWithGradient() keeps a level in buffers as in arrays",
  () =>
    withGpu(async (engine, device) => {
      const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 37, Nk: 45, D: 8 });
      const { q, k, v } = inputsOf(randomProblem(sizes, 1)),
        dOut = normalTensor(shapesOf(sizes).out, 2);
      const bias = { data: new Float32Array(45).fill(1e5), shape: [45] };
      const host = await (engine as unknown as Engine).attentionWithGradient(q, k, v, { bias });
      const wanted = await host.backward(dOut),
        [a, b, c, d] = [q, k, v, dOut].map((one) => upload(device, one));
      const { lse, backward } = await engine.attentionWithGradient(a, b, c, { bias });
      const got = await backward(d);
      assertSameBits(await read(device, lse), host.lse.data, "lse");
      for (const name of ["dq", "dk", "dv"] as const) {
        assertSameBits(await read(device, got[name]), wanted[name].data, name);
      }
    }),
);

gpuTest(
  "attentionBackward() takes dOut and out in one buffer, and a bias in an array",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 6, Nk: 9, D: 8 }), 4));
      const bias = normalTensor([9], 5), host = engine as unknown as Engine;
      const { out, lse } = await host.attention(q, k, v, { bias, lse: true });
      const wanted = await host.attentionBackward(out, q, k, v, { bias, out, lse });
      const [a, b, c, o, l] = [q, k, v, out, lse].map((one) => upload(device, one));
      const got = await engine.attentionBackward(o, a, b, c, { bias, out: o, lse: l });
      assertSameBits(await read(device, got.dq), wanted.dq.data);
      assertSameBits(await read(device, got.dBias!), wanted.dBias!.data);
    }),
);

gpuTest(
  "a hundred calls for gradients leave no buffer behind, nor does one that is refused",
  () =>
    withGpu(async (engine) => {
      const sizes = sizesOf({ Hq: 2, Nq: 5, Nk: 7, D: 8 });
      const call = gradientCall(randomProblem(sizes, 5), { bias: normalTensor([7], 1) });
      const host = engine as unknown as Engine;
      const first = await gradientsOf(host, call);
      const bytes = engine.memoryBytes;
      for (let at = 1; at < 100; at++) await gradientsOf(host, call);
      // Whether a buffer is back before the next is taken is a matter of time; one a call would be 100 KiB.
      assert(engine.memoryBytes <= bytes + 32 * 1024, `${engine.memoryBytes} after ${bytes} bytes`);
      const { q, k, v } = inputsOf(call.problem), signal = AbortSignal.abort(new Error("enough"));
      const { out, lse } = await host.attention(q, k, v, { lse: true });
      await assertRefused(
        () => host.attentionBackward(out, q, k, v, { out, lse, signal }),
        Error,
        "enough",
      );
      assertSameGradients(await gradientsOf(host, call), first);
    }),
);

gpuTest(
  "calls for gradients at the same time do not disturb each other",
  () =>
    withGpu(async (engine) => {
      const host = engine as unknown as Engine;
      const calls = [20, 33, 50].map((Nq) =>
        gradientCall(randomProblem(sizesOf({ B: 2, Hq: 2, Nq, D: 16 }), Nq), { causal: true })
      );
      const alone: Gradients[] = [];
      for (const call of calls) alone.push(await gradientsOf(host, call));
      const together = await Promise.all(calls.map((call) => gradientsOf(host, call)));
      together.forEach((gradients, at) => assertSameGradients(gradients, alone[at]));
    }),
);

gpuTest(
  "what is not seen leaves no trace in gradients, whatever it holds",
  () =>
    withGpu(async (engine) => {
      const sizes = sizesOf({ Hq: 4, Hkv: 2, Nq: 40, Nk: 70, D: 24, Dv: 36 });
      const host = engine as unknown as Engine, problem = randomProblem(sizes, 3);
      // Rows see the keys from 10 on, and none from 60 on; the last row sees nothing.
      const mask = { data: new Uint8Array(40 * 70), shape: [40, 70] };
      for (let i = 0; i < 39; i++) mask.data.fill(1, i * 70 + 10, i * 70 + 20 + i);
      const call = gradientCall(problem, { mask });
      const clean = await gradientsOf(host, call);
      const poisoned = structuredClone(problem) as typeof problem;
      const poison = (
        data: Float32Array,
        N: number,
        width: number,
        hides: (n: number) => boolean,
      ) => data.forEach((_, at) => hides(Math.floor(at / width) % N) && (data[at] = NaN));
      const unseen = (key: number) => key < 10 || key >= 20 + 38;
      poison(poisoned.k, 70, 24, unseen);
      poison(poisoned.v, 70, 36, unseen);
      poison(poisoned.q, 40, 24, (row) => row === 39);
      const dOut = call.cotangents.dOut.slice();
      poison(dOut, 40, 36, (row) => row === 39);
      const cotangents = { ...call.cotangents, dOut };
      assertSameGradients(
        await gradientsOf(host, { ...call, problem: poisoned, cotangents }),
        clean,
      );
      // A row of NaN spoils what it sees: keys from 10 to 49.
      const spoiled = structuredClone(problem) as typeof problem;
      poison(spoiled.q, 40, 24, (row) => row === 30);
      const { dk, dv } = await gradientsOf(host, { ...call, problem: spoiled });
      dk.forEach((x, at) => {
        const key = Math.floor(at / 24) % 70, sees = key >= 10 && key < 50;
        assertEquals(Number.isNaN(x), sees, `dk of key ${key}`);
      });
      dv.forEach((x, at) => {
        const key = Math.floor(at / 36) % 70, sees = key >= 10 && key < 50;
        assertEquals(Number.isNaN(x), sees, `dv of key ${key}`);
      });
    }),
);
