/**
 * The ceiling of a device: how fast it multiplies in f32, as a register-blocked matrix product does.
 *
 * @module
 */

import type { Gpu } from "../../src/webgpu/device/device.ts";
import { pipelineOf } from "../../src/webgpu/device/pipelines.ts";
import { expand } from "../../src/webgpu/shader/template.ts";
import { numbers } from "../numbers.ts";
import { difference, download, newBuffer, upload } from "./data.ts";
import type { Ceiling } from "./report.ts";
import type { Sizes } from "./sizes.ts";
import { time, timeRound } from "./timing.ts";

/** How `matmul.wgsl` cuts its work: see there. Each takes at most 16 KiB of workgroup memory. */
interface Blocking {
  readonly TX: number;
  readonly TY: number;
  readonly RM: number;
  readonly RN: number;
  readonly BK: number;
}

/** What is tried: the fastest is the ceiling. */
const blockings: readonly Blocking[] = [
  { TX: 16, TY: 16, RM: 2, RN: 2, BK: 8 },
  { TX: 16, TY: 16, RM: 2, RN: 2, BK: 16 },
  { TX: 8, TY: 8, RM: 2, RN: 2, BK: 16 },
  { TX: 16, TY: 16, RM: 1, RN: 1, BK: 16 },
];

/** Extents of the product whose every element is checked. */
const checkedSize = 256;

/** Milliseconds that one product may take: systems reset a device that is busy for seconds. */
const longestProduct = 500;

function nameOf({ TX, TY, RM, RN, BK }: Blocking): string {
  return `${4 * TY * RM}x${4 * TX * RN} tiles, ${4 * RM}x${4 * RN} a thread, ${BK} deep`;
}

/** A product that is ready to be computed again and again. */
interface Product {
  submit(calls: number): Promise<void>;
  result(): Promise<Float32Array>;
  destroy(): void;
}

async function prepare(
  gpu: Gpu,
  source: string,
  blocking: Blocking,
  size: number,
): Promise<Product> {
  const { device } = gpu;
  const { TX, TY, RM, RN } = blocking;
  const constants = { ...blocking, THREADS: TX * TY, SIZE: size };
  const code = expand("matmul.wgsl", { "matmul.wgsl": source }, constants);
  const pipeline = await pipelineOf(gpu, code, "matmul");
  const buffers = [
    upload(device, numbers(size * size, 1), "f32"),
    upload(device, numbers(size * size, 2), "f32"),
    newBuffer(device, size * size, "f32"),
  ];
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const bindGroup = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  return {
    submit(calls) {
      for (let call = 0; call < calls; call++) {
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        pass.dispatchWorkgroups(size / (4 * TX * RN), size / (4 * TY * RM));
        pass.end();
        device.queue.submit([encoder.finish()]);
      }
      return Promise.resolve();
    },
    result: () => download(device, buffers[2], "f32"),
    destroy: () => buffers.forEach((buffer) => buffer.destroy()),
  };
}

/** The product of the same numbers on the CPU. */
function expectedProduct(size: number): Float32Array {
  const a = numbers(size * size, 1), b = numbers(size * size, 2);
  const c = new Float64Array(size * size);
  for (let k = 0; k < size; k++) {
    for (let row = 0; row < size; row++) {
      const factor = a[k * size + row];
      for (let column = 0; column < size; column++) {
        c[row * size + column] += factor * b[k * size + column];
      }
    }
  }
  return Float32Array.from(c);
}

/** Throws where a blocking computes something else. */
async function check(gpu: Gpu, source: string, blocking: Blocking, expected: Float32Array) {
  const product = await prepare(gpu, source, blocking, checkedSize);
  try {
    await product.submit(1);
    const error = difference(await product.result(), expected);
    // Sums of 256 products of numbers up to 1.
    if (error > 1e-3) throw new Error(`wrong result: off by ${error}`);
  } finally {
    product.destroy();
  }
}

async function speedOf(
  gpu: Gpu,
  source: string,
  blocking: Blocking,
  { products, bounds }: Sizes,
): Promise<Ceiling> {
  let best: Ceiling | undefined;
  for (const size of products) {
    const product = await prepare(gpu, source, blocking, size);
    try {
      await timeRound(gpu.device, product, 1);
      const { median } = await time(gpu.device, product, bounds);
      const gflops = 2 * size ** 3 / median / 1e6;
      if (best === undefined || gflops > best.gflops) {
        best = { name: nameOf(blocking), size, milliseconds: median, gflops };
      }
      if (8 * median > longestProduct) break;
    } finally {
      product.destroy();
    }
  }
  return best!;
}

/** Measures all blockings, the fastest first. `source` is the text of `matmul.wgsl`. */
export async function measureCeilings(
  gpu: Gpu,
  source: string,
  sizes: Sizes,
): Promise<Ceiling[]> {
  const expected = expectedProduct(checkedSize);
  const ceilings: Ceiling[] = [];
  for (const blocking of blockings.slice(0, sizes.blockings)) {
    await check(gpu, source, blocking, expected);
    ceilings.push(await speedOf(gpu, source, blocking, sizes));
  }
  return ceilings.sort((a, b) => b.gflops - a.gflops);
}
