/**
 * Decompressing LZMA: the binaries come so. Streams of the runtime know less dense formats, and take 5
 * to 25 ms to begin with; in JavaScript that runs for the first time it takes 5 to 10; a Wasm module of
 * its own needs two.
 *
 * @module
 */

import { pageBytes } from "../memory/arena.ts";

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
