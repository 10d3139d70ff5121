/**
 * The device: asking for all that it offers, noticing that it is lost and what it refuses.
 *
 * @module
 */

import { BackendUnavailableError, DeviceLostError, reasonOf } from "../../check/errors.ts";
import { clock } from "../../runtime.ts";
import { describeAdapter, findAdapter } from "./adapter.ts";
import { Patience } from "./patience.ts";

/** What a device says against something; `null` where nothing. */
export type Refusal = Promise<GPUError | null>;

/** A device with what is kept for it. */
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
  /**
   * Does what the device may refuse, which it tells later, also of attempts within this one: else it
   * leaves out what it refuses, and all that needs it, in silence. `tell` is for work that may throw.
   */
  attempt<T>(work: () => T, tell?: (refusal: Refusal) => void): [T, Refusal];
}

/** Every kind of refusal; the causes of others are asked for first. */
const filters: readonly GPUErrorFilter[] = ["validation", "internal", "out-of-memory"];

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

/** Asks for a device. A fresh adapter each time: one is spent once it has given a device. */
export async function requestGpu(
  gpu: GPU | undefined,
  patience: Patience = new Patience(),
): Promise<Gpu> {
  const adapter = await findAdapter(gpu, patience);
  if (typeof adapter === "string") throw new BackendUnavailableError("webgpu", adapter);
  try {
    const descriptor = descriptorFor(adapter);
    const device = await patience.ask(
      () => adapter.requestDevice(descriptor),
      (late) => late.destroy(),
    );
    const made = watch(device, describeAdapter(adapter));
    await undefined; // A device that is lost already has said so by then.
    const lost = made.lost();
    if (lost !== undefined) throw new Error(`it was lost at once: ${lost}`);
    return made;
  } catch (cause) {
    const reason = `its adapter gave no device: ${reasonOf(cause)}`;
    throw new BackendUnavailableError("webgpu", reason, { cause });
  }
}

/** All of the adapter that calls can use. */
function descriptorFor({ limits, features }: GPUAdapter): GPUDeviceDescriptor {
  const requiredLimits: Record<string, number> = {};
  for (const name of wantedLimits) {
    const limit = limits[name];
    if (limit !== undefined) requiredLimits[name] = limit;
  }
  const requiredFeatures = wantedFeatures.filter((name) => features.has(name));
  return { label: "FlashTile", requiredLimits, requiredFeatures };
}

const watched = new WeakMap<GPUDevice, Gpu>();

/** Watches a device; the same device is watched once. */
export function watch(device: GPUDevice, adapter: string = describeAdapter(device)): Gpu {
  const known = watched.get(device);
  if (known !== undefined) return known;
  let reason: string | undefined;
  // Not a race against `device.lost`: each would be remembered there for as long as the device lives.
  const waiting = new Set<() => void>();
  const lose = (info?: { readonly message?: string; readonly reason?: string }) => {
    reason = info?.message || info?.reason || "no reason was given";
    for (const end of waiting) end();
    waiting.clear();
  };
  // What fails instead of telling of the loss is one, too.
  Promise.resolve(device.lost).then(lose, lose);
  const guard = <T>(promise: Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      const end = () => reject(new DeviceLostError(reason!));
      const answer = (how: () => void) => {
        waiting.delete(end);
        // What settled after a loss says nothing.
        if (reason === undefined) how();
        else end();
      };
      promise.then(
        (value) => answer(() => resolve(value)),
        // A failure may be the first sign of a loss.
        (error) => clock.after(lossMilliseconds, () => answer(() => reject(error))),
      );
      if (reason === undefined) waiting.add(end);
      else end();
    });
  const gpu: Gpu = {
    device,
    adapter,
    lost: () => reason,
    guard,
    attempt: attemptsOn(device, guard),
  };
  watched.set(device, gpu);
  return gpu;
}

/** `Gpu.attempt` of a device. */
function attemptsOn(device: GPUDevice, guard: Gpu["guard"]): Gpu["attempt"] {
  /** What is refused of attempts within the present one. */
  let inner: Refusal[] | undefined;
  const pop = async () => await device.popErrorScope();
  return <T>(work: () => T, tell?: (refusal: Refusal) => void): [T, Refusal] => {
    const outer = inner, refusals: Refusal[] = inner = [];
    let refusal!: Refusal, value: T;
    for (const filter of filters) device.pushErrorScope(filter);
    try {
      value = work();
    } finally {
      inner = outer;
      // What failed within comes first: the rest follows from it.
      for (const _ of filters) refusals.push(pop());
      refusal = guard(Promise.all(refusals)).then((all) => all.find((one) => one) ?? null);
      refusal.catch(() => {}); // Not everybody who is told listens.
      outer?.push(refusal);
      tell?.(refusal);
    }
    return [value, refusal];
  };
}
