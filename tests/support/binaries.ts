/**
 * The library's binaries, unpacked: tests name them without waiting.
 *
 * @module
 */

import type { BinaryName } from "../../src/contract/capabilities.ts";
import { binaryBytes, unpack } from "../../src/wasm/binary/module.ts";
import * as wide from "../../src/wide/binary.gen.ts";

/** The bytes of each binary. */
export const binaries: Readonly<Record<BinaryName, Uint8Array<ArrayBuffer>>> = {
  simd: binaryBytes("simd"),
  relaxed: binaryBytes("relaxed"),
};

/** Those of the program for engines that widen vectors. */
export const wideBinary: Uint8Array<ArrayBuffer> = unpack(wide, "relaxed");
