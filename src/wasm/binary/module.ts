/**
 * The kernels' binaries: unpacked, compiled once, instantiated.
 *
 * They come in LZMA. Streams of the runtime know less dense formats, and take 5 to 25 ms to begin with; in
 * JavaScript that runs for the first time it takes 5 to 10; a Wasm module of its own needs two.
 *
 * @module
 */

import { BackendUnavailableError } from "../../check/errors.ts";
import type { BinaryName } from "../../contract/capabilities.ts";
import { isWorkerd } from "../../runtime.ts";
import { pageBytes } from "../memory/arena.ts";
import { decompressor, packed, sizes } from "./binaries.gen.ts";
import { relaxed } from "./relaxed.gen.ts";

/** What a binary of this version exports, and no other. */
const exportNames = ["heapBase", "callRecord", "headRows", "panelBytes"] as const;

/** The bytes of a binary in base64. */
export function decode(base64: string): Uint8Array<ArrayBuffer> {
  // Ten times as fast where it exists, which shows in the time to a first result.
  const { fromBase64 } = Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };
  if (fromBase64 !== undefined) return fromBase64.call(Uint8Array, base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** What `asm/lzma.ts` exports. */
interface Decompressor {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  decompress(source: number, target: number, end: number): void;
}

/** A match may write so many bytes beyond the end. */
const longestMatch = 273;

/**
 * The first bytes of what was compressed to `source`, which begins behind the file's header.
 *
 * @param binary The Wasm module that does it.
 * @param size How many they are.
 */
export function decompress(
  binary: Uint8Array<ArrayBuffer>,
  source: Uint8Array,
  size: number,
): Uint8Array<ArrayBuffer> {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary));
  const { memory, heapBase, decompress } = exports as unknown as Decompressor;
  const at = heapBase(), target = at + source.length, end = target + size;
  memory.grow(Math.ceil((end + longestMatch - memory.buffer.byteLength) / pageBytes));
  new Uint8Array(memory.buffer).set(source, at);
  try {
    decompress(at, target, end);
  } catch (cause) {
    throw new Error("Cannot decompress: the bytes are damaged", { cause });
  }
  return new Uint8Array(memory.buffer, target, size);
}

/** Defined where scripts are built for npm. */
declare const FLASHTILE_PACKED: true | undefined;

/** The bytes of a binary, to be compiled where compiling is allowed. */
export function binaryBytes(name: BinaryName): Uint8Array<ArrayBuffer> {
  // Who runs the source, whose size counts once, has the usual one as it is: unpacking takes 3 ms of 20.
  if (typeof FLASHTILE_PACKED === "undefined" && name === "relaxed") return decode(relaxed);
  return unpack({ packed, sizes }, name);
}

/** A program in both binaries. */
export interface PackedProgram {
  readonly packed: string;
  readonly sizes: Readonly<Record<BinaryName, number>>;
}

/** The bytes of one of a program's binaries. */
export function unpack(
  { packed, sizes }: PackedProgram,
  name: BinaryName,
): Uint8Array<ArrayBuffer> {
  // One follows the other: what is not needed of the second is not decompressed.
  const first = sizes.relaxed, end = name === "relaxed" ? first : first + sizes.simd;
  const bytes = decompress(decode(decompressor), decode(packed), end);
  return bytes.subarray(end - sizes[name]);
}

/** Compiles a module that is known to be valid, or tells why nothing is compiled here. */
export function compileValid(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
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

/** Whether a value is a compiled module, of whatever realm: Next's edge runtime has them from another. */
export function isModule(value: unknown): value is WebAssembly.Module {
  try {
    return WebAssembly.Module.exports(value as WebAssembly.Module) !== undefined;
  } catch {
    return false;
  }
}

/** A binary that was compiled before it is needed. */
export interface ProvidedBinary {
  readonly name: BinaryName;
  readonly module: WebAssembly.Module;
}

/**
 * The programs: attention's, that of rows by themselves, that of attention in linear time, that by integers, that of few
 * queries, that with score and mask functions, that of layers, that of weights; and attention's as engines have it that join
 * vectors.
 */
export type ProgramName =
  | ("attention" | "rows" | "linear" | "integer" | "narrow" | "scored" | "nn" | "weights")
  | "wide";

/** What was provided, by program. */
const provided: { [Name in ProgramName]?: ProvidedBinary } = {};

/**
 * Provides a binary where compiling and probing are forbidden later: it is the one that
 * `chooseBinary()` takes.
 *
 * @param name Which of the two it is.
 * @param binary Compiled, or its bytes, as bundlers embed it; these are compiled now.
 * @param program Of which program it is.
 */
export function provideBinary(
  name: BinaryName,
  binary: WebAssembly.Module | Uint8Array<ArrayBuffer>,
  program: ProgramName = "attention",
): void {
  provided[program] = { name, module: isModule(binary) ? binary : new WebAssembly.Module(binary) };
}

/** Compiles on workerd what no entry of the package has provided. */
function compileAhead(): void {
  if (provided.attention === undefined && isWorkerd()) {
    provideBinary("relaxed", binaryBytes("relaxed"));
  }
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

/**
 * What was compiled ahead; on workerd no later than now.
 *
 * @throws Where that is too late, or too soon.
 */
export function takeAhead(): ProvidedBinary | undefined {
  compileAhead();
  return provided.attention;
}

/** That a binary is needed where nothing may be compiled any more. */
export function compiledTooLate(): BackendUnavailableError {
  return new BackendUnavailableError(
    "wasm",
    "workerd compiles only while a worker starts; let your bundler take the package's entry for " +
      "the condition `workerd`, set a compatibility date from 2025-06-01 on, or pass `module`",
  );
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

const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** Compiles bytes that are nobody else's. */
async function compile(
  bytes: Uint8Array<ArrayBuffer>,
  shared: boolean,
): Promise<WebAssembly.Module> {
  if (shared) shareMemory(bytes);
  // Where no page waits to be drawn: handing it to another thread takes longer than doing it, since
  // functions are compiled when they are first called.
  if (!("document" in globalThis)) return new WebAssembly.Module(bytes);
  return await WebAssembly.compile(bytes);
}

/** Whether any was compiled. */
export function hasCompiled(): boolean {
  return compiled.size > 0;
}

/**
 * Compiles a binary once per process.
 *
 * @param wide The bytes of the wide program, where that stands for it.
 */
export function compileBinary(
  name: BinaryName,
  shared = false,
  wide?: () => Uint8Array<ArrayBuffer>,
): Promise<WebAssembly.Module> {
  return compileProgram(
    wide ? "wide" : "attention",
    name,
    shared,
    wide ?? (() => binaryBytes(name)),
  );
}

/** The same of any program, unless that was provided. */
export function compileProgram(
  program: ProgramName,
  name: BinaryName,
  shared: boolean,
  bytes: () => Uint8Array<ArrayBuffer>,
): Promise<WebAssembly.Module> {
  const ahead = provided[program];
  if (ahead?.name === name && !shared) return Promise.resolve(ahead.module);
  const key = `${program}, ${name}, ${shared}`;
  let module = compiled.get(key);
  if (module === undefined) {
    module = compile(bytes(), shared);
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
export function instantiate<Exports>(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Exports {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Exports;
}
