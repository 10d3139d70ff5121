/**
 * Gradients that are computed on the CPU alone.
 *
 * @module
 */

import type { Backend, Machinery } from "../contract/backend.ts";
import type { Used } from "../contract/operation.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";

/**
 * Checks that gradients can be computed where a call runs, and of what it has: on the CPU.
 *
 * @param name The function with gradients.
 */
export function checkHost(
  { own }: Machinery,
  name: string,
  doing: string,
  inputs: Readonly<Record<string, Used>>,
): Backend {
  if (own.name !== "wasm") {
    throw new Error(
      `${doing}: the ${own.name} backend has no \`${name}()\`; ` +
        'make the engine with { backend: "wasm" }',
    );
  }
  for (const [input, { data }] of Object.entries(inputs)) {
    if (!isGpuBuffer(data)) continue;
    throw new TypeError(`${doing}: \`${input}\` is a GPUBuffer, gradients are computed on the CPU`);
  }
  return own;
}
