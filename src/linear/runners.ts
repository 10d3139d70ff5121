/**
 * Where backends have what runs these functions: said where they are imported, and loaded at the first call.
 *
 * @module
 */

import { provideLate } from "../contract/runners.ts";

/** Says so. */
export function provideRunners(): void {
  provideLate("linear", {
    wasm: () => import("../wasm/linear/runners.ts"),
    webgpu: () => import("../webgpu/linear/runners.ts"),
  });
}
