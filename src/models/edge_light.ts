/**
 * The package's entry `flashtile/models` for Vercel's and Next's edge runtime: see `src/engine/edge_light.ts`, which it does as well, since
 * bundlers leave out what only a shared script does.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import simd from "./simd.wasm?module";
// @ts-ignore: The same.
import nn from "./nn-simd.wasm?module";

provideBinary("simd", simd as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("simd", nn as WebAssembly.Module | Uint8Array<ArrayBuffer>, "nn");

export * from "./mod.ts";
