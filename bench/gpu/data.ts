/**
 * Numbers on their way to the GPU and back.
 *
 * @module
 */

import { bytesPerElement, type DType } from "../../src/tensor/dtype.ts";
import { roles, usages } from "../../src/webgpu/device/buffers.ts";
import { type Problem, problemOf, type Shape } from "../peers/problem.ts";

/** Element types that are measured. */
export type BenchDType = Exclude<DType, "bf16">;

/** Numbers as a type stores them. */
export function rounded(data: Float32Array, dtype: BenchDType): Float32Array {
  return dtype === "f32" ? data : Float32Array.from(new Float16Array(data));
}

/** A problem whose numbers are those that the type stores: what is left is the computation's error. */
export function storedProblem(shape: Shape, dtype: BenchDType): Problem {
  const { q, k, v, ...rest } = problemOf(shape);
  return { ...rest, q: rounded(q, dtype), k: rounded(k, dtype), v: rounded(v, dtype) };
}

/**
 * Largest error of a right result. A result in f16 is rounded to 2^-11 of its size, and those who
 * also compute in f16 lose some bits more.
 */
export function toleranceOf(dtype: BenchDType): number {
  return dtype === "f32" ? 1e-4 : 4e-3;
}

/** A new buffer that holds so many elements of a type. */
export function newBuffer(device: GPUDevice, length: number, dtype: BenchDType): GPUBuffer {
  const size = Math.ceil(length * bytesPerElement(dtype) / 16) * 16;
  return device.createBuffer({ label: "bench", size, usage: roles.storage });
}

/** A new buffer with numbers in it. */
export function upload(device: GPUDevice, data: Float32Array, dtype: BenchDType): GPUBuffer {
  const buffer = newBuffer(device, data.length, dtype);
  // As bytes: the npm package `webgpu` 0.6.2 divides by zero where it is given a Float16Array.
  const elements = dtype === "f32" ? data : new Float16Array(data);
  device.queue.writeBuffer(buffer, 0, new Uint8Array(elements.buffer as ArrayBuffer));
  return buffer;
}

/** The numbers in a buffer. */
export async function download(
  device: GPUDevice,
  buffer: GPUBuffer,
  dtype: BenchDType,
): Promise<Float32Array> {
  const { size } = buffer;
  const readBack = device.createBuffer({ label: "bench", size, usage: roles.readBack });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, readBack, 0, size);
  device.queue.submit([encoder.finish()]);
  await readBack.mapAsync(usages.mapRead);
  const bytes = readBack.getMappedRange().slice(0);
  readBack.destroy();
  return dtype === "f32" ? new Float32Array(bytes) : Float32Array.from(new Float16Array(bytes));
}

/** Largest difference of two results; NaN counts as infinite. */
export function difference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Infinity;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const off = Math.abs(a[i] - b[i]);
    if (!(off <= most)) most = Number.isNaN(off) ? Infinity : off;
  }
  return most;
}
