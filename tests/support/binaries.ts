/**
 * The library's binaries, unpacked: tests name them without waiting.
 *
 * @module
 */

import type { BinaryName } from "../../src/contract/capabilities.ts";
import { binaryBytes } from "../../src/wasm/binary/module.ts";

/** The bytes of each binary. */
export const binaries: Readonly<Record<BinaryName, Uint8Array<ArrayBuffer>>> = {
  simd: binaryBytes("simd"),
  relaxed: binaryBytes("relaxed"),
};
