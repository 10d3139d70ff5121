/**
 * Adapters: finding one, what it calls itself, whether it is a GPU.
 *
 * @module
 */

import { reasonOf } from "../errors.ts";
import { Patience } from "./patience.ts";

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
export async function findAdapter(
  gpu: GPU | undefined,
  patience: Patience = new Patience(),
): Promise<GPUAdapter | string> {
  if (!gpu) return "this runtime has no `navigator.gpu`, pass `gpu` or `device`";
  try {
    const options = { powerPreference: "high-performance" } as const;
    const adapter = await patience.ask(() => gpu.requestAdapter(options));
    return adapter ?? "no adapter was found: there is no GPU, or no driver for it";
  } catch (error) {
    return `asking for an adapter failed: ${reasonOf(error)}`;
  }
}
