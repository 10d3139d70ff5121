/**
 * A Wasm binary of the library, as Workers and bundlers import one: compiled, for the option `module`
 * of `createEngine()`.
 */

/// <reference path="./globals.d.ts" />

declare const module: WebAssembly.Module;
export default module;
