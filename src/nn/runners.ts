/**
 * Where backends have what runs these functions: said where they are imported, and loaded at the first call.
 *
 * @module
 */

import { provideLate } from "../contract/runners.ts";

/** Says so. */
export function provideRunners(): void {
  provideLate("nn", {
    wasm: () => import("../wasm/nn/runners.ts"),
    webgpu: () => import("../webgpu/nn/runners.ts"),
  });
}
