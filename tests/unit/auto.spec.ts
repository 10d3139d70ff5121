import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import type { Backend } from "../../src/contract/backend.ts";
import { AutoBackend } from "../../src/engine/auto.ts";
import { attention } from "../../src/operations/attention/operation.ts";
import { type AttentionPlan, planAttention } from "../../src/operations/attention/plan.ts";

function backend(name: "wasm" | "webgpu", checkReady = () => {}): Backend {
  const serving = async () => {
    await checkReady();
    return made;
  };
  const made = { name, serving } as unknown as Backend;
  return made;
}

/** A plan of so many queries and keys; 2,000 of each are worth the way to a GPU, 20 are not. */
function planOf(rows: number, data: Float32Array | GPUBuffer = new Float32Array(rows * 256)) {
  const tensor = { data, shape: [rows, 256], dtype: "f32" } as const;
  return planAttention(tensor, tensor, tensor);
}

async function choose(auto: AutoBackend, plan: AttentionPlan): Promise<Backend> {
  return await auto.serving(attention, plan, {});
}

const wasm = backend("wasm");

test("AutoBackend looks for a GPU once, at the first call that is worth one", async () => {
  let looked = 0;
  const gpu = backend("webgpu");
  const auto = new AutoBackend(wasm, () => Promise.resolve((looked++, gpu)));
  assertEquals([await choose(auto, planOf(20)), looked], [wasm, 0]);
  for (let call = 0; call < 2; call++) {
    assertEquals([await choose(auto, planOf(2000)), looked], [gpu, 1]);
  }
});

test("AutoBackend runs on the CPU where no GPU can be had", async () => {
  for (
    const find of [() => Promise.resolve("it is none"), () => Promise.reject(new Error("none"))]
  ) {
    assertEquals(await choose(new AutoBackend(wasm, find), planOf(2000)), wasm);
  }
});

test("AutoBackend runs on the CPU while a lost GPU cannot be had again", async () => {
  let isLost = false;
  const gpu = backend("webgpu", () => {
    if (isLost) throw new Error("lost");
  });
  const auto = new AutoBackend(wasm, () => Promise.resolve(gpu));
  assertEquals(await choose(auto, planOf(2000)), gpu);
  isLost = true;
  assertEquals(await choose(auto, planOf(2000)), wasm);
  // What is on the GPU cannot be read elsewhere: its own error says so.
  const buffer = { mapAsync() {}, usage: 0x80, size: 1 << 24 } as unknown as GPUBuffer;
  await assertRejects(() => choose(auto, planOf(20, buffer)), Error, "lost");
  isLost = false;
  assertEquals(await choose(auto, planOf(2000)), gpu);
});
