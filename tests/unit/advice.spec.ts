import { assertEquals, assertMatch } from "@std/assert";
import type { Capabilities } from "@flashtile/attention";
import { test } from "node:test";
import { adviceFor } from "../../tools/advice.ts";

const fine: Capabilities = {
  ...{ backend: "webgpu", reason: "" },
  wasm: { available: true, binary: "relaxed", reason: "" },
  threads: { available: true, count: 2, reason: "" },
  webgpu: { available: true, software: false, reason: "" },
};

const none = { available: false, software: false };
const withoutGpu = { ...none, reason: "this runtime has no `navigator.gpu`, pass `gpu`" };

test("adviceFor() has nothing to say where nothing is missing", () => {
  for (const host of ["Node", "Deno", "Bun"] as const) assertEquals(adviceFor(fine, host), []);
});

test("adviceFor() says what to do about each thing that is missing", () => {
  const said = (given: Partial<Capabilities>, host: "Node" | "Deno" | "Bun" = "Node") => {
    const advice = adviceFor({ ...fine, ...given }, host);
    assertEquals(advice.length, 1);
    return advice[0];
  };
  assertMatch(said({ wasm: { available: false, binary: null, reason: "" } }), /Node 20/);
  const reason = "this engine has no relaxed SIMD";
  assertMatch(said({ wasm: { available: true, binary: "simd", reason } }), /Node 22 and later/);
  const threads = { available: false, count: 1, reason: "" };
  assertMatch(said({ threads }), /Opener-Policy: same-origin.*Embedder-Policy: require-corp/);
  assertMatch(said({ webgpu: withoutGpu }), /`npm install webgpu`/);
  assertMatch(said({ webgpu: withoutGpu }, "Bun"), /`npm install webgpu`/);
  assertMatch(said({ webgpu: withoutGpu }, "Deno"), /Deno has no WebGPU/);
  assertMatch(said({ webgpu: { ...none, reason: "no adapter was found" } }), /driver/);
  assertMatch(said({ webgpu: { available: true, software: true, reason: "" } }), /on the CPU/);
});
