import { test } from "node:test";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { BackendUnavailableError } from "@flashtile/attention";
import {
  binaryBytes,
  chooseBinary,
  compileBinary,
  instantiate,
  relaxedFuses,
} from "../../src/wasm/module.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { withStub } from "../support/stub.ts";

const validate = WebAssembly.validate;

/** Sees no relaxed SIMD, whatever this runtime has. */
const onlySimd = (bytes: BufferSource) =>
  (bytes as Uint8Array).length === binaryBytes("simd").length && validate(bytes);

test("binaryBytes() gives WebAssembly that needs SIMD, in two versions", () => {
  const [simd, relaxed] = [binaryBytes("simd"), binaryBytes("relaxed")];
  for (const bytes of [simd, relaxed]) {
    assertEquals(Array.from(bytes.subarray(0, 8)), [0, 97, 115, 109, 1, 0, 0, 0]);
  }
  assert(validate(simd));
  assert(simd.some((byte, at) => byte !== relaxed[at]));
});

test("chooseBinary() takes the relaxed binary where relaxed multiply-add is fused", () => {
  const fuses = relaxedFuses();
  assertEquals(chooseBinary().name, fuses ? "relaxed" : "simd");
  assertEquals(fuses === null, !validate(binaryBytes("relaxed")));
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

test("compileBinary() tries again after a failure", async () => {
  const mistake = new Error("out of memory");
  await withStub(WebAssembly, "compile", () => Promise.reject(mistake), async () => {
    assert(await errorOf(() => compileBinary("simd")) === mistake);
  });
  assertInstanceOf(await compileBinary("simd"), WebAssembly.Module);
});

test("instantiate() gives the kernels over the memory", async () => {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
  const kernels = instantiate(await compileBinary("simd"), memory);
  const base = kernels.heapBase() >>> 0;
  assert(base > 0 && base < 65536, `heap at ${base}`);
});

test("instantiate() refuses a module of someone else", async () => {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
  const empty = new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  await assertRefused(
    () => instantiate(empty, memory),
    TypeError,
    "Cannot create an engine: `module` is not a FlashTile binary, it lacks `heapBase`",
  );
});
