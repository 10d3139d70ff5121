/**
 * The package's entry `flashtile/models` for workerd (Cloudflare Workers): see `src/engine/workerd.ts`, which it does as well, since
 * bundlers leave out what only a shared script does.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import relaxed from "./relaxed.wasm";
// @ts-ignore: The same.
import nn from "./nn-relaxed.wasm";

provideBinary("relaxed", relaxed as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("relaxed", nn as WebAssembly.Module | Uint8Array<ArrayBuffer>, "nn");

export * from "./mod.ts";
