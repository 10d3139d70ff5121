/**
 * Choosing and compiling the kernels' binary.
 *
 * @module
 */

import { BackendUnavailableError } from "../../check/errors.ts";
import type { BinaryName } from "../../contract/capabilities.ts";
import { isWorkerd } from "../../runtime.ts";
import { decompressor, packed, probe, simdProbe, sizes } from "./binaries.gen.ts";
import type { Kernels } from "./kernels.ts";
import { decompress } from "./lzma.ts";
import { relaxed } from "./relaxed.gen.ts";

/** A binary, and why it is the one to take here. */
export interface BinaryChoice {
  readonly name: BinaryName;
  readonly reason: string;
}

/** What a binary of this version exports, and no other. */
const exportNames = ["heapBase", "callRecord", "headRows"] as const;

function decode(base64: string): Uint8Array<ArrayBuffer> {
  // Ten times as fast where it exists, which shows in the time to a first result.
  const { fromBase64 } = Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };
  if (fromBase64 !== undefined) return fromBase64.call(Uint8Array, base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Defined where scripts are built for npm. */
declare const FLASHTILE_PACKED: true | undefined;

/** The bytes of a binary, to be compiled where compiling is allowed. */
export function binaryBytes(name: BinaryName): Uint8Array<ArrayBuffer> {
  // Who runs the source, whose size counts once, has the usual one as it is: unpacking takes 3 ms of 20.
  if (typeof FLASHTILE_PACKED === "undefined" && name === "relaxed") return decode(relaxed);
  // One follows the other: what is not needed of the second is not decompressed.
  const first = sizes.relaxed, end = name === "relaxed" ? first : first + sizes.simd;
  const bytes = decompress(decode(decompressor), decode(packed), end);
  return bytes.subarray(end - sizes[name]);
}

/** Compiles a module that is known to be valid, or tells why nothing is compiled here. */
function compileValid(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    throw new BackendUnavailableError(
      "wasm",
      "WebAssembly may not be compiled here: a page's Content-Security-Policy must allow " +
        "`script-src 'wasm-unsafe-eval'`; elsewhere pass `module`",
      { cause },
    );
  }
}

/** Whether relaxed multiply-add rounds once here; `null` where relaxed SIMD is unknown. */
export function relaxedFuses(): boolean | null {
  const bytes = decode(probe);
  if (!WebAssembly.validate(bytes)) return null;
  const { exports } = new WebAssembly.Instance(compileValid(bytes));
  return Boolean((exports as { fused(): number }).fused());
}

/** Whether a value is a compiled module, of whatever realm: Next's edge runtime has them from another. */
export function isModule(value: unknown): value is WebAssembly.Module {
  try {
    return WebAssembly.Module.exports(value as WebAssembly.Module) !== undefined;
  } catch {
    return false;
  }
}

/** A binary that was compiled before it is needed. */
interface ProvidedBinary {
  readonly name: BinaryName;
  readonly module: WebAssembly.Module;
}

let provided: ProvidedBinary | undefined;

/**
 * Provides a binary where compiling and probing are forbidden later: it is the one that
 * `chooseBinary()` takes.
 *
 * @param name Which of the two it is.
 * @param binary Compiled, or its bytes, as bundlers embed it; these are compiled now.
 */
export function provideBinary(
  name: BinaryName,
  binary: WebAssembly.Module | Uint8Array<ArrayBuffer>,
): void {
  provided = { name, module: isModule(binary) ? binary : new WebAssembly.Module(binary) };
}

/** Compiles on workerd what no entry of the package has provided. */
function compileAhead(): void {
  if (provided === undefined && isWorkerd()) provideBinary("relaxed", binaryBytes("relaxed"));
}

// In a microtask: workerd still starts then, and an entry that provides a compiled binary has done so.
if (isWorkerd()) {
  queueMicrotask(() => {
    try {
      compileAhead();
    } catch {
      // An old compatibility date. Whoever needs the binary is told.
    }
  });
}

function takeProvided(): BinaryChoice | undefined {
  try {
    compileAhead();
  } catch {
    throw new BackendUnavailableError(
      "wasm",
      "workerd compiles only while a worker starts; let your bundler take the package's entry for " +
        "the condition `workerd`, set a compatibility date from 2025-06-01 on, or pass `module`",
    );
  }
  return provided && { name: provided.name, reason: "compiled before the program serves" };
}

/**
 * Picks the binary that is faster here. Relaxed SIMD pays where the engine fuses (V8: a third
 * faster); where it does not (JavaScriptCore) the plain binary is as fast and rounds the same way
 * everywhere.
 *
 * @throws {BackendUnavailableError} When the engine has no 128-bit SIMD, or nothing may be compiled.
 */
export function chooseBinary(): BinaryChoice {
  if (typeof WebAssembly === "undefined") {
    throw new BackendUnavailableError("wasm", "this runtime has no WebAssembly");
  }
  const ahead = takeProvided();
  if (ahead !== undefined) return ahead;
  const fuses = relaxedFuses();
  if (fuses) return { name: "relaxed", reason: "this engine fuses relaxed multiply-add" };
  const bytes = decode(simdProbe);
  if (!WebAssembly.validate(bytes)) {
    throw new BackendUnavailableError("wasm", "this engine has no 128-bit SIMD (simd128)");
  }
  if (fuses === null) compileValid(bytes); // Nothing was compiled yet.
  const reason = fuses === null
    ? "this engine has no relaxed SIMD"
    : "this engine's relaxed multiply-add is not fused, so no faster";
  return { name: "simd", reason };
}

/**
 * Makes a binary one over a shared memory. The code has no atomic instruction, so that the two differ
 * in one flag of the memory's import alone; which one is needed is known only while loading.
 */
export function shareMemory(bytes: Uint8Array): void {
  bytes[memoryFlags(bytes)] |= 2;
}

/** Index of the flags of the imported memory. */
function memoryFlags(bytes: Uint8Array): number {
  let at = 8; // Behind the magic number and the version.
  const leb = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const importSection = 2, memoryKind = 2;
  for (let id = bytes[at++], size = leb(); id !== importSection; id = bytes[at++], size = leb()) {
    at += size;
  }
  leb(); // One import.
  for (let name = 0; name < 2; name++) {
    const length = leb(); // Moves `at` too, so not in one statement with the sum.
    at += length;
  }
  if (bytes[at++] !== memoryKind) {
    throw new Error("Cannot share memory: the first import is no memory");
  }
  return at;
}

/**
 * How many of four elements micro-kernels should splat while loading, for this engine: see the table
 * of `tools/microkernels.ts`.
 *
 * @param binary What `chooseBinary()` took, if it was asked: so nothing is probed again.
 */
export function chooseSplats(binary?: BinaryName): 0 | 1 | 4 {
  // Deno first: there, touching `process` loads what stands behind it, 20 ms.
  if ("Deno" in globalThis) {
    const fuses = binary === undefined ? relaxedFuses() : binary === "relaxed";
    return fuses ? 1 : 0;
  }
  if (isWorkerd()) return 1;
  const { process, navigator } = globalThis as {
    process?: { versions?: { v8?: string; bun?: string } };
    navigator?: { userAgent?: string };
  };
  const { v8, bun } = process?.versions ?? {};
  const guarded = v8 !== undefined && bun === undefined;
  return guarded || /Chrom/.test(navigator?.userAgent ?? "") ? 4 : 0;
}

const compiled = new Map<string, Promise<WebAssembly.Module>>();

async function compile(name: BinaryName, shared: boolean): Promise<WebAssembly.Module> {
  const bytes = binaryBytes(name); // Nobody else's.
  if (shared) shareMemory(bytes);
  // Where no page waits to be drawn: handing it to another thread takes longer than doing it, since
  // functions are compiled when they are first called.
  if (!("document" in globalThis)) return new WebAssembly.Module(bytes);
  return await WebAssembly.compile(bytes);
}

/** Compiles a binary once per process. */
export function compileBinary(name: BinaryName, shared = false): Promise<WebAssembly.Module> {
  if (provided?.name === name && !shared) return Promise.resolve(provided.module);
  const key = shared ? `${name}, shared` : name;
  let module = compiled.get(key);
  if (module === undefined) {
    module = compile(name, shared);
    compiled.set(key, module);
    module.catch(() => compiled.delete(key)); // A failure is not kept: the next call tries again.
  }
  return module;
}

/**
 * Checks a module that somebody else has compiled.
 *
 * @throws {TypeError} When it is not one of this library's binaries.
 */
export function checkModule(module: WebAssembly.Module): void {
  const names = WebAssembly.Module.exports(module).map(({ name }) => name);
  const missing = exportNames.find((name) => !names.includes(name));
  if (missing === undefined) return;
  throw new TypeError(
    `Cannot create an engine: \`module\` is not a FlashTile binary, it lacks \`${missing}\``,
  );
}

/** Instantiates a compiled binary over a memory. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as Kernels;
}
