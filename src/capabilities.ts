/**
 * What this machine offers, and what follows from it.
 *
 * @module
 */

import type { BackendName } from "./backend.ts";
import { type BinaryName, chooseBinary } from "./wasm/module.ts";
import { hardwareThreads, threadsUnavailable } from "./wasm/threads/spawn.ts";

/** Whether something can be used here, and why or why not, in words. */
export interface Availability {
  readonly available: boolean;
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
  /** The WebGPU backend. */
  readonly webgpu: Availability;
  /** Threads for the Wasm backend, and how many run at the same time here. */
  readonly threads: Availability & { readonly count: number };
}

function probeWasm(): Capabilities["wasm"] {
  try {
    const { name, reason } = chooseBinary();
    return { available: true, binary: name, reason };
  } catch (error) {
    return { available: false, binary: null, reason: (error as Error).message };
  }
}

function probeThreads(): Capabilities["threads"] {
  const count = hardwareThreads();
  const reason = threadsUnavailable();
  if (reason !== undefined) return { available: false, count, reason };
  return { available: true, count, reason: "workers over shared memory can be used" };
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
// Asynchronous because asking for a GPU adapter is.
// deno-lint-ignore require-await
export async function capabilities(): Promise<Capabilities> {
  const wasm = probeWasm();
  return {
    backend: wasm.available ? "wasm" : null,
    reason: wasm.available ? `${wasm.binary} binary: ${wasm.reason}` : wasm.reason,
    wasm,
    webgpu: { available: false, reason: "the WebGPU backend is not supported yet" },
    threads: probeThreads(),
  };
}
