/**
 * What the types of the package name beyond ES2022 and may be missing from a project: its declarations
 * merge with the real ones, and stand for them where there are none.
 */

/// <reference lib="esnext.disposable" />
/// <reference lib="esnext.float16" />

// Data is told from a buffer by what that has: with an empty stand-in anything would be a buffer.
// Properties alone, in the words of lib.dom and @webgpu/types: a method would come before theirs among
// its overloads.

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

// Only passed on, and without a property that can be declared twice.

// deno-lint-ignore no-empty-interface
interface GPU {}

declare namespace WebAssembly {
  // deno-lint-ignore no-empty-interface
  interface Memory {}
  // deno-lint-ignore no-empty-interface
  interface Module {}
}
