/**
 * The package's entry for workerd (Cloudflare Workers), which its `package.json` names under the
 * condition `workerd`. There a program may not compile while it serves, and imports WebAssembly as a
 * compiled module instead. Not for any other runtime: the binary lies beside it in the package alone.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import relaxed from "./relaxed.wasm";
// @ts-ignore: The same.
import rows from "./rows-relaxed.wasm";
// @ts-ignore: The same.
import integer from "./integer-relaxed.wasm";
// @ts-ignore: The same.
import scored from "./scored-relaxed.wasm";

// V8 has relaxed SIMD, so that the other binary is never needed.
provideBinary("relaxed", relaxed as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("relaxed", rows as WebAssembly.Module | Uint8Array<ArrayBuffer>, "rows");
provideBinary("relaxed", integer as WebAssembly.Module | Uint8Array<ArrayBuffer>, "integer");
provideBinary("relaxed", scored as WebAssembly.Module | Uint8Array<ArrayBuffer>, "scored");

export * from "../../mod.ts";
