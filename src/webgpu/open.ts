/**
 * Opening a GPU: what there is of one, and its backend. Loaded when somebody asks for one: who stays on
 * the CPU pays for none of it.
 *
 * @module
 */

import type { Backend } from "../contract/backend.ts";
import type { Capabilities, CapabilityOptions } from "../contract/capabilities.ts";
import { describeAdapter, findAdapter, findGpu, isSoftware } from "./device/adapter.ts";
import { Patience } from "./device/patience.ts";

/** What there is of a GPU. */
export async function probeWebGpu(
  { device, gpu }: CapabilityOptions,
  patience?: Patience,
): Promise<Capabilities["webgpu"]> {
  if (device !== undefined) {
    const reason = `the device passed in, ${describeAdapter(device)}`;
    return { available: true, software: isSoftware(device), reason };
  }
  const adapter = await findAdapter(gpu ?? await findGpu(), patience);
  if (typeof adapter === "string") return { available: false, software: false, reason: adapter };
  const software = isSoftware(adapter), name = describeAdapter(adapter);
  const reason = software ? `${name}, which computes on the CPU` : name;
  return { available: true, software, reason };
}

/** A backend on the device that is passed in, or on one that is found. */
export async function openGpu(
  { device, gpu }: CapabilityOptions,
  patience?: Patience,
): Promise<Backend> {
  const { createWebGpuBackend } = await import("./backend.ts");
  return await createWebGpuBackend({ device, gpu: gpu ?? await findGpu() }, patience);
}

/**
 * The same where there is a GPU that is one; else why there is none.
 *
 * @param stop Ends the waiting for a driver.
 */
export async function openRealGpu(
  options: CapabilityOptions,
  stop: AbortSignal,
): Promise<Backend | string> {
  const patience = new Patience();
  stop.addEventListener("abort", () => patience.end());
  if (stop.aborted) patience.end();
  const { available, software, reason } = await probeWebGpu(options, patience);
  return available && !software ? await openGpu(options, patience) : reason;
}
