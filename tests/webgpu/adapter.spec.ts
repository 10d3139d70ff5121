import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { findGpu, gpuRequired } from "../support/gpu.ts";

const adapter = await (await findGpu())?.requestAdapter() ?? null;
const skip = adapter === null && !gpuRequired ? "there is no WebGPU adapter here" : undefined;

const doubling = `
@group(0) @binding(0) var<storage, read_write> numbers: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  numbers[id.x] = 2.0 * numbers[id.x];
}`;

/** Runs a shader over the elements of an array, one invocation each. */
async function runOver(device: GPUDevice, code: string, data: Float32Array<ArrayBuffer>) {
  const { COPY_DST, COPY_SRC, MAP_READ, STORAGE } = GPUBufferUsage;
  const size = data.byteLength;
  const numbers = device.createBuffer({ size, usage: STORAGE | COPY_DST | COPY_SRC });
  const result = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(numbers, 0, data);
  const pipeline = await device.createComputePipelineAsync({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }), entryPoint: "main" },
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: numbers } }],
    }),
  );
  pass.dispatchWorkgroups(data.length / 64);
  pass.end();
  encoder.copyBufferToBuffer(numbers, 0, result, 0, size);
  device.queue.submit([encoder.finish()]);
  await result.mapAsync(GPUMapMode.READ);
  return new Float32Array(result.getMappedRange().slice(0));
}

test("an adapter is found and a compute shader doubles 64 numbers (webgpu)", { skip }, async () => {
  if (adapter === null) throw new Error("There is no WebGPU adapter here");
  const device = await adapter.requestDevice();
  try {
    const data = Float32Array.from({ length: 64 }, (_, at) => at);
    assertEquals(await runOver(device, doubling, data), data.map((x) => 2 * x));
  } finally {
    device.destroy();
  }
});
