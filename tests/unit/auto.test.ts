import { assertEquals } from "@std/assert";
import { test } from "node:test";
import type { Backend } from "../../src/contract/backend.ts";
import { AutoBackend } from "../../src/engine/auto.ts";
import { planAttention } from "../../src/operations/attention/plan.ts";

function backend(name: "wasm" | "webgpu", more: Partial<Backend> = {}): Backend {
  return { name, ...more } as Backend;
}

/** A plan of so many queries and keys; 2,000 of each are worth the way to a GPU, 20 are not. */
function planOf(rows: number, data: Float32Array | GPUBuffer = new Float32Array(rows * 256)) {
  const tensor = { data, shape: [rows, 256], dtype: "f32" } as const;
  return planAttention(tensor, tensor, tensor);
}

const wasm = backend("wasm");

test("AutoBackend looks for a GPU once, at the first call that is worth one", async () => {
  let looked = 0;
  const gpu = backend("webgpu");
  const auto = new AutoBackend(wasm, () => Promise.resolve((looked++, gpu)));
  assertEquals([await auto.choose(planOf(20), {}), looked], [wasm, 0]);
  for (let call = 0; call < 2; call++) {
    assertEquals([await auto.choose(planOf(2000), {}), looked], [gpu, 1]);
  }
});

test("AutoBackend runs on the CPU where no GPU can be had", async () => {
  for (
    const find of [() => Promise.resolve("it is none"), () => Promise.reject(new Error("none"))]
  ) {
    assertEquals(await new AutoBackend(wasm, find).choose(planOf(2000), {}), wasm);
  }
});

test("AutoBackend runs on the CPU while a lost GPU cannot be had again", async () => {
  let isLost = false;
  const ready = () => isLost ? Promise.reject(new Error("lost")) : Promise.resolve();
  const gpu = backend("webgpu", { ready });
  const auto = new AutoBackend(wasm, () => Promise.resolve(gpu));
  assertEquals(await auto.choose(planOf(2000), {}), gpu);
  isLost = true;
  assertEquals(await auto.choose(planOf(2000), {}), wasm);
  // What is on the GPU cannot be read elsewhere: its own error says so.
  const buffer = { mapAsync() {}, usage: 0x80, size: 1 << 24 } as unknown as GPUBuffer;
  assertEquals(await auto.choose(planOf(20, buffer), {}), gpu);
  isLost = false;
  assertEquals(await auto.choose(planOf(2000), {}), gpu);
});
