/**
 * What this machine offers, and what follows from it.
 *
 * @module
 */

import { reasonOf } from "../check/errors.ts";
import type { Capabilities, CapabilityOptions } from "../contract/capabilities.ts";
import { hardwareThreads, threadsUnavailable } from "../runtime.ts";
import { readOf } from "../tensor/arrays.ts";
import { chooseBinary } from "../wasm/binary/choice.ts";

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
  const { probeWebGpu } = await import("../webgpu/open.ts");
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
