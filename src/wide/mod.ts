/**
 * Vectors of 256 bits on the CPU, where V8 makes them: in Node 24 and later on x64 with AVX2. Imported for what
 * it does, before or after the main entry:
 *
 * ```ts
 * import "@flashtile/attention/wide";
 * import { createEngine } from "@flashtile/attention";
 *
 * const engine = await createEngine({ backend: "wasm" });
 * console.log(engine.reason); // says whether it is wide, and if not, why
 * await engine.close();
 * ```
 *
 * WebAssembly has vectors of 128 bits. V8 can join two operations on neighbours to one on 256, which is an
 * experiment of V8's that a flag switches on, `--experimental-wasm-revectorize`, `--wasm-revectorize` from V8
 * 15.6 on. Importing this sets it, for the whole process: every WebAssembly module that is compiled later is joined in that way too, whoever's it
 * is. V8 14 (Node 26) ends the process where it joins what a function computes with a vector among its
 * parameters; this library has none. Engines that are made from then on, and the functions, have kernels shaped for it; they give the same
 * bits as without. The first engine measures for some 50 ms whether they are faster, and stays as it was
 * where they are not.
 *
 * Elsewhere importing it changes nothing, and prints nothing. Electron, Chromium and what else has V8 take
 * the flag where they are started (`app.commandLine.appendSwitch("js-flags", ...)`, `--js-flags=...`); there
 * `createEngine({ wide: true })` measures and takes what is faster.
 *
 * @module
 */

import { provideWide } from "../wasm/binary/choice.ts";
import { hasCompiled } from "../wasm/binary/module.ts";
import { chooseWide } from "./choice.ts";
import { setFlag } from "./flag.ts";

const obstacle: string | undefined = setFlag(hasCompiled);
provideWide((choice, isAsked) => chooseWide(choice, isAsked ? undefined : obstacle));
