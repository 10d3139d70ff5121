/**
 * What a machine offers, in words that every layer knows.
 *
 * @module
 */

import type { BackendName } from "./backend.ts";

/** The two binaries built from one source. */
export type BinaryName = "simd" | "relaxed";

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

/** Where to look. */
export interface CapabilityOptions {
  /** A device that is there already. */
  readonly device?: GPUDevice | undefined;
  /** Where adapters come from; by default `navigator.gpu`, or the package `webgpu` if it is there. */
  readonly gpu?: GPU | undefined;
}
