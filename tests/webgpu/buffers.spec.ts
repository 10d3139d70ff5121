import {
  type AttentionOptions,
  createEngine,
  type DType,
  type Engine,
  type Tensor,
  tensor,
} from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { type Inputs, inputsOf, randomProblem, sizesOf } from "../support/problem.ts";
import { type GpuTensor, read, upload } from "../support/gpu_buffers.ts";
import { sharedOnGpu } from "../support/share.ts";
import { numbersIn, stored } from "../support/storage.ts";

/** The call in arrays, stored as asked. */
async function expected(engine: Engine, { q, k, v }: Inputs, dtype: DType, options: object) {
  const [a, b, c] = [q, k, v].map((one) => stored(one, dtype));
  const { out, lse } = await engine.attention(a, b, c, { ...options, lse: true });
  return { out: numbersIn(out.data, dtype), lse: lse.data };
}

for (const dtype of sharedOnGpu(["f32", "f16", "bf16"] as const, 1, "buffers")) {
  for (const [D, Dv, at] of [[64, 64, 0], [12, 7, 3], [5, 6, 1]]) {
    gpuTest(
      `attention() reads and writes buffers, ${dtype}, D = ${D}, Dv = ${Dv}, offset ${at}`,
      () =>
        withGpu(async (engine, device) => {
          const inputs = inputsOf(
            randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 9, Nk: 33, D, Dv }), 1),
          );
          const options = { causal: true } as const;
          const wanted = await expected(engine as unknown as Engine, inputs, dtype, options);
          const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) =>
            upload(device, stored(one, dtype) as Tensor<Uint16Array>, at)
          );
          const { out, lse } = await engine.attention(q, k, v, { ...options, lse: true });
          assertEquals(out.dtype, dtype);
          assertEquals(out.shape, [1, 4, 9, Dv]);
          const count = 4 * 9 * Dv;
          assertSameBits(
            numbersIn((await read(device, out)).subarray(0, count), dtype),
            wanted.out,
          );
          assertSameBits((await read(device, lse)).subarray(0, 4 * 9), wanted.lse);
          [q, k, v, out, lse].forEach(({ data }) => data.destroy());
        }),
    );
  }
}

gpuTest("attention() writes nothing beside a strided out", () =>
  withGpu(async (engine, device) => {
    const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 20, D: 8, Dv: 3 }), 2));
    for (const dtype of ["f32", "f16"] as const) {
      const wanted = await expected(engine as unknown as Engine, inputs, dtype, {});
      const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) =>
        upload(device, stored(one, dtype) as Tensor<Uint16Array>)
      );
      // [B, N, H, D] with a gap behind each row.
      const whole = stored(tensor(new Float32Array(1 + 5 * 2 * 5), [51]), dtype);
      whole.data.fill(0);
      const { data } = upload(device, whole as Tensor<Uint16Array>);
      const out = { data, dtype, shape: [1, 2, 5, 3], strides: [0, 5, 10, 1], offset: 1 };
      await engine.attention(q, k, v, { out });
      const got = numbersIn((await read(device, out)).subarray(0, 51), dtype);
      const full = new Float32Array(51);
      wanted.out.forEach((x, at) => {
        const d = at % 3, n = Math.floor(at / 3) % 5, h = Math.floor(at / 15);
        full[1 + h * 5 + n * 10 + d] = x;
      });
      assertSameBits(got, full);
    }
  }));

gpuTest(
  "attention() records into the caller's encoder and submits nothing",
  () =>
    withGpu(async (engine, device) => {
      const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 3, Nk: 1200, D: 16 }), 3));
      const wanted = await expected(engine as unknown as Engine, inputs, "f32", {});
      const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) => upload(device, one));
      const encoder = device.createCommandEncoder();
      const first = await engine.attention(q, k, v, { encoder, lse: true });
      // The second reads what the first writes, in the same submit.
      const second = await engine.attention(first.out, k, v, { encoder });
      assertSameBits(await read(device, first.out), new Float32Array(2 * 3 * 16));
      device.queue.submit([encoder.finish()]);
      assertSameBits(await read(device, first.out), wanted.out);
      assertSameBits((await read(device, first.lse)).subarray(0, 6), wanted.lse);
      const after = await engine.attention(first.out, k, v);
      assertSameBits(await read(device, second.out), await read(device, after.out));
    }),
);

gpuTest(
  "engine.tensor() is a buffer that counts until it is freed",
  () =>
    withGpu(async (engine, device) => {
      const bytes = engine.memoryBytes;
      const q = engine.tensor([2, 3, 4]), k = engine.tensor([2, 5, 4], "f16");
      assertEquals(engine.memoryBytes, bytes + 96 + 80);
      assertEquals([q.dtype, k.dtype], ["f32", "f16"]);
      device.queue.writeBuffer(q.data, 0, new Float32Array(24).fill(1));
      const { out } = await engine.attention(q, k, k);
      assertSameBits(await read(device, out), new Float32Array(24)); // Values are zero at first.
      q.free();
      k[Symbol.dispose]();
      k.free();
      assert(engine.memoryBytes - bytes < 64 * 1024);
    }),
);

gpuTest(
  "attention() takes arrays and buffers together; the result is where q is",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 6, Nk: 9, D: 8 }), 4));
      const plain = await engine.attention(q, k, v);
      const mixed = await engine.attention(q, upload(device, k), v);
      assertSameBits(mixed.out.data, plain.out.data);
      const there = await engine.attention(upload(device, q), k, upload(device, v));
      assertSameBits(await read(device, there.out), plain.out.data);
    }),
);

gpuTest("attention() refuses buffers that it cannot use", () =>
  withGpu(async (engine, device) => {
    const q = upload(device, tensor(new Float32Array(8), [2, 4]));
    const host = tensor(new Float32Array(8), [2, 4]);
    const call = (one: object, options?: AttentionOptions) => () =>
      engine.attention(one as GpuTensor, q, q, options);
    const useless = device.createBuffer({ size: 64, usage: usages.copySource });
    await assertRefused(
      call({ ...q, dtype: undefined }),
      TypeError,
      "Cannot attend: `q.data` is a GPUBuffer, so `q.dtype` must be one of f32, f16, bf16",
    );
    await assertRefused(
      call({ ...q, data: useless }),
      TypeError,
      "Cannot attend: `q.data` must be a GPUBuffer made with GPUBufferUsage.STORAGE",
    );
    await assertRefused(
      call({ ...q, shape: [3, 4] }),
      RangeError,
      "Cannot attend: `q` with shape [3,4], strides [4,1] and offset 0 needs 12 elements, " +
        "`data` has 8",
    );
    await assertRefused(
      call(q, { out: q }),
      RangeError,
      "Cannot attend: `out` must be another GPUBuffer than the inputs, " +
        "a GPU cannot read and write one in one pass",
    );
    await assertRefused(
      call(host, { encoder: device.createCommandEncoder() }),
      TypeError,
      "Cannot attend: `q` must be a GPUBuffer where `encoder` is given",
    );
    await assertRefused(
      () => engine.attentionSync(q, q, q),
      Error,
      "Cannot attend: the webgpu backend has no `attentionSync()`, use `attention()`",
    );
    await assertRefused(
      () => engine.attentionBackwardSync(q, q, q, q, { out: q, lse: q }),
      Error,
      "Cannot differentiate: the webgpu backend has no `attentionBackwardSync()`, " +
        "use `attentionBackward()`",
    );
    const wasm = await createEngine({ backend: "wasm", threads: 1 });
    await assertRefused(
      () => wasm.attention(host, q, host),
      TypeError,
      "Cannot attend: `k` is a GPUBuffer, which the wasm backend cannot read; " +
        'make the engine with { backend: "webgpu", device }',
    );
    await wasm.close();
  }));

gpuTest("a thousand calls leave no buffer behind", () =>
  withGpu(async (engine) => {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 7, D: 8 }), 5));
    await engine.attention(q, k, v);
    const bytes = engine.memoryBytes;
    for (let call = 1; call < 1000; call++) await engine.attention(q, k, v);
    assertEquals(engine.memoryBytes, bytes);
  }));

gpuTest(
  "one engine of each backend, interleaved, give the same answers",
  () =>
    withGpu(async (engine) => {
      const wasm = await createEngine({ backend: "wasm" });
      for (let round = 0; round < 5; round++) {
        const sizes = sizesOf({ Hq: 2, Nq: 40 + round, Nk: 90, D: 32 });
        const { q, k, v } = inputsOf(randomProblem(sizes, round));
        const [a, b] = await Promise.all([
          engine.attention(q, k, v, { causal: true }),
          wasm.attention(q, k, v, { causal: true }),
        ]);
        a.out.data.forEach((x, at) => assert(Math.abs(x - b.out.data[at]) < 2e-6));
      }
      await wasm.close();
    }),
);
