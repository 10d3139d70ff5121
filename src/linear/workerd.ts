/**
 * The package's entry `flashtile/linear` for workerd (Cloudflare Workers): see `src/engine/workerd.ts`, which it does as well, since
 * bundlers leave out what only a shared script does.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import relaxed from "./relaxed.wasm";
// @ts-ignore: The same.
import rows from "./rows-relaxed.wasm";
// @ts-ignore: The same.
import linear from "./linear-relaxed.wasm";

provideBinary("relaxed", relaxed as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("relaxed", rows as WebAssembly.Module | Uint8Array<ArrayBuffer>, "rows");
provideBinary("relaxed", linear as WebAssembly.Module | Uint8Array<ArrayBuffer>, "linear");

export * from "./mod.ts";
