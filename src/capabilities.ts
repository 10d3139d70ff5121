/**
 * What this machine offers, and what follows from it.
 *
 * @module
 */

import { readOf } from "./arrays.ts";
import type { BackendName } from "./backend.ts";
import { reasonOf } from "./errors.ts";
import { hardwareThreads, threadsUnavailable } from "./runtime.ts";
import { type BinaryName, chooseBinary } from "./wasm/module.ts";

/** Whether something can be used here, and why or why not, in words. */
export interface Availability {
  /** Whether it can. */
  readonly available: boolean;
  /** Why, or why not. */
  readonly reason: string;
}

/** What `capabilities()` tells. */
export interface Capabilities {
  /** Backend that `auto` takes here; `null` when none can serve. */
  readonly backend: BackendName | null;
  /** Why, in words. */
  readonly reason: string;
  /** The Wasm backend, and which of its two binaries runs. */
  readonly wasm: Availability & { readonly binary: BinaryName | null };
  /** The WebGPU backend. `software` adapters compute on the CPU: `auto` never takes one. */
  readonly webgpu: Availability & { readonly software: boolean };
  /** Threads for the Wasm backend, and how many run at the same time here. */
  readonly threads: Availability & { readonly count: number };
}

function probeWasm(): Capabilities["wasm"] {
  try {
    const { name, reason } = chooseBinary();
    return { available: true, binary: name, reason };
  } catch (error) {
    return { available: false, binary: null, reason: reasonOf(error) };
  }
}

function probeThreads(): Capabilities["threads"] {
  const count = hardwareThreads();
  const reason = threadsUnavailable();
  if (reason !== undefined) return { available: false, count, reason };
  return { available: true, count, reason: "workers over shared memory can be used" };
}

/** Where to look. */
export interface CapabilityOptions {
  /** A device that is there already. */
  readonly device?: GPUDevice | undefined;
  /** Where adapters come from; by default `navigator.gpu`, or the package `webgpu` if it is there. */
  readonly gpu?: GPU | undefined;
}

/**
 * Tells what this machine offers, which backend `auto` takes, and why.
 *
 * ```ts
 * import { capabilities } from "@flashtile/attention";
 *
 * const { backend, reason } = await capabilities();
 * console.log(backend, reason); // "wasm", "relaxed binary: this engine fuses relaxed multiply-add"
 * ```
 *
 * @returns Each backend's availability with a reason in words.
 */
export async function capabilities(options: CapabilityOptions = {}): Promise<Capabilities> {
  const device = readOf(options, "device"), gpu = readOf(options, "gpu"), wasm = probeWasm();
  const { probeWebGpu } = await import("./webgpu/open.ts");
  const webgpu = await probeWebGpu({ device, gpu });
  return { ...chooseBackend(wasm, webgpu), wasm, webgpu, threads: probeThreads() };
}

/** What `auto` takes: a GPU that is one; the CPU where there is none. */
function chooseBackend(
  wasm: Capabilities["wasm"],
  webgpu: Capabilities["webgpu"],
): Pick<Capabilities, "backend" | "reason"> {
  if (webgpu.available && !webgpu.software) {
    return { backend: "webgpu", reason: `${webgpu.reason}; small calls run on wasm` };
  }
  if (wasm.available) return { backend: "wasm", reason: `${wasm.binary} binary: ${wasm.reason}` };
  return { backend: null, reason: wasm.reason };
}
