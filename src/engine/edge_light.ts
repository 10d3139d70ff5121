/**
 * The package's entry for Vercel's and Next's edge runtime, which its `package.json` names under the
 * condition `edge-light`. There no program may compile where it is deployed, and `?module` asks for a
 * binary as a compiled module. Not for any other runtime: the binary lies beside it in the package alone.
 *
 * @module
 */

import { provideBinary } from "../wasm/binary/module.ts";
// @ts-ignore: `tools/build_npm` writes it.
import simd from "./simd.wasm?module";
// @ts-ignore: The same.
import rows from "./rows-simd.wasm?module";
// @ts-ignore: The same.
import integer from "./integer-simd.wasm?module";
// @ts-ignore: The same.
import scored from "./scored-simd.wasm?module";

// Next compiles what an edge function imports while it builds, in Node, which from 22 on has relaxed SIMD:
// with the other binary no project could be built on Node 20.
provideBinary("simd", simd as WebAssembly.Module | Uint8Array<ArrayBuffer>);
provideBinary("simd", rows as WebAssembly.Module | Uint8Array<ArrayBuffer>, "rows");
provideBinary("simd", integer as WebAssembly.Module | Uint8Array<ArrayBuffer>, "integer");
provideBinary("simd", scored as WebAssembly.Module | Uint8Array<ArrayBuffer>, "scored");

export * from "../../mod.ts";
