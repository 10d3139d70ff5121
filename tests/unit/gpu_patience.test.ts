import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import {
  BackendUnavailableError,
  capabilities,
  createEngine,
  type EngineOptions,
  tensor,
} from "@flashtile/attention";
import { clock } from "../../src/runtime.ts";
import { errorOf } from "../support/errors.ts";
import { fakeDevice, fakeGpu } from "../support/fake_gpu.ts";
import { withStub } from "../support/stub.ts";
import { longTest } from "../support/share.ts";

const never = () => new Promise<never>(() => {});

/** Lets five seconds pass at once; tells how many such waits began and were not ended. */
async function withoutWaiting(use: () => Promise<void>): Promise<void> {
  const { after, cancel } = clock, waits = new Set<unknown>();
  const short = (milliseconds: number, run: () => void) => {
    const timer = after(milliseconds > 1000 ? 20 : milliseconds, run);
    if (milliseconds > 1000) {
      assert(milliseconds > 4000 && milliseconds <= 5000, `${milliseconds} ms`);
      waits.add(timer);
    }
    return timer;
  };
  const ended = (timer: unknown) => (waits.delete(timer), cancel(timer));
  await withStub(clock, "after", short, () => withStub(clock, "cancel", ended, use));
  assertEquals(waits.size, 0, "timers that keep a process alive");
}

/** A `GPU` that answers a request for an adapter so. */
function gpuWith(requestAdapter: () => unknown): GPU {
  return { requestAdapter } as unknown as GPU;
}

const tooLate = "no answer came within five seconds";
const noAdapter = "no adapter was found: there is no GPU, or no driver for it";

/** Ways to have no adapter, and what is said then. */
const withoutAdapter: [string, () => unknown, string][] = [
  ["never answers", never, `asking for an adapter failed: ${tooLate}`],
  [
    "rejects with nothing",
    () => Promise.reject(),
    "asking for an adapter failed: no reason was given",
  ],
  [
    "rejects with null",
    () => Promise.reject(null),
    "asking for an adapter failed: no reason was given",
  ],
  ["rejects with a string", () => Promise.reject("gone"), "asking for an adapter failed: gone"],
  ["throws", () => {
    throw new Error("at once");
  }, "asking for an adapter failed: at once"],
  ["gives no promise", () => null, noAdapter],
  ["resolves to undefined", () => Promise.resolve(), noAdapter],
];

/** Ways to have no device, and what is said then. */
const withoutDevice: [string, () => unknown, string][] = [
  ["never answers", never, tooLate],
  ["rejects with nothing", () => Promise.reject(), "no reason was given"],
  ["rejects with a string", () => Promise.reject("gone"), "gone"],
  ["throws", () => {
    throw new Error("at once");
  }, "at once"],
  [
    "gives one that is lost",
    () =>
      fakeDevice(undefined, Promise.resolve({ message: "gone", reason: "unknown" } as never))
        .device,
    "it was lost at once: gone",
  ],
  [
    "gives one whose loss fails",
    () => fakeDevice(undefined, Promise.reject(new Error("gone"))).device,
    "it was lost at once: gone",
  ],
];

for (const [name, requestAdapter, reason] of withoutAdapter) {
  test(`a GPU whose requestAdapter() ${name} is not available, and says why`, () =>
    withoutWaiting(async () => {
      const gpu = gpuWith(requestAdapter);
      const { webgpu, backend } = await capabilities({ gpu });
      assertEquals(webgpu, { available: false, software: false, reason });
      assertEquals(backend, "wasm");
      const error = await errorOf(() => createEngine({ backend: "webgpu", gpu })) as Error;
      assertInstanceOf(error, BackendUnavailableError);
      assertEquals(error.message, `Cannot use the webgpu backend: ${reason}`);
    }));
}

for (const [name, requestDevice, reason] of withoutDevice) {
  test(`a GPU whose requestDevice() ${name} is refused by its name, and says why`, () =>
    withoutWaiting(async () => {
      const gpu = fakeGpu(requestDevice);
      const error = await errorOf(() => createEngine({ backend: "webgpu", gpu })) as Error;
      assertInstanceOf(error, BackendUnavailableError);
      const words = `Cannot use the webgpu backend: its adapter gave no device: ${reason}`;
      assertEquals(error.message, words);
    }));
}

/** What a stub of a page's `navigator` has that throws where it is read. */
const thrower = (name: string) =>
  Object.defineProperty({}, name, {
    get() {
      throw new Error(`no ${name} here`);
    },
  });

test("a `navigator.gpu` that throws is not available, and says why", () =>
  withStub(globalThis, "navigator" as never, thrower("gpu"), async () => {
    const reason = "asking for an adapter failed: no gpu here";
    assertEquals((await capabilities()).webgpu, { available: false, software: false, reason });
    const error = await errorOf(() => createEngine({ backend: "webgpu" })) as Error;
    assertInstanceOf(error, BackendUnavailableError);
    assertEquals(error.message, `Cannot use the webgpu backend: ${reason}`);
    assertMatch(await attendLarge({}), / no GPU: .* no gpu here$/);
  }));

test("an adapter whose `info` throws does not say its name", async () => {
  const gpu = gpuWith(() => Promise.resolve(thrower("info")));
  const { webgpu } = await capabilities({ gpu });
  assertEquals(webgpu.reason, "an adapter that does not say its name");
});

/** Worth a GPU. */
const large = tensor(new Float32Array(2048 * 1024).fill(1), [2048, 1024]);

async function attendLarge(options: EngineOptions): Promise<string> {
  const engine = await createEngine({ threads: 1, ...options });
  const { out } = await engine.attention(large, large, large);
  assertEquals(out.data[7], 1);
  const { backend, reason } = engine;
  assertEquals(backend, "wasm");
  await engine.close();
  return reason;
}

longTest(
  "auto runs on the CPU where a GPU never answers, and says why",
  () =>
    withoutWaiting(async () => {
      assertMatch(
        await attendLarge({ gpu: gpuWith(never) }),
        / no GPU: asking for an adapter .* five/,
      );
      assertMatch(
        await attendLarge({ gpu: fakeGpu(never) }),
        / no GPU: .* gave no device: .* five/,
      );
      const reason = await attendLarge({ gpu: gpuWith(() => Promise.reject()) });
      assertMatch(reason, / no GPU: asking for an adapter failed: no reason was given$/);
    }),
);

longTest(
  "a device that comes too late is destroyed",
  () =>
    withoutWaiting(async () => {
      const late = fakeDevice();
      let give = (_: GPUDevice) => {};
      const gpu = fakeGpu(() => new Promise<GPUDevice>((resolve) => give = resolve));
      for (const backend of ["auto", "webgpu"] as const) {
        late.isDestroyed = false;
        const use = backend === "auto"
          ? attendLarge({ gpu })
          : errorOf(() => createEngine({ backend, gpu }));
        await use;
        give(late.device);
        await new Promise((resolve) => setTimeout(resolve, 1));
        assertEquals(late.isDestroyed, true, backend);
      }
    }),
);

test("close() does not wait for a GPU that never answers, nor do its calls", async () => {
  for (const late of [null, fakeDevice()]) {
    let give = (_: GPUDevice) => {}, asked = () => {};
    const isAsked = new Promise<void>((resolve) => asked = resolve);
    const gpu = late === null ? gpuWith(() => (asked(), never())) : fakeGpu(() => {
      asked();
      return new Promise<GPUDevice>((resolve) => give = resolve);
    });
    const engine = await createEngine({ threads: 1, gpu });
    const call = errorOf(() => engine.attention(large, large, large));
    await isAsked;
    await engine.close();
    assertEquals((await call as Error).message, "Cannot use an engine after `close()`");
    if (late === null) continue;
    give(late.device);
    await new Promise((resolve) => setTimeout(resolve, 1));
    assertEquals(late.isDestroyed, true);
  }
});

const small = tensor(new Float32Array(64), [4, 16]);

test("a lost device that is not replaced within five seconds rejects the call, and says why", () =>
  withoutWaiting(async () => {
    const first = fakeDevice(), answers: unknown[] = [first.device];
    const gpu = fakeGpu(() => answers.shift() ?? never());
    const engine = await createEngine({ backend: "webgpu", gpu });
    first.lose("gone");
    await first.device.lost;
    const error = await errorOf(() => engine.attention(small, small, small)) as Error;
    assertInstanceOf(error, BackendUnavailableError);
    assertMatch(error.message, /: its adapter gave no device: no answer came within five seconds$/);
    await engine.close();
  }));

test("close() ends the wait for a device in place of a lost one", async () => {
  const first = fakeDevice(), late = fakeDevice();
  let give = (_: GPUDevice) => {}, asked = () => {};
  const isAsked = new Promise<void>((resolve) => asked = resolve);
  const gpu = fakeGpu(() => {
    if (first.calls.length === 0) return first.device;
    asked();
    return new Promise<GPUDevice>((resolve) => give = resolve);
  });
  const engine = await createEngine({ backend: "webgpu", gpu });
  first.lose("gone");
  await first.device.lost;
  const call = errorOf(() => engine.attention(small, small, small));
  await isAsked;
  await engine.close();
  assertEquals((await call as Error).message, "Cannot use an engine after `close()`");
  give(late.device);
  await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(late.isDestroyed, true);
});
