import {
  type AttentionOptions,
  captured,
  createEngine,
  type Engine,
  type ScoreFunctions,
  where,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { attentionByFunctions } from "../../src/operations/attention/operation.ts";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { attentionBackwardByFunctions } from "../../src/operations/backward/operation.ts";
import { readBackward } from "../../src/operations/backward/plan.ts";
import { HeldArray } from "../../src/tensor/arrays.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { Session } from "../../src/webgpu/device/session.ts";
import { runners } from "../../src/webgpu/runners.ts";
import { codes } from "../../src/webgpu/scored/code.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedGpu, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { read, upload } from "../support/gpu_buffers.ts";
import { type Inputs, inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";

const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 150, Nk: 170, D: 16 });
const numbers = normals(4 * 330, seeded(1)), documents = new Int32Array(170);
documents.forEach((_, at) => documents[at] = Math.floor(at / 40));

/** Functions of a table and of documents, wherever these are. */
function functionsOf(
  table: ReturnType<typeof captured<"f32">>,
  document: ReturnType<typeof captured<"i32">>,
): ScoreFunctions {
  return {
    scoreMod: (score, { h, q, k }) => score.add(table.at(h, q.sub(k).add(170)).mul(0.3)),
    maskMod: ({ q, k }) => q.ge(k).and(document.at(q).eq(document.at(k))),
  };
}

/** The same with arrays. */
function inArrays() {
  const table = captured(numbers, [4, 330], { grad: true });
  return { table, functions: functionsOf(table, captured(documents, [170])) };
}

/** A buffer that holds an array. */
function bufferOf(device: GPUDevice, data: Float32Array | Int32Array, usage = 0): GPUBuffer {
  const size = data.byteLength;
  const buffer = device.createBuffer({
    size,
    usage: usages.storage | usage,
    mappedAtCreation: true,
  });
  new Uint32Array(buffer.getMappedRange()).set(
    new Uint32Array(data.buffer, data.byteOffset, data.length),
  );
  buffer.unmap();
  return buffer;
}

gpuTest(
  "functions read arrays that are on the GPU, and give gradients of them there",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizes, 1)), own = inArrays();
      const host = engine as unknown as Engine;
      const asked = await host.attentionWithGradient(q, k, v, own.functions);
      const expected = await asked.backward(asked.out);
      const table = captured(bufferOf(device, numbers), [4, 330], { dtype: "f32", grad: true });
      const there = functionsOf(
        table,
        captured(bufferOf(device, documents), [170], { dtype: "i32" }),
      );
      const [onQ, onK, onV] = [q, k, v].map((one) => upload(device, one));
      const { out, backward } = await engine.attentionWithGradient(onQ, onK, onV, there);
      assertSameBits(await read(device, out), asked.out.data);
      const { dq, dCaptured } = await backward(out);
      assertSameBits(await read(device, dq), expected.dq.data);
      const gradient = dCaptured!.get(table)!;
      assertEquals(gradient.shape, [4, 330]);
      const got = await read(device, gradient as unknown as typeof dq);
      assertSameBits(got, expected.dCaptured!.get(own.table)!.data as Float32Array);
      // Arrays of both kinds in one call.
      const mixed = functionsOf(table, captured(documents, [170]));
      assertSameBits((await host.attention(q, k, v, mixed)).out.data, asked.out.data);
    }),
);

gpuTest(
  "a call with functions is recorded into the caller's encoder",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizes, 2)), { functions } = inArrays();
      const expected = await (engine as unknown as Engine).attention(q, k, v, functions);
      const [onQ, onK, onV] = [q, k, v].map((one) => upload(device, one));
      const table = captured(bufferOf(device, numbers, usages.copyTarget), [4, 330], {
        dtype: "f32",
      });
      const document = captured(bufferOf(device, documents), [170], { dtype: "i32" });
      const encoder = device.createCommandEncoder();
      const { out } = await engine.attention(onQ, onK, onV, {
        ...{ ...functionsOf(table, document), encoder },
      });
      device.queue.submit([encoder.finish()]);
      assertSameBits(await read(device, out), expected.out.data);
      await assertRefused(
        () =>
          engine.attention(onQ, onK, onV, { ...functions, encoder: device.createCommandEncoder() }),
        TypeError,
        "Cannot attend: `captured[0]` must be a GPUBuffer where `encoder` is given",
      );
    }),
);

gpuTest(
  "buffers that shaders cannot read are refused before anything is made",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 2, Nk: 3, D: 4 }), 1));
      const data = device.createBuffer({ size: 16, usage: usages.copyTarget });
      const array = captured(data, [3], { dtype: "f32" });
      const scoreMod: ScoreFunctions["scoreMod"] = (score, { k }) => score.add(array.at(k));
      await assertRefused(
        () => (engine as unknown as Engine).attention(q, k, v, { scoreMod }),
        TypeError,
        "Cannot attend: a GPUBuffer that functions read must be made with GPUBufferUsage.STORAGE",
      );
    }),
);

/** Counts what a device compiles while something runs. */
async function countCompiled(device: GPUDevice, work: () => Promise<unknown>): Promise<number> {
  const compile = device.createComputePipelineAsync;
  let count = 0;
  device.createComputePipelineAsync = (descriptor) => {
    count++;
    return compile.call(device, descriptor);
  };
  try {
    await work();
  } finally {
    device.createComputePipelineAsync = compile;
  }
  return count;
}

gpuTest(
  "other lengths, numbers and arrays compile nothing anew",
  () =>
    withGpu(async (engine, device) => {
      const host = engine as unknown as Engine;
      const run = async (n: number, factor: number) => {
        const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: n, Nk: n + 9, D: 16 }), n));
        const table = captured(normals(2 * n, seeded(n)), [2, n], { grad: true });
        const document = captured(new Int32Array(2 * n), [2 * n]);
        const { out, backward } = await host.attentionWithGradient(q, k, v, {
          scoreMod: (score, { h, q }) =>
            where(q.gt(7), score.add(table.at(h, q)), score.mul(factor)),
          maskMod: ({ q, k }) => document.at(q).eq(document.at(k)).or(k.lt(n)),
        });
        await backward(out);
      };
      assert(await countCompiled(device, () => run(70, 0.5)) > 3);
      const { count } = codes;
      assertEquals(await countCompiled(device, () => run(133, 0.25)), 0);
      assertEquals(await countCompiled(device, () => run(301, 3)), 0);
      assertEquals(codes.count, count);
    }),
);

/** The results of a call, cut by how much work a submit may have. */
async function cutResults({ q, k, v }: Inputs, functions: AttentionOptions, work: number) {
  const session = new Session(await sharedGpu()), machine = { session, open: () => session };
  session.work = work;
  let steps = 0;
  const control = { onProgress: () => steps++ };
  const made = (shape: readonly number[]) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b));
    return { data, shape };
  };
  const [B, Hq, Nq] = q.shape, out = made([B, Hq, Nq, v.shape[3]]), lse = made([B, Hq, Nq, 1]);
  const plan = planAttention(q, k, v, functions);
  const forward = await runners.load(attentionByFunctions);
  const target = { out: viewOf(out, "bhnd"), lse: viewOf(lse, "bhnd") };
  await forward.run(machine, plan, target, control);
  const rows = { ...lse, shape: [B, Hq, Nq] };
  const pass = readBackward(out, q, k, v, { ...functions, out, lse: rows }).plan;
  const [dq, dk, dv] = [q, k, v].map(({ shape }) => made(shape));
  const arrays = [...pass.forward.functions!.score!.arrays].filter(({ grad }) => grad);
  const sums = arrays.map(({ shape }) => made(shape).data);
  const backward = await runners.load(attentionBackwardByFunctions);
  await backward.run(machine, pass, {
    ...{ dq: viewOf(dq, "bhnd"), dk: viewOf(dk, "bhnd"), dv: viewOf(dv, "bhnd") },
    ...{ dBias: null, dSinks: null },
    captured: new Map(arrays.map((one, at) => [one, { data: new HeldArray(sums[at]) }])),
  }, control);
  session.close();
  return { steps, results: [out, lse, dq, dk, dv].map(({ data }) => data).concat(sums) };
}

gpuTest("functions give the same bits whatever was learned of the device's speed", async () => {
  const inputs = inputsOf(randomProblem(sizes, 4)), { functions } = inArrays();
  const whole = await cutResults(inputs, functions, 1e12),
    cut = await cutResults(inputs, functions, 1e5);
  assert(cut.steps > whole.steps, `${cut.steps} steps`);
  for (const [at, one] of whole.results.entries()) assertSameBits(cut.results[at], one);
});

gpuTest("an engine that is closed leaves no function behind, and the next runs it", async () => {
  const { device } = await sharedGpu(), { q, k, v } = inputsOf(randomProblem(sizes, 5));
  const { functions } = inArrays(), results = [];
  for (let time = 0; time < 2; time++) {
    const engine = await createEngine({ backend: "webgpu", device }) as unknown as Engine;
    results.push((await engine.attention(q, k, v, functions)).out.data);
    await engine.close();
  }
  assertSameBits(results[1], results[0]);
});
