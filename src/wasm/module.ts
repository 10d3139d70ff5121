/**
 * Choosing and compiling the kernels' binary.
 *
 * @module
 */

import { BackendUnavailableError } from "../errors.ts";
import { probe, relaxed, simd } from "./binaries.gen.ts";

/** The two binaries built from one source. */
export type BinaryName = "simd" | "relaxed";

/** A binary, and why it is the one to take here. */
export interface BinaryChoice {
  readonly name: BinaryName;
  readonly reason: string;
}

/** What the binary exports. Pointers and sizes are bytes in linear memory. */
export interface Kernels {
  heapBase(): number;
  scratchBytes(record: number): number;
  forward(record: number): void;
  packKeys(
    source: number,
    row: number,
    element: number,
    target: number,
    dim: number,
    count: number,
  ): void;
  packValues(
    source: number,
    row: number,
    element: number,
    target: number,
    columns: number,
    dim: number,
    count: number,
  ): void;
}

const exportNames = ["heapBase", "scratchBytes", "forward", "packKeys", "packValues"] as const;

function decode(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The bytes of a binary, to be compiled where compiling is allowed. */
export function binaryBytes(name: BinaryName): Uint8Array<ArrayBuffer> {
  return decode(name === "relaxed" ? relaxed : simd);
}

/** Whether relaxed multiply-add rounds once here; `null` where relaxed SIMD is unknown. */
export function relaxedFuses(): boolean | null {
  const bytes = decode(probe);
  if (!WebAssembly.validate(bytes)) return null;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  return Boolean((exports as { fused(): number }).fused());
}

/**
 * Picks the binary that is faster here. Relaxed SIMD pays where the engine fuses (V8: a third
 * faster); where it does not (JavaScriptCore) the plain binary is as fast and rounds the same way
 * everywhere.
 *
 * @throws {BackendUnavailableError} When the engine has no 128-bit SIMD.
 */
export function chooseBinary(): BinaryChoice {
  if (typeof WebAssembly === "undefined") {
    throw new BackendUnavailableError("wasm", "this runtime has no WebAssembly");
  }
  if (!WebAssembly.validate(binaryBytes("simd"))) {
    throw new BackendUnavailableError("wasm", "this engine has no 128-bit SIMD (simd128)");
  }
  const fuses = relaxedFuses();
  if (fuses === null) return { name: "simd", reason: "this engine has no relaxed SIMD" };
  if (!fuses) {
    return {
      name: "simd",
      reason: "this engine's relaxed multiply-add is not fused, so no faster",
    };
  }
  return { name: "relaxed", reason: "this engine fuses relaxed multiply-add" };
}

const compiled = new Map<BinaryName, Promise<WebAssembly.Module>>();

/** Compiles a binary once per process. */
export function compileBinary(name: BinaryName): Promise<WebAssembly.Module> {
  let module = compiled.get(name);
  if (module === undefined) {
    module = WebAssembly.compile(binaryBytes(name));
    compiled.set(name, module);
    module.catch(() => compiled.delete(name)); // A failure is not kept: the next call tries again.
  }
  return module;
}

/**
 * Instantiates a compiled binary over a memory.
 *
 * @throws {TypeError} When the module is not one of this library's binaries.
 */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const names = WebAssembly.Module.exports(module).map(({ name }) => name);
  const missing = exportNames.find((name) => !names.includes(name));
  if (missing !== undefined) {
    throw new TypeError(
      `Cannot create an engine: \`module\` is not a FlashTile binary, it lacks \`${missing}\``,
    );
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as Kernels;
}
