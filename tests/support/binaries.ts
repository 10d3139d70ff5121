/**
 * The library's binaries, unpacked: tests name them without waiting.
 *
 * @module
 */

import { binaryBytes, type BinaryName } from "../../src/wasm/module.ts";

/** The bytes of each binary. */
export const binaries: Readonly<Record<BinaryName, Uint8Array<ArrayBuffer>>> = {
  simd: binaryBytes("simd"),
  relaxed: binaryBytes("relaxed"),
};
