/**
 * What to do about what a machine lacks, for the doctor.
 *
 * @module
 */

import type { Capabilities } from "../mod.ts";

/** Where a program runs: what that can be given depends on it. */
export type Host = "Node" | "Deno" | "Bun";

/** What to do, a sentence each; none where nothing is missing. */
export function adviceFor({ wasm, threads, webgpu }: Capabilities, host: Host): string[] {
  const advice: string[] = [];
  if (!wasm.available) {
    advice.push("Wasm cannot be used: take Node 20 or later, Deno or Bun, without `--jitless`");
  } else if (wasm.reason.includes("no relaxed SIMD")) {
    advice.push("Without relaxed SIMD products take longer: Node 22 and later have it, and Deno");
  }
  if (!threads.available) {
    advice.push(
      "There are no threads. In a page they need two headers of its answer: " +
        "`Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`",
    );
  }
  if (!webgpu.available) {
    const isMissing = webgpu.reason.includes("navigator.gpu");
    advice.push(
      !isMissing
        ? "There is no GPU: if the machine has one, install its driver (on Linux Vulkan's: " +
          "`vulkaninfo` must list it)"
        : host === "Deno"
        ? "This Deno has no WebGPU, 2.9 has"
        : "To try a GPU, install `webgpu`: `npm install webgpu`",
    );
  } else if (webgpu.software) {
    advice.push(
      "The adapter computes on the CPU, which `auto` never takes: install a GPU's driver",
    );
  }
  return advice;
}
