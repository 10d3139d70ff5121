/**
 * The GPU device of the tests: one for all tests of a file, so that each shader is compiled once.
 *
 * @module
 */

import { capabilities, createEngine, type Engine } from "@flashtile/attention";
import { test } from "node:test";
import { type Gpu, requestGpu, watch } from "../../src/webgpu/device/device.ts";
import { findGpu, gpuRequired } from "./gpu.ts";
import { once } from "./once.ts";
import { otherStack } from "./share.ts";

/** The device that tests share; none of them may destroy it. */
export const sharedDevice = once(async () => (await requestGpu(await findGpu())).device);

/** The same, watched. */
export async function sharedGpu(): Promise<Gpu> {
  return watch(await sharedDevice());
}

/** An engine on the shared device. */
export async function withGpu(
  use: (engine: Engine<GPUBuffer>, device: GPUDevice) => Promise<void>,
): Promise<void> {
  const device = await sharedDevice();
  const engine = await createEngine({ backend: "webgpu", device });
  try {
    await use(engine, device);
  } finally {
    await engine.close();
  }
}

/** Why WebGPU is not tested in this run; `undefined` where it is. */
async function whyNoGpu(): Promise<string | undefined> {
  if (gpuRequired) return undefined;
  const { webgpu } = await capabilities({ gpu: await findGpu() });
  if (!webgpu.available) return `no WebGPU here: ${webgpu.reason}`;
  return webgpu.software ? "software adapters are tested by `deno task test:gpu`" : undefined;
}

/** Why tests that need a GPU are skipped; `undefined` where they run. */
export const noGpu: string | undefined = await whyNoGpu();

/** A test that needs a GPU. Its name says so: runs on the GPU stacks pick tests by it. */
export function gpuTest(
  name: string,
  use: () => void | Promise<void>,
  reason: string | undefined = noGpu,
): void {
  const skip = reason ?? otherStack(name);
  test(`${name} (webgpu)`, skip === undefined ? {} : { skip }, use);
}
