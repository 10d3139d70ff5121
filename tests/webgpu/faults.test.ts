import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { createEngine, DeviceLostError, type Engine, type Tensor } from "@flashtile/attention";
import { requestGpu } from "../../src/webgpu/device.ts";
import { assertSameBits } from "../support/bits.ts";
import { gpuTest, sharedDevice } from "../support/device.ts";
import { findGpu } from "../support/gpu.ts";
import { type Decide, type Fault, flaky, gpuOf, refusable } from "../support/flaky.ts";
import { normals, seeded } from "../support/random.ts";

function rows(heads: number, count: number, seed: number): Tensor<Float32Array> {
  return { data: normals(heads * count * 8, seeded(seed)), shape: [1, heads, count, 8] };
}

const both = (one: Tensor<Float32Array>): Tensor<Float32Array> => ({
  data: Float32Array.from([...one.data, ...one.data]),
  shape: [2, ...one.shape.slice(1)],
});

const [q, k] = [rows(2, 1, 1), rows(1, 20, 2)];

/** Everything that a cache asks of a device; whatever it gives back, in order. */
async function useCache(engine: Engine<GPUBuffer>, smoothKeys: boolean): Promise<Uint8Array[]> {
  const dtype = smoothKeys ? "int8" : "f32";
  const options = { batch: 2, kvHeads: 1, headDim: 8, pageSize: 16, dtype, smoothKeys } as const;
  const results: Uint8Array[] = [];
  const cache = engine.kvCache(options), other = engine.kvCache(options);
  const attend = async (one: typeof cache) => {
    const { out } = await one.attend(both(q));
    results.push(new Uint8Array(out.data.buffer));
  };
  cache.append(both(k), both(k), { lengths: [20, 0] });
  cache.fork(0, 1);
  cache.append(both(rows(1, 3, 3)), both(rows(1, 3, 4))); // A shared page is copied.
  cache.evict({ keepFirst: 2, keepLast: 15 });
  cache.free(0);
  cache.append(both(rows(1, 2, 5)), both(rows(1, 2, 6))); // A page is somebody else's.
  await attend(cache);
  const saved = await cache.save();
  results.push(saved);
  other.load(saved);
  await attend(other);
  results.push(await other.save());
  for (const one of [cache, other]) one.free();
  return results;
}

/** As much as an operation has calls: a run without a fault for each, then with one. */
async function forEachCall(
  isCounted: (name: string) => boolean,
  run: (decide: Decide) => Promise<void>,
  fault: Fault,
): Promise<number> {
  let calls = 0;
  await run((name) => void (calls += Number(isCounted(name))));
  for (let at = 0; at < calls; at++) {
    let call = 0;
    await run((name) => isCounted(name) && call++ === at ? fault : undefined);
  }
  return calls;
}

/** The result, or what it was rejected with; an error where it does not settle. */
async function settled<T>(call: Promise<T>): Promise<T | Error> {
  let timer: number | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the call hangs")), 20_000) as unknown as number;
  });
  try {
    return await Promise.race([call.catch((error: Error) => error), hung]);
  } finally {
    clearTimeout(timer);
  }
}

function assertSame(got: readonly ArrayBufferView[], expected: readonly ArrayBufferView[]): void {
  assertEquals(got.length, expected.length);
  for (const [at, one] of got.entries()) {
    assertSameBits(one as Uint8Array, expected[at] as Uint8Array, `result ${at}`);
  }
}

const x = rows(2, 20, 7);

/** Operations by name; each gives its results. */
const operations: Record<string, (engine: Engine<GPUBuffer>) => Promise<ArrayBufferView[]>> = {
  attention: async (engine) => {
    const { out, lse } = await engine.attention(x, x, x, { causal: true, lse: true });
    return [out.data, lse.data];
  },
  "attention with terms": async (engine) => {
    const bias = { data: normals(400, seeded(8)), shape: [20, 20] };
    return [(await engine.attention(x, x, x, { bias, softcap: 3 })).out.data];
  },
  gradients: async (engine) => {
    const bias = { data: normals(20, seeded(8)), shape: [1, 20] },
      sinks = {
        data: new Float32Array(2),
        shape: [2],
      };
    const { out, backward } = await engine.attentionWithGradient(x, x, x, { bias, sinks });
    const { dq, dk, dv, dBias, dSinks } = await backward(out);
    return [dq.data, dk.data, dv.data, dBias!.data, dSinks!.data];
  },
  merge: async (engine) => {
    const part = { out: x, lse: { data: new Float32Array(40), shape: [1, 2, 20] } };
    return [(await engine.mergeAttention([part, part])).out.data];
  },
  rope: async (engine) => {
    const turned = { ...x, data: x.data.slice() };
    await engine.rope(turned);
    return [turned.data];
  },
  "a cache": (engine) => useCache(engine, false),
  "a cache less means": (engine) => useCache(engine, true),
};

for (const [name, operate] of Object.entries(operations)) {
  gpuTest(`${name}: right or refused, whatever the device refuses`, async () => {
    const real = await sharedDevice();
    let expected: ArrayBufferView[] | undefined;
    for (const refused of refusable) {
      const run = async (decide: Decide) => {
        let isArmed = false;
        const { device, living } = flaky(real, (call) => isArmed ? decide(call) : undefined);
        const engine = await createEngine({ backend: "webgpu", device });
        isArmed = true;
        const result = await settled(operate(engine));
        isArmed = false;
        if (result instanceof Error) {
          assert(/^Cannot (attend|merge|rotate|diff|compile)/.test(result.message), result.message);
          // The engine goes on.
          assertSame(await operate(engine), expected!);
        } else assertSame(result, expected ??= result);
        await engine.close();
        assertEquals(living.size, 0, `${refused}: buffers that live on`);
      };
      assert(await forEachCall((call) => call === refused, run, "refuse") > 0, refused);
    }
  });
}

/** Runs an operation on a device that fails, then on the one that is asked for in its place. */
function runsOf(
  operate: (engine: Engine<GPUBuffer>) => Promise<ArrayBufferView[]>,
  realOf: () => Promise<GPUDevice>,
): (decide: Decide) => Promise<void> {
  let expected: ArrayBufferView[] | undefined;
  return async (decide) => {
    let isArmed = false;
    const real = await realOf(), second = await sharedDevice();
    const devices = [flaky(real, (call) => isArmed ? decide(call) : undefined)];
    const next = () => {
      if (isArmed) devices.push(flaky(second, () => undefined));
      return devices.at(-1)!.device;
    };
    const engine = await createEngine({ backend: "webgpu", gpu: gpuOf(real, next) });
    isArmed = true;
    const result = await settled(operate(engine));
    if (result instanceof Error) {
      assertInstanceOf(result, DeviceLostError);
      const again = await settled(operate(engine));
      // A cache can only be made once the engine knows of the new device.
      const last = again instanceof DeviceLostError ? await renewed(engine, operate) : again;
      if (last instanceof Error) throw last;
      assertSame(last, expected!);
    } else assertSame(result, expected ??= result);
    await engine.close();
    assertEquals(devices.at(-1)!.isDestroyed, true);
    if (real !== second) real.destroy();
  };
}

/** What can be lost at: the others say only how. */
const isWork = (call: string) => !/ErrorScope|destroy/.test(call);

for (const [name, operate] of Object.entries(operations)) {
  if (name === "a cache") continue; // One of the two is enough.
  gpuTest(`${name}: ended by a device lost at any of its calls, done by the next`, async () => {
    const run = runsOf(operate, sharedDevice);
    for (const fault of ["lose and hang", "lose and go on"] as const) {
      assert(await forEachCall(isWork, run, fault) > 0);
    }
  });
}

gpuTest("merge: ended by a device destroyed at any of its calls, done by the next", async () => {
  const fresh = async () => (await requestGpu(await findGpu())).device;
  assert(await forEachCall(isWork, runsOf(operations.merge, fresh), "destroy") > 0);
});

/** Has a lost device replaced, by a call, and operates then. */
async function renewed<T>(
  engine: Engine<GPUBuffer>,
  operate: (engine: Engine<GPUBuffer>) => Promise<T>,
): Promise<T | Error> {
  await settled(engine.rope({ ...x, data: x.data.slice() }));
  return await settled(operate(engine));
}
