import {
  type AnyTensor,
  createEngine,
  type DType,
  type HostData,
  type Tensor,
} from "@flashtile/attention";
import {
  createPerformerState,
  performerAttention,
  performerAttentionWithGradient,
} from "@flashtile/attention/linear";
import { assert, assertEquals } from "@std/assert";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { gpuTest, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { randomProblem, rows } from "../support/performer.ts";
import { varyingSeed } from "../support/seed.ts";
import { share, sharedOnGpu } from "../support/share.ts";
import { numbersOf } from "../support/softmax.ts";

type Any = AnyTensor & Tensor<GPUBuffer>;

/** A tensor in a buffer of its own. */
function upload(device: GPUDevice, { data, ...rest }: Tensor<HostData>): Any {
  const bytes = new Uint8Array(Math.max(16, Math.ceil(data.byteLength / 4) * 4));
  bytes.set(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength));
  const usage = usages.storage | usages.copyTarget | usages.copySource;
  const buffer = device.createBuffer({ size: bytes.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, bytes);
  return { ...rest, data: buffer };
}

/** A result in an array. */
async function download(device: GPUDevice, { data, shape, dtype }: Any): Promise<Tensor<HostData>> {
  const usage = usages.mapRead | usages.copyTarget;
  const staging = device.createBuffer({ size: data.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, staging, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(usages.mapRead);
  const bytes = staging.getMappedRange().slice(0), size = shape.reduce((a, b) => a * b, 1);
  staging.destroy();
  const elements = dtype === "f32"
    ? new Float32Array(bytes, 0, size)
    : new Uint16Array(bytes, 0, size);
  return { shape, dtype: dtype as DType, data: elements };
}

function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assertEquals(a.length, b.length);
  let error = 0;
  for (let at = 0; at < a.length; at++) error = Math.max(error, Math.abs(a[at] - b[at]));
  return error;
}

gpuTest(
  "performerAttention(): buffers of any storage and strides give what arrays give",
  () =>
    withGpu(async (engine, device) => {
      for (let run = 0; run < share(60); run++) {
        const seed = varyingSeed() + run, { q, k, v, options } = randomProblem(seed, 40);
        const { out } = await performerAttention(q, k, v, { ...options, engine });
        const all = [q, k, v, options.projection].map((tensor) => upload(device, tensor));
        const given = { ...options, projection: all[3], engine };
        const own = await performerAttention(all[0], all[1], all[2], given);
        const got = await download(device, own.out as Any);
        assertEquals([got.shape, got.dtype], [out.shape, out.dtype], `${seed}`);
        // The same shaders, but for how they read.
        assert(largestError(numbersOf(got), numbersOf(out)) <= 1e-5, `${seed}`);
        for (const { data } of [...all, own.out as Any]) data.destroy();
      }
    }),
);

gpuTest(
  "performerAttention(): rows in several segments, heads of several ranges",
  () =>
    withGpu(async (engine) => {
      const cpu = await createEngine({ backend: "wasm", threads: 1 });
      try {
        const all = [
          [[1, 9000, 4], { features: 512 }],
          [[1, 9000, 4], { features: 512, kernel: "relu", causal: true }],
          [[70, 40, 4], { features: 2000, causal: true }],
        ] as const;
        for (const [shape, options] of sharedOnGpu(all, 1, "segments of performer")) {
          const [q, k, v] = [1, 2, 3].map((seed) => rows(shape, seed));
          const ours = await performerAttention(q, k, v, { ...options, engine });
          const theirs = await performerAttention(q, k, v, { ...options, engine: cpu });
          const error = largestError(numbersOf(ours.out), numbersOf(theirs.out));
          assert(error <= 5e-6, `${shape}: ${error}`);
        }
      } finally {
        await cpu.close();
      }
    }),
);

gpuTest(
  "a performer's state takes buffers, and gives buffers",
  () =>
    withGpu(async (engine, device) => {
      const x = rows([2, 9, 4], 1), own = upload(device, x);
      const { out } = await performerAttention(x, x, x, { features: 8, causal: true, engine });
      const state = createPerformerState({ features: 8, engine });
      const given = await state.step(own, own, own);
      const got = numbersOf(await download(device, given.out as Any));
      assert(largestError(got, numbersOf(out)) <= 1e-6);
      const next = await state.step(x, x, x);
      assertEquals([state.rows, next.out.shape], [18, [2, 9, 4]]);
      state.close();
    }),
);

gpuTest(
  "performerAttention(): what a GPU cannot do is refused",
  () =>
    withGpu(async (engine, device) => {
      const x = upload(device, rows([6, 4], 1)), cannot = "Cannot compute `performerAttention";
      await assertRefused(
        () => performerAttention(x, x, x, { out: x, engine }),
        RangeError,
        `${cannot}()\`: \`out\` must be another GPUBuffer than \`q\`, ` +
          "a GPU cannot read and write one in one pass",
      );
      const host = rows([6, 4], 1) as Tensor;
      await assertRefused(
        () => performerAttentionWithGradient(host, host, host, { engine }),
        Error,
        `${cannot}WithGradient()\`: the webgpu backend has no gradients of it, ` +
          'use an engine of { backend: "wasm" }',
      );
      await assertRefused(
        () => performerAttentionWithGradient(x, x, x, { engine }),
        Error,
        `${cannot}WithGradient()\`: gradients are for the CPU, tensors must be in arrays`,
      );
      // Sums of a feature, and its direction: just more than a binding of this device holds.
      const most = device.limits.maxStorageBufferBindingSize, bytes = 8204;
      const features = 16 * (Math.floor(most / bytes / 16) + 1), wide = rows([1, 1024], 2);
      const projection = {
        ...{ data: new Float32Array(1024), shape: [features, 1024], strides: [0, 1] },
      };
      // What a device with large bindings could hold is more than any call may have.
      const message = features * 1024 <= 2 ** 26
        ? `1 times 1 heads of ${features} features need ${
          features * bytes
        } bytes, a shader of this ` +
          `GPU has at most ${most} of a buffer: the wasm backend takes them`
        : `\`features\` times D and Dv must be at most ${2 ** 26}, got ${features} times 1024`;
      await assertRefused(
        () => performerAttention(wide, wide, wide, { projection, engine }),
        RangeError,
        `${cannot}()\`: ${message}`,
      );
      const out = upload(device, rows([6, 4], 1)) as Any;
      assertEquals((await performerAttention(x, x, x, { out, engine })).out, out);
    }),
);
