/**
 * The package's entry `flashtile/linear` for Vercel's and Next's edge runtime: see `src/engine/edge_light.ts`, which it does as well, since
 * bundlers leave out what only a shared script does.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import simd from "./simd.wasm?module";
// @ts-ignore: The same.
import rows from "./rows-simd.wasm?module";
// @ts-ignore: The same.
import linear from "./linear-simd.wasm?module";

provideBinary("simd", simd as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("simd", rows as WebAssembly.Module | Uint8Array<ArrayBuffer>, "rows");
provideBinary("simd", linear as WebAssembly.Module | Uint8Array<ArrayBuffer>, "linear");

export * from "./mod.ts";
