import type { Kernels } from "../../src/wasm/binary/kernels.gen.ts";
import { BackendUnavailableError, createEngine, type Tensor, tensor } from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { test } from "node:test";
import { initialPages, maximumPages } from "../../src/wasm/binary/binaries.gen.ts";
import { chooseBinary, chooseSplats, relaxedFuses } from "../../src/wasm/binary/choice.ts";
import {
  checkModule,
  compileBinary,
  instantiate,
  shareMemory,
} from "../../src/wasm/binary/module.ts";
import { binaries } from "../support/binaries.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { without, withStub } from "../support/stub.ts";

const validate = WebAssembly.validate;

/** Sees no relaxed SIMD, whatever this runtime has. */
const onlySimd = (bytes: BufferSource) => !usesRelaxed(bytes as Uint8Array) && validate(bytes);

/** Whether a module has an instruction `f32x4.relaxed_madd`. */
function usesRelaxed(bytes: Uint8Array): boolean {
  return bytes.some((byte, at) =>
    byte === 0xfd && bytes[at + 1] === 0x85 && bytes[at + 2] === 0x02
  );
}

test("binaryBytes() gives WebAssembly that needs SIMD, in two versions", () => {
  const { simd, relaxed } = binaries;
  for (const bytes of [simd, relaxed]) {
    assertEquals(Array.from(bytes.subarray(0, 8)), [0, 97, 115, 109, 1, 0, 0, 0]);
  }
  assert(validate(simd));
  assert(simd.some((byte, at) => byte !== relaxed[at]));
});

test("chooseBinary() takes the relaxed binary where relaxed multiply-add is fused", () => {
  const fuses = relaxedFuses();
  assertEquals(chooseBinary().name, fuses ? "relaxed" : "simd");
  assertEquals(fuses === null, !validate(binaries.relaxed));
});

test("chooseBinary() takes the plain binary where there is no relaxed SIMD", async () => {
  await withStub(WebAssembly, "validate", onlySimd, () => {
    assertEquals(relaxedFuses(), null);
    assertEquals(chooseBinary(), { name: "simd", reason: "this engine has no relaxed SIMD" });
  });
});

/** Stands for an engine that has relaxed SIMD, fused or not. */
async function withProbe(fused: number, use: () => void): Promise<void> {
  const Module = class {},
    Instance = class {
      exports = { fused: () => fused };
    };
  await withStub(
    WebAssembly,
    "validate",
    () => true,
    () =>
      withStub(
        WebAssembly,
        "Module",
        Module,
        () => withStub(WebAssembly, "Instance", Instance, use),
      ),
  );
}

test("chooseBinary() takes the plain binary where multiply-add is not fused", async () => {
  await withProbe(0, () => {
    assertEquals(chooseBinary(), {
      name: "simd",
      reason: "this engine's relaxed multiply-add is not fused, so no faster",
    });
  });
});

test("chooseBinary() says that the relaxed binary is taken because it fuses", async () => {
  await withProbe(1, () => {
    assertEquals(chooseBinary(), {
      name: "relaxed",
      reason: "this engine fuses relaxed multiply-add",
    });
  });
});

test("chooseBinary() throws where there is no SIMD, or no WebAssembly at all", async () => {
  const reasons: [object, PropertyKey, unknown, string][] = [
    [WebAssembly, "validate", () => false, "this engine has no 128-bit SIMD (simd128)"],
    [globalThis, "WebAssembly", undefined, "this runtime has no WebAssembly"],
  ];
  for (const [object, key, stub, reason] of reasons) {
    let error: unknown;
    await withStub(object, key as never, stub, async () => {
      error = await errorOf(() => chooseBinary());
    });
    assertInstanceOf(error, BackendUnavailableError);
    assertEquals((error as Error).message, `Cannot use the wasm backend: ${reason}`);
  }
});

test("chooseBinary() says where nothing may be compiled what has to be allowed", async () => {
  const mistake = new WebAssembly.CompileError("blocked by a policy");
  const refuse = function () {
    throw mistake;
  };
  // Also where an engine knows nothing of relaxed SIMD: there is another module to try then.
  for (const validates of [WebAssembly.validate, onlySimd]) {
    let error: unknown;
    await withStub(
      WebAssembly,
      "validate",
      validates,
      () =>
        withStub(WebAssembly, "Module", refuse, async () => {
          error = await errorOf(() => chooseBinary());
        }),
    );
    assertInstanceOf(error, BackendUnavailableError);
    assertMatch((error as Error).message, /'wasm-unsafe-eval'.*pass `module`/);
    assert((error as Error).cause === mistake);
  }
});

test("compileBinary() tries again after a failure", async () => {
  const { Module } = WebAssembly, mistake = new Error("out of memory");
  const fail = function () {
    throw mistake;
  };
  await withStub(WebAssembly, "Module", fail, async () => {
    assert(await errorOf(() => compileBinary("simd")) === mistake);
  });
  assertInstanceOf(await compileBinary("simd"), Module);
});

test("compileBinary() compiles beside a page, and fails there as anywhere", async () => {
  const mistake = new Error("out of memory");
  await withStub(globalThis as { document?: unknown }, "document", {}, async () => {
    await withStub(WebAssembly, "compile", () => Promise.reject(mistake), async () => {
      assert(await errorOf(() => compileBinary("simd", true)) === mistake);
    });
    assertInstanceOf(await compileBinary("simd", true), WebAssembly.Module);
  });
});

test("instantiate<Kernels>() gives the kernels over the memory", async () => {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
  const kernels = instantiate<Kernels>(await compileBinary("simd"), memory);
  const base = kernels.heapBase() >>> 0;
  assert(base > 0 && base < 65536, `heap at ${base}`);
});

test("checkModule() takes the library's binaries, and refuses a module of someone else", async () => {
  checkModule(await compileBinary("simd"));
  const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  await assertRefused(
    () => checkModule(empty),
    TypeError,
    "Cannot create an engine: `module` is not a FlashTile binary, it lacks `heapBase`",
  );
});

/** A copy of a binary that is one over a shared memory. */
function sharedOf(binary: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const shared = binary.slice();
  shareMemory(shared);
  return shared;
}

test("shareMemory() changes the flags of the imported memory alone", () => {
  for (const name of ["simd", "relaxed"] as const) {
    const bytes = binaries[name], shared = sharedOf(bytes);
    const differs = shared.map((byte, at) => byte ^ bytes[at]).filter((bits) => bits !== 0);
    assertEquals(Array.from(differs), [2]);
    assertEquals(shared.length, bytes.length);
    if (!validate(bytes)) continue;
    const [memory] = WebAssembly.Module.imports(new WebAssembly.Module(shared));
    assertEquals(memory, { module: "env", name: "memory", kind: "memory" });
  }
});

test("shareMemory() gives a binary that runs over shared memory, and over no other", async () => {
  const module = await WebAssembly.compile(sharedOf(binaries.simd));
  const limits = { initial: 16, maximum: 65535 };
  const memory = new WebAssembly.Memory({ ...limits, shared: true });
  assert(instantiate<Kernels>(module, memory).heapBase() > 0);
  const error = await errorOf(() => instantiate<Kernels>(module, new WebAssembly.Memory(limits)));
  assertInstanceOf(error, WebAssembly.LinkError);
});

test("shareMemory() refuses what does not begin with a memory", async () => {
  // One import, the function env.memory of the first type.
  const bytes = Uint8Array.of(
    ...[0, 97, 115, 109, 1, 0, 0, 0],
    ...[1, 4, 1, 0x60, 0, 0],
    ...[2, 14, 1, 3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 0, 0],
  );
  await assertRefused(
    () => shareMemory(bytes),
    Error,
    "Cannot share memory: the first import is no memory",
  );
});

test("compileBinary() keeps the shared binary apart from the other", async () => {
  assert(compileBinary("simd", true) === compileBinary("simd", true));
  assert(await compileBinary("simd", true) !== await compileBinary("simd"));
});

/** What chooses the micro-kernels: runtimes as their globals tell them. */
const splats: [what: string, globals: Record<string, unknown>, expected: number][] = [
  ["Node", { process: { versions: { node: "24", v8: "13" } } }, 4],
  ["Bun", { process: { versions: { node: "24", v8: "13", bun: "1.3" } } }, 0],
  ["Chrome", { process: undefined, navigator: { userAgent: "Mozilla/5.0 Chrome/140" } }, 4],
  ["Firefox", { process: undefined, navigator: { userAgent: "Mozilla/5.0 Gecko Firefox/1" } }, 0],
  [
    "workerd",
    {
      process: { versions: { node: "22", v8: "" } },
      navigator: { userAgent: "Cloudflare-Workers" },
    },
    1,
  ],
  ["a bare runtime", { process: undefined, navigator: undefined }, 0],
];

/** Runs with other globals. */
async function withGlobals(globals: Record<string, unknown>, use: () => void): Promise<void> {
  const [first, ...rest] = Object.entries(globals);
  if (first === undefined) return use();
  const [name, value] = first;
  await withStub(
    globalThis,
    name as never,
    value,
    () => withGlobals(Object.fromEntries(rest), use),
  );
}

for (const [what, globals, expected] of splats) {
  test(`chooseSplats() takes the micro-kernels of ${what}`, async () => {
    await without(globalThis, "Deno" as never, async () => {
      await withGlobals(globals, () => assertEquals(chooseSplats(), expected));
    });
  });
}

test("chooseSplats() takes the micro-kernels of Deno", async () => {
  if (!("Deno" in globalThis)) return assert([0, 4].includes(chooseSplats()));
  assertEquals(chooseSplats(), relaxedFuses() ? 1 : 0);
  assertEquals([chooseSplats("relaxed"), chooseSplats("simd")], [1, 0]);
  await withStub(WebAssembly, "validate", onlySimd, () => assertEquals(chooseSplats(), 0));
});

test("no kernel writes static memory: a thread that begins makes it anew, whoever works there", async () => {
  const module = await compileBinary("simd");
  const memory = new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages });
  const bytes = instantiate<Kernels>(module, memory).callRecord();
  await using engine = await createEngine({ backend: "wasm", module });
  const statics = () => new Uint8Array(engine.tensor([1]).data.buffer, 0, bytes).slice();
  const before = statics();

  const half = { data: new Uint16Array(300 * 20).fill(0x3800), shape: [300, 20], dtype: "f16" };
  const x = half as Tensor<Uint16Array>, bias = tensor(new Float32Array(300), [300]);
  const options = { causal: true, softcap: 3, bias, alibi: tensor(Float32Array.of(0.1), [1]) };
  const { backward, ...part } = await engine.attentionWithGradient(x, x, x, options);
  await backward(x);
  await engine.mergeAttention([part, part]);
  await engine.rope(x, null, { positions: 3 });
  for (const dtype of ["f32", "f16", "bf16", "int8", "int4"] as const) {
    using cache = engine.kvCache({ kvHeads: 1, headDim: 20, dtype });
    cache.append(x, x);
    for (const rows of [1, 3, 20]) {
      await cache.attend(tensor(new Float32Array(rows * 20).fill(0.1), [rows, 20]));
    }
  }
  assertEquals(statics(), before);
});
