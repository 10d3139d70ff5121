import { BackendUnavailableError, capabilities, createEngine, tensor } from "@flashtile/attention";
import { assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { test } from "node:test";
import type { BinaryName } from "../../src/contract/capabilities.ts";
import { chooseBinary } from "../../src/wasm/binary/choice.ts";
import { compileBinary, provideBinary } from "../../src/wasm/binary/module.ts";
import { binaries } from "../support/binaries.ts";
import { errorOf } from "../support/errors.ts";
import { without, withStub } from "../support/stub.ts";

// In order: what is provided stays.

/** Node 20 has no relaxed SIMD. */
const name: BinaryName = WebAssembly.validate(binaries.relaxed) ? "relaxed" : "simd";
const module = new WebAssembly.Module(binaries[name]);
const reason = "compiled before the program serves";

function forbid(): never {
  throw new WebAssembly.CompileError("Wasm code generation disallowed by embedder");
}

/** Compiles nothing; modules that exist are instances of it all the same. */
class Forbidden {
  static readonly exports = WebAssembly.Module.exports;
  static [Symbol.hasInstance](value: unknown): boolean {
    return Object.prototype.toString.call(value) === "[object WebAssembly.Module]";
  }
  constructor() {
    forbid();
  }
}

/** Makes this runtime look like workerd while it serves. */
function inHandler(use: () => Promise<void>): Promise<void> {
  const navigator = { userAgent: "Cloudflare-Workers", hardwareConcurrency: 1 };
  const process = { versions: { node: "22", v8: "" } };
  const stubs: ((inner: () => Promise<void>) => Promise<void>)[] = [
    (inner) => without(globalThis, "Deno" as never, inner),
    (inner) => withStub(globalThis, "navigator", navigator, inner),
    (inner) => withStub(globalThis, "process" as never, process, inner),
    (inner) => withStub(WebAssembly, "Module", Forbidden, inner),
    (inner) => withStub(WebAssembly, "compile", forbid, inner),
  ];
  const run = stubs.reduceRight<() => Promise<void>>((inner, stub) => () => stub(inner), use);
  return run();
}

test("chooseBinary() says what to do where workerd compiles no more", async () => {
  await inHandler(async () => {
    const error = await errorOf(() => chooseBinary()) as Error;
    assertInstanceOf(error, BackendUnavailableError);
    assertMatch(error.message, /the condition `workerd`, set a compatibility date/);
    const { wasm, backend } = await capabilities();
    assertEquals([wasm.available, wasm.reason, backend], [false, error.message, null]);
  });
});

test("provideBinary() compiles the bytes that a bundler embeds", () => {
  provideBinary(name, binaries[name]);
  assertEquals(chooseBinary(), { name, reason });
});

test("provideBinary() leaves nothing to be compiled", async () => {
  provideBinary(name, module);
  await inHandler(async () => {
    assertEquals(chooseBinary(), { name, reason });
    assertEquals(await compileBinary(name), module);
    await using engine = await createEngine({ threads: 1 });
    assertEquals(engine.reason, `${name} binary, one thread: ${reason}`);
    const q = tensor(new Float32Array(64).fill(1), [1, 64]);
    assertEquals(engine.attentionSync(q, q, q).out.data, q.data);
  });
});
