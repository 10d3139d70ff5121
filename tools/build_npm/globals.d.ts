/**
 * What the types of the package name beyond ES2022 and may be missing from a project: its declarations
 * merge with the real ones, and stand for them where there are none.
 */

/// <reference lib="esnext.disposable" />
/// <reference lib="esnext.float16" />

// With a member each: anything would be an empty one. Properties alone, and declared in the same words
// by lib.dom and @webgpu/types: a method would come before theirs among its overloads.

interface GPU {
  readonly wgslLanguageFeatures: WGSLLanguageFeatures;
}

interface GPUBuffer {
  readonly size: number;
  readonly usage: number;
}

interface GPUCommandEncoder {
  label: string;
}

interface GPUDevice {
  label: string;
}

// Only passed on.

// deno-lint-ignore no-empty-interface
interface WGSLLanguageFeatures {}

declare namespace WebAssembly {
  // deno-lint-ignore no-empty-interface
  interface Memory {}
  // deno-lint-ignore no-empty-interface
  interface Module {}
}
