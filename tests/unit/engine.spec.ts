import { BackendUnavailableError, capabilities, createEngine } from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { test } from "node:test";
import { threadsUnavailable } from "../../src/runtime.ts";
import { countThreads, memoryLimits } from "../../src/wasm/backend.ts";
import { compileBinary } from "../../src/wasm/binary/module.ts";
import { binaries } from "../support/binaries.ts";
import { assertRefused, type ErrorClass, errorOf } from "../support/errors.ts";
import { withoutSimd, withStub } from "../support/stub.ts";

type Refused = [what: string, options: unknown, error: ErrorClass, message: string];

const refused: Refused[] = [
  ["null", null, TypeError, "options must be an object, got null"],
  ["a string", "wasm", TypeError, 'options must be an object, got "wasm"'],
  [
    "an unknown option",
    { backends: "wasm" },
    TypeError,
    "unknown option `backends`, known are backend, threads, workerUrl, module, maxMemoryBytes, " +
    "device, gpu, wide; did you mean `backend`?",
  ],
  [
    "an unknown backend",
    { backend: "webgl" },
    TypeError,
    '`backend` must be "auto", "wasm" or "webgpu", got "webgl"',
  ],
  [
    "null as backend",
    { backend: null },
    TypeError,
    '`backend` must be "auto", "wasm" or "webgpu", got null',
  ],
  ["no thread", { threads: 0 }, RangeError, '`threads` must be "auto" or at least 1, got 0'],
  ["half threads", { threads: 1.5 }, RangeError, '`threads` must be "auto" or at least 1, got 1.5'],
  [
    "threads by name",
    { threads: "4" },
    RangeError,
    '`threads` must be "auto" or at least 1, got 4',
  ],
  [
    "wide kernels of a module passed in",
    { wide: true, module: new WebAssembly.Module(binaries.simd) },
    RangeError,
    "`wide` needs the library's own binary, not `module`",
  ],
  [
    "several threads for a module passed in",
    { threads: 2, module: new WebAssembly.Module(binaries.simd) },
    RangeError,
    "`threads` above 1 needs the library's own binary, not `module`",
  ],
  ...([[null, "null"], [1, "1"], [{ href: 1 }, "Object"], [["/worker.js"], "Array"]]
    .map(([workerUrl, kind]) =>
      [
        `as workerUrl ${JSON.stringify(workerUrl)}`,
        { workerUrl },
        TypeError,
        `\`workerUrl\` must be a string or a URL, got ${kind}`,
      ] as Refused
    )),
  ["no device as device", { device: {} }, TypeError, "`device` must be a GPUDevice"],
  [
    "no GPU as gpu",
    { gpu: {} },
    TypeError,
    "`gpu` must be a GPU, as `navigator.gpu` is",
  ],
  [
    "bytes as module",
    { module: new Uint8Array(8) },
    TypeError,
    "`module` must be a WebAssembly.Module",
  ],
  [
    "memory by name",
    { maxMemoryBytes: "1 GiB" },
    TypeError,
    "`maxMemoryBytes` must be a number, got string",
  ],
  ...[0, -1, 2 ** 20 - 1, 2 ** 20 + 0.5, NaN, Infinity, 2 ** 32, 65535 * 65536 + 1].map((bytes) =>
    [
      `${bytes} bytes of memory`,
      { maxMemoryBytes: bytes },
      RangeError,
      "`maxMemoryBytes` must be a whole number from 1048576 to 4294901760, " + `got ${bytes}`,
    ] as Refused
  ),
];

for (const [what, options, error, message] of refused) {
  test(`createEngine() refuses ${what}`, async () => {
    await assertRefused(
      () => createEngine(options as never),
      error,
      `Cannot create an engine: ${message}`,
    );
  });
}

test("createEngine() refuses a module that is not one of its own", async () => {
  const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  await assertRefused(
    () => createEngine({ module: empty }),
    TypeError,
    "Cannot create an engine: `module` is not a FlashTile binary, it lacks `heapBase`",
  );
});

test("createEngine() accepts the least and the most memory", async () => {
  for (const maxMemoryBytes of [memoryLimits.least, memoryLimits.most]) {
    const engine = await createEngine({ maxMemoryBytes });
    assertEquals(engine.memoryBytes, memoryLimits.least);
    await engine.close();
  }
});

test("createEngine() accepts any address of workers, read once, where none is needed", async () => {
  let reads = 0;
  const readOnce = {
    get href() {
      if (reads++ > 0) throw new Error("read twice");
      return "/worker.js";
    },
  };
  const url = new URL("https://example.com/worker.js");
  for (const workerUrl of ["/worker.js", url, readOnce]) {
    const engine = await createEngine({ backend: "wasm", threads: 2, workerUrl });
    assertMatch(engine.reason, / binary, 2 threads:/);
    await engine.close();
  }
});

test("createEngine() accepts one thread and options of undefined", async () => {
  for (const options of [{ threads: 1 }, { threads: "auto" }, { backend: undefined }] as const) {
    const engine = await createEngine(options);
    assertEquals(engine.backend, "wasm");
    await engine.close();
  }
});

test("createEngine() refuses webgpu by name where it cannot be had, and says why", async () => {
  const broken = [
    [() => Promise.resolve(null), "no adapter was found: there is no GPU, or no driver for it"],
    [() => Promise.reject(new Error("no")), "asking for an adapter failed: no"],
  ] as const;
  for (const [requestAdapter, reason] of broken) {
    const gpu = { requestAdapter } as unknown as GPU;
    const error = await errorOf(() => createEngine({ backend: "webgpu", gpu }));
    assertInstanceOf(error, BackendUnavailableError);
    const { message, backend, name } = error as BackendUnavailableError;
    assertEquals(message, `Cannot use the webgpu backend: ${reason}`);
    assertEquals([backend, name], ["webgpu", "BackendUnavailableError"]);
    const offered = await capabilities({ gpu });
    assertEquals(offered.webgpu, { available: false, software: false, reason });
  }
});

test("createEngine() refuses to run without SIMD and says why", async () => {
  await withoutSimd(async () => {
    for (const options of [{}, { backend: "auto" }, { backend: "wasm" }] as const) {
      const error = await errorOf(() => createEngine(options));
      assertInstanceOf(error, BackendUnavailableError);
      assertEquals(
        (error as Error).message,
        "Cannot use the wasm backend: this engine has no 128-bit SIMD (simd128)",
      );
    }
  });
});

test("createEngine() runs a module that is passed in, without choosing", async () => {
  const module = await WebAssembly.compile(binaries.simd);
  await withoutSimd(async () => {
    const engine = await createEngine({ module });
    assertEquals(engine.reason, "the module passed in");
    const one = { data: Float32Array.of(1, 2), shape: [1, 2] };
    assertEquals(Array.from((await engine.attention(one, one, one)).out.data), [1, 2]);
    await engine.close();
  });
});

test("createEngine() tells its backend and why it was taken", async () => {
  const { wasm, threads } = await capabilities();
  const automatic = threads.available ? Math.min(16, threads.count) : 1;
  for (const [given, count] of [[1, 1], [3, 3], ["auto", automatic], [undefined, automatic]]) {
    const engine = await createEngine({ threads: given as "auto" });
    const words = count === 1 ? "one thread" : `${count} threads`;
    assertEquals(engine.backend, "wasm");
    assertEquals(engine.reason, `${wasm.binary} binary, ${words}: ${wasm.reason}`);
    assertEquals(await engine.capabilities(), await capabilities());
    await engine.close();
  }
});

test("capabilities() tells what runs and why", async () => {
  const { backend, reason, wasm, webgpu, threads } = await capabilities();
  assertEquals(backend, webgpu.available && !webgpu.software ? "webgpu" : "wasm");
  if (backend === "wasm") assertEquals(reason, `${wasm.binary} binary: ${wasm.reason}`);
  assert(wasm.available);
  assert(wasm.binary === "simd" || wasm.binary === "relaxed");
  // Every runtime that the tests run on has workers and shared memory.
  assertEquals(threads.available, true);
  assert(Number.isSafeInteger(threads.count) && threads.count >= 1);
  for (const words of [wasm.reason, webgpu.reason, threads.reason]) assertMatch(words, /\w+ \w+/);
});

test("capabilities() tells why nothing runs without SIMD", async () => {
  await withoutSimd(async () => {
    const { backend, reason, wasm } = await capabilities();
    assertEquals(backend, null);
    assertEquals(
      reason,
      "Cannot use the wasm backend: this engine has no 128-bit SIMD (simd128)",
    );
    assertEquals(wasm, { available: false, binary: null, reason });
  });
});

test("engines share one compiled binary", () => {
  assert(compileBinary("simd") === compileBinary("simd"));
});

test("countThreads() takes or refuses a number, and takes one thread where workers lack", async () => {
  assertEquals([countThreads(1), countThreads(5)], [1, 5]);
  await withStub(globalThis, "SharedArrayBuffer", undefined, async () => {
    assertEquals([countThreads("auto"), countThreads(1)], [1, 1]);
    const reason = "there is no shared memory (pages need the headers COOP and COEP)";
    await assertRefused(
      () => countThreads(2),
      BackendUnavailableError,
      `Cannot use the wasm backend: it cannot have 2 threads: ${reason}`,
    );
    const { threads } = await capabilities();
    assertEquals([threads.available, threads.reason], [false, reason]);
    await withStub(globalThis, "crossOriginIsolated" as never, true, () => {
      assertEquals(threadsUnavailable(), "there is no shared memory"); // Headers would not help.
    });
  });
});

test("createEngine() refuses threads where there are none, and runs without", async () => {
  const one = { data: Float32Array.of(1, 2), shape: [1, 2] };
  await withStub(globalThis, "SharedArrayBuffer", undefined, async () => {
    assertInstanceOf(await errorOf(() => createEngine({ threads: 2 })), BackendUnavailableError);
    const engine = await createEngine();
    assertMatch(engine.reason, / binary, one thread: /);
    assertEquals(Array.from((await engine.attention(one, one, one)).out.data), [1, 2]);
    await engine.close();
  });
});
