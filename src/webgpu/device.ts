/**
 * The device: finding an adapter, asking for all that it offers, noticing that it is lost.
 *
 * @module
 */

import { BackendUnavailableError, DeviceLostError } from "../errors.ts";

/** A device with what is kept beside it. */
export interface Gpu {
  readonly device: GPUDevice;
  /** Vendor and model, in words. */
  readonly adapter: string;
  /** Why it is lost; `undefined` while it is not. */
  lost(): string | undefined;
  /**
   * Waits for a promise, but not longer than the device lives: after a loss some never settle, and
   * others settle as if nothing had happened.
   *
   * @throws {DeviceLostError} When the device is or goes lost.
   */
  guard<T>(promise: Promise<T>): Promise<T>;
}

/** Limits that are asked for as high as the adapter has them; everything works with the defaults. */
const wantedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

/** Features that are asked for where they exist. */
const wantedFeatures: readonly GPUFeatureName[] = ["subgroups", "timestamp-query"];

/** Between what a lost device makes fail and the news of its loss lies less than this. */
const lossMilliseconds = 50;

/** Names of adapters that are programs on the CPU. */
const softwareNames = /swiftshader|llvmpipe|lavapipe|basic render|warp\b|software|cpu\b/i;

type AdapterInfo = GPUAdapterInfo & { readonly isFallbackAdapter?: boolean };

function infoOf(adapter: GPUAdapter | GPUDevice): AdapterInfo | undefined {
  const { info, adapterInfo } = adapter as { info?: AdapterInfo; adapterInfo?: AdapterInfo };
  return info ?? adapterInfo;
}

/** What an adapter calls itself. */
export function describeAdapter(adapter: GPUAdapter | GPUDevice): string {
  const info = infoOf(adapter);
  const words = [info?.vendor, info?.architecture, info?.device, info?.description]
    .filter((word) => word !== undefined && word !== "" && !/^\d+$/.test(word));
  if (words.length === 0) return "an adapter that does not say its name";
  return [...new Set(words)].join(" ");
}

/** Whether an adapter computes on the CPU: `auto` never takes one. */
export function isSoftware(adapter: GPUAdapter | GPUDevice): boolean {
  // Where it stands has moved from the adapter to its info.
  const { isFallbackAdapter } = adapter as { isFallbackAdapter?: boolean };
  const fallback = isFallbackAdapter ?? infoOf(adapter)?.isFallbackAdapter;
  return fallback === true || softwareNames.test(describeAdapter(adapter));
}

/** Asks for an adapter and says why there is none. */
export async function findAdapter(gpu: GPU | undefined): Promise<GPUAdapter | string> {
  if (gpu === undefined) return "this runtime has no `navigator.gpu`, pass `gpu` or `device`";
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    return adapter ?? "no adapter was found: there is no GPU, or no driver for it";
  } catch (error) {
    return `asking for an adapter failed: ${(error as Error).message}`;
  }
}

/** Asks for a device. A fresh adapter each time: one is spent once it has given a device. */
export async function requestGpu(gpu: GPU | undefined): Promise<Gpu> {
  const adapter = await findAdapter(gpu);
  if (typeof adapter === "string") throw new BackendUnavailableError("webgpu", adapter);
  const requiredLimits: Record<string, number> = {};
  for (const name of wantedLimits) {
    const limit = adapter.limits[name];
    if (limit !== undefined) requiredLimits[name] = limit;
  }
  const requiredFeatures = wantedFeatures.filter((name) => adapter.features.has(name));
  try {
    const device = await adapter.requestDevice({
      label: "FlashTile",
      requiredLimits,
      requiredFeatures,
    });
    return watch(device, describeAdapter(adapter));
  } catch (cause) {
    const reason = `its adapter gave no device: ${(cause as Error).message}`;
    throw new BackendUnavailableError("webgpu", reason, { cause });
  }
}

const watched = new WeakMap<GPUDevice, Gpu>();

/** Watches a device; the same device is watched once. */
export function watch(device: GPUDevice, adapter: string = describeAdapter(device)): Gpu {
  const known = watched.get(device);
  if (known !== undefined) return known;
  let reason: string | undefined;
  // Not a race against `device.lost`: each would be remembered there for as long as the device lives.
  const waiting = new Set<() => void>();
  device.lost.then((info) => {
    reason = info.message || info.reason || "no reason was given";
    for (const lose of waiting) lose();
    waiting.clear();
  });
  const guard = <T>(promise: Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      const lose = () => reject(new DeviceLostError(reason!));
      waiting.add(lose);
      const settle = (how: () => void) => {
        waiting.delete(lose);
        // What settled after a loss says nothing.
        if (reason === undefined) how();
        else lose();
      };
      promise.then(
        (value) => settle(() => resolve(value)),
        // A failure may be the first sign of a loss.
        (error) => setTimeout(() => settle(() => reject(error)), lossMilliseconds),
      );
    });
  const gpu: Gpu = { device, adapter, lost: () => reason, guard };
  watched.set(device, gpu);
  return gpu;
}
