/**
 * Tensors in buffers of the tests' own.
 *
 * @module
 */

import type { Tensor } from "@flashtile/attention";
import { usages } from "../../src/webgpu/device/buffers.ts";

/** A tensor on the GPU. */
export type GpuTensor = Tensor<GPUBuffer>;

/** Copies a tensor into a buffer of the test's own, at any element. */
export function upload(
  device: GPUDevice,
  one: Tensor<Float32Array | Uint16Array>,
  at = 0,
): GpuTensor {
  const { data, dtype = "f32" } = one;
  const bytes = data.BYTES_PER_ELEMENT;
  const size = Math.ceil((at + data.length) * bytes / 16) * 16;
  const usage = usages.storage | usages.copySource | usages.copyTarget;
  const buffer = device.createBuffer({ size, usage, mappedAtCreation: true });
  const range = buffer.getMappedRange();
  const target = dtype === "f32" ? new Float32Array(range) : new Uint16Array(range);
  target.fill(dtype === "f32" ? NaN : 0x7fff);
  target.set(data, at);
  buffer.unmap();
  return { data: buffer, shape: one.shape, dtype, offset: at };
}

/** What a buffer holds. */
export async function read(device: GPUDevice, { data, dtype }: GpuTensor) {
  const copy = device.createBuffer({ size: data.size, usage: usages.mapRead | usages.copyTarget });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, copy, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(usages.mapRead);
  const bytes = copy.getMappedRange().slice(0);
  copy.destroy();
  return dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
}
