import {
  attention,
  createEngine,
  DeviceLostError,
  type EngineOptions,
  tensor,
} from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { requestGpu } from "../../src/webgpu/device/device.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedDevice } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { findGpu } from "../support/gpu.ts";
import { inputsOf, randomProblem, sizesOf } from "../support/problem.ts";

const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 300, Nk: 300, D: 64 }), 1));

/** A `GPU` that remembers its devices. */
function watchedGpu(gpu: GPU): { gpu: GPU; devices: GPUDevice[] } {
  const devices: GPUDevice[] = [];
  const requestAdapter = async (options?: GPURequestAdapterOptions) => {
    const adapter = await gpu.requestAdapter(options);
    if (adapter === null) return null;
    return new Proxy(adapter, {
      get(target, name) {
        if (name !== "requestDevice") {
          const value = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        }
        return async (descriptor?: GPUDeviceDescriptor) => {
          devices.push(await target.requestDevice(descriptor));
          return devices.at(-1);
        };
      },
    });
  };
  return { gpu: { requestAdapter } as GPU, devices };
}

gpuTest("a lost device rejects the running calls, and the next call has a new one", async () => {
  const { gpu, devices } = watchedGpu((await findGpu())!);
  const engine = await createEngine({ backend: "webgpu", gpu });
  const expected = await engine.attention(q, k, v);
  for (let time = 0; time < 2; time++) {
    const running = [engine.attention(q, k, v), engine.attention(q, k, v)];
    const errors = running.map((call) => errorOf(() => call));
    devices.at(-1)!.destroy();
    for (const error of await Promise.all(errors)) assertInstanceOf(error, DeviceLostError);
    const again = await Promise.all([engine.attention(q, k, v), engine.attention(q, k, v)]);
    for (const { out } of again) assertSameBits(out.data, expected.out.data);
    assertEquals(devices.length, time + 2);
  }
  await engine.close();
});

gpuTest("a device that was lost between calls is replaced too", async () => {
  const { gpu, devices } = watchedGpu((await findGpu())!);
  const engine = await createEngine({ backend: "webgpu", gpu });
  devices[0].destroy();
  await devices[0].lost;
  assertEquals((await engine.attention(q, k, v)).out.shape, q.shape);
  await engine.close();
});

gpuTest("a device of the caller's is not replaced, and not destroyed", async () => {
  const { device } = await requestGpu(await findGpu());
  const engine = await createEngine({ backend: "webgpu", device });
  await engine.attention(q, k, v);
  await engine.close();
  const other = await createEngine({ backend: "webgpu", device });
  await other.attention(q, k, v);
  device.destroy();
  await device.lost;
  const error = await errorOf(() => other.attention(q, k, v)) as Error;
  assertInstanceOf(error, DeviceLostError);
  assert(error.message.endsWith("make a new engine with a new `device`"), error.message);
  await other.close();
});

gpuTest(
  "a call that the device refuses rejects with its words, and the next one works",
  async () => {
    const device = await sharedDevice();
    const engine = await createEngine({ backend: "webgpu", device });
    const gone = engine.tensor([300, 64]);
    gone.data.destroy();
    const one = { ...tensor(new Float32Array(300 * 64), [300, 64]) };
    const error = await errorOf(() => engine.attention(one, gone, one)) as Error;
    assert(error.message.startsWith("Cannot attend: the GPU refused the call: "), error.message);
    assertEquals((await engine.attention(one, one, one)).out.shape, [300, 64]);
    await engine.close();
  },
);

gpuTest("auto takes a GPU for large calls alone, and never a software adapter", async () => {
  const real = (await findGpu())!;
  const large = tensor(new Float32Array(8 * 1024 * 64), [8, 1024, 64]);
  const engines: [EngineOptions, string][] = [
    [{ gpu: asHardware(real, false) }, "webgpu"],
    [{ gpu: asHardware(real, true) }, "wasm"],
  ];
  for (const [options, expected] of engines) {
    const engine = await createEngine(options);
    await engine.attention(q, k, v);
    assertEquals(engine.backend, "wasm");
    await engine.attention(large, large, large);
    assertEquals(engine.backend, expected);
    assertEquals((await engine.capabilities()).backend, expected);
    await engine.close();
    const error = await errorOf(() => engine.attention(large, large, large)) as Error;
    assertEquals(error.message, "Cannot use an engine after `close()`");
  }
  assertEquals((await attention(q, k, v)).out.shape, q.shape);
});

/** A `GPU` whose adapter says what we want it to say. */
function asHardware(gpu: GPU, isFallbackAdapter: boolean): GPU {
  const requestAdapter = async () =>
    new Proxy((await gpu.requestAdapter())!, {
      get(target, name) {
        if (name === "isFallbackAdapter") return isFallbackAdapter;
        if (name === "info") return { vendor: "test", isFallbackAdapter };
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return { requestAdapter } as unknown as GPU;
}
