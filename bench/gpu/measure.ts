/**
 * What is measured on a device, wherever that is: in Deno, in Node, in a page.
 *
 * @module
 */

import { isSoftware } from "../../src/webgpu/device/adapter.ts";
import type { Gpu } from "../../src/webgpu/device/device.ts";
import { measureAttention } from "./attention.ts";
import { measureCeilings } from "./ceiling.ts";
import type { Device, Order, Tell } from "./report.ts";
import { searchTiles } from "./search.ts";
import { fullSizes, quickSizes, type Sizes } from "./sizes.ts";

/** Limits that tell what tiles a device takes. */
const toldLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
] as const;

function deviceOf({ device, adapter }: Gpu, quick: boolean): Device {
  return {
    ...{ adapter, quick, software: isSoftware(device) },
    features: [...device.features].sort(),
    limits: Object.fromEntries(toldLimits.map((name) => [name, device.limits[name]])),
  };
}

/** The sizes for a device: on the CPU those of a GPU would take hours. */
export function sizesFor({ device }: Gpu, { quick }: Order): Sizes {
  return quick || isSoftware(device) ? quickSizes : fullSizes;
}

/** Measures what is ordered and tells of it as it is found. */
export async function measure(gpu: Gpu, order: Order, tell: Tell): Promise<void> {
  const sizes = sizesFor(gpu, order);
  await tell({ kind: "device", device: deviceOf(gpu, sizes === quickSizes) });
  if (order.attention) {
    const ceilings = await measureCeilings(gpu, order.matmul, sizes);
    await tell({ kind: "ceilings", ceilings });
    await measureAttention(gpu, sizes, ceilings[0].gflops, tell);
  }
  if (order.search) await searchTiles(gpu, sizes, tell);
}
