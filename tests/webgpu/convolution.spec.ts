import type { AnyTensor, DType, HostData, Tensor } from "@flashtile/attention";
import {
  createDynamicConvolutionState,
  createLightweightConvolutionState,
} from "@flashtile/attention/linear";
import { assert, assertEquals } from "@std/assert";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { contiguousStrides } from "../../src/tensor/tensor.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import {
  bandOf,
  type ConvolutionCall,
  denseOf,
  exact,
  functions,
  naive,
  names,
  oneOf,
  randomCall,
} from "../support/convolution.ts";
import { gpuTest, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { count } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";
import { spread } from "../support/softmax.ts";

/** A tensor in a buffer, its bytes as they were in the array. */
function upload(device: GPUDevice, one: Tensor<HostData>): Tensor<GPUBuffer> {
  const { data, dtype = "f32" } = one, size = Math.max(16, Math.ceil(data.byteLength / 4) * 4);
  const bytes = new Uint8Array(size);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const usage = usages.storage | usages.copyTarget | usages.copySource;
  const buffer = device.createBuffer({ size, usage });
  device.queue.writeBuffer(buffer, 0, bytes);
  return { ...one, dtype, data: buffer };
}

/** A tensor in an array, wherever it is. */
async function read(device: GPUDevice, one: AnyTensor): Promise<Tensor<HostData>> {
  if (!("mapAsync" in one.data)) return one as Tensor<HostData>;
  const { data, dtype } = one, { size } = data, usage = usages.mapRead | usages.copyTarget;
  const staging = device.createBuffer({ size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(usages.mapRead);
  const bytes = staging.getMappedRange().slice(0);
  staging.destroy();
  return { ...one, data: dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes) };
}

/** Some of a call's tensors in buffers, and one for its result. */
function placed(device: GPUDevice, call: ConvolutionCall) {
  const { v, weights, extents, random } = call, which = Math.floor(random() * 8);
  const dtype = oneOf<DType>(random, ["f32", "f16", "bf16"]);
  const out = spread(new Float32Array(count(extents)), v.shape, dtype, random);
  const place = (one: Tensor<HostData>, bit: number): AnyTensor =>
    which & bit ? upload(device, one) : one;
  return { v: place(v, 1), weights: place(weights, 2), out: place(out, 4) };
}

gpuTest(
  "convolutions of buffers and arrays are as exact as the plain formula",
  () =>
    withGpu(async (engine, device) => {
      for (let time = 0; time < share(150); time++) {
        const seed = varyingSeed() + time, call = randomCall(seed), { name, extents } = call;
        const { v, weights, out } = placed(device, call), { layout } = call.options;
        const options = { ...call.options, engine };
        const result = call.random() < 0.5
          ? await functions[name](v, weights, { ...options, out })
          : await functions[name](v, weights, options);
        const got = await read(device, result.out), expected = exact(call);
        assertEquals([got.shape, "mapAsync" in v.data], [v.shape, "mapAsync" in v.data]);
        const plain = naive(call);
        const errors = measure(denseOf(got, extents, layout), plain.numbers, expected);
        const band = bandOf(expected, plain, got.dtype);
        assertWithinBudget(`${name} of seed ${seed}`, errors, band);
      }
    }),
);

gpuTest(
  "a result of buffers is a buffer, and one of arrays an array",
  () =>
    withGpu(async (engine, device) => {
      const v: Tensor = { data: new Float32Array(12), shape: [3, 4] };
      const weights: Tensor = { data: new Float32Array(3), shape: [1, 3] };
      const gpu = { v: upload(device, v), weights: upload(device, weights) };
      const one = await functions.lightweightConvolution(gpu.v, weights, { engine });
      const other = await functions.lightweightConvolution(v, gpu.weights, { engine });
      assert("mapAsync" in one.out.data && !("mapAsync" in other.out.data));
    }),
);

gpuTest(
  "steps of buffers give the bits of the convolution of all rows",
  () =>
    withGpu(async (engine, device) => {
      const [H, N, D, W] = [2, 40, 12, 9], shape = [H, N, D];
      for (const name of names) {
        const numbers: Tensor = { data: normals(H * N * D, seeded(1)), shape },
          v = upload(device, numbers);
        const ofWeights = name === "dynamicConvolution" ? [H, N, W] : [H, W];
        const weights = upload(device, {
          data: normals(count(ofWeights), seeded(2)),
          shape: ofWeights,
        });
        const options = { causal: true, engine };
        const whole = await read(device, (await functions[name](v, weights, options)).out);
        const dynamic = createDynamicConvolutionState({ engine });
        const state = name === "dynamicConvolution"
          ? dynamic
          : createLightweightConvolutionState(weights, { engine });
        for (const [from, to] of [[0, 1], [1, 2], [2, 30], [30, 33], [33, 40]]) {
          const rows = (one: Tensor<GPUBuffer>): Tensor<GPUBuffer> => {
            const strides = contiguousStrides(one.shape), [heads, , last] = one.shape;
            return { ...one, strides, offset: from * strides[1], shape: [heads, to - from, last] };
          };
          const { out } = state === dynamic
            ? await dynamic.step(rows(v), rows(weights))
            : await state.step(rows(v), {} as never);
          const { data } = await read(device, out);
          for (let h = 0; h < H; h++) {
            const wanted = whole.data.subarray((h * N + from) * D, (h * N + to) * D);
            const got = data.subarray(h * (to - from) * D, (h + 1) * (to - from) * D);
            assertSameBits(got, wanted, `${name} ${from}`);
          }
        }
        state.close();
      }
    }),
);

gpuTest("states in a GPU's memory give it back", () =>
  withGpu(async (engine) => {
    const weights: Tensor = { data: new Float32Array(127), shape: [1, 127] };
    const v: Tensor = { data: new Float32Array(64), shape: [1, 64] };
    const bytes: number[] = [];
    for (let time = 0; time < 3; time++) {
      const state = createLightweightConvolutionState(weights, { engine });
      for (let token = 0; token < 3; token++) await state.step(v);
      const open = engine.memoryBytes;
      state.close();
      bytes.push(open - engine.memoryBytes);
    }
    assertEquals(bytes, new Array(3).fill(2 * 126 * 64 * 4));
  }));

gpuTest(
  "a convolution refuses a buffer that it would read and write",
  () =>
    withGpu(async (engine, device) => {
      const one = upload(device, { data: new Float32Array(100), shape: [4, 3] });
      const other = upload(device, { data: new Float32Array(12), shape: [4, 3] });
      const message = (name: string) =>
        "Cannot compute `dynamicConvolution()`: `out` must be another GPUBuffer than " +
        `\`${name}\`, a GPU cannot read and write one in one pass`;
      const away = { ...one, offset: 50 };
      await assertRefused(
        () => functions.dynamicConvolution(one, other, { out: away, engine }),
        RangeError,
        message("v"),
      );
      await assertRefused(
        () => functions.dynamicConvolution(other, one, { out: away, engine }),
        RangeError,
        message("weights"),
      );
    }),
);
