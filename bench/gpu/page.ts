/**
 * In a page: measures on the device that onnxruntime-web has made, and races it there.
 *
 * @module
 */

import { describeAdapter } from "../../src/webgpu/device/adapter.ts";
import { type Gpu, requestGpu, watch } from "../../src/webgpu/device/device.ts";
import { measure, sizesFor } from "./measure.ts";
import { type Build, loadOnnxruntime, type Onnxruntime, raceOnnxruntime } from "./onnxruntime.ts";
import { type Order, reasonOf, type Tell } from "./report.ts";

/** Its device, not ours: it asks for the features that it can use. */
async function gpuOf(onnxruntime: Onnxruntime | undefined): Promise<Gpu> {
  if (onnxruntime === undefined) return await requestGpu(navigator.gpu);
  const device = await onnxruntime.env.webgpu.device;
  return watch(device, describeAdapter(device));
}

async function load(build: Build, tell: Tell): Promise<Onnxruntime | undefined> {
  try {
    return await loadOnnxruntime(build);
  } catch (error) {
    await tell({ kind: "missing", missing: { what: build, reason: reasonOf(error) } });
  }
}

/** Measures everything that needs no onnxruntime-web, on its device. */
export async function run(order: Order, build: Build, tell: Tell): Promise<void> {
  try {
    const onnxruntime = order.attention ? await load(build, tell) : undefined;
    await measure(await gpuOf(onnxruntime), order, tell);
  } catch (error) {
    await tell({ kind: "missing", missing: { what: "device", reason: reasonOf(error) } });
  }
}

/** Races a build. */
export async function race(order: Order, build: Build, tell: Tell): Promise<void> {
  const onnxruntime = await load(build, tell);
  if (onnxruntime === undefined) return;
  const gpu = await gpuOf(onnxruntime);
  await raceOnnxruntime(build, onnxruntime, gpu, sizesFor(gpu, order), tell);
}
