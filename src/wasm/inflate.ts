/**
 * Inflating (RFC 1951): the binaries come deflated. Streams of the runtime could do it too, as could
 * Node's zlib, but take 5 to 25 ms to begin with, and in JavaScript that runs for the first time it
 * takes 4 to 8; a Wasm module of its own needs less than one.
 *
 * @module
 */

import { pageBytes } from "./arena.ts";

/** What `asm/inflate.ts` exports. */
interface Inflater {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  inflate(source: number, target: number): void;
}

/**
 * The bytes that were deflated into `source`.
 *
 * @param binary The Wasm module that does it.
 * @param size How many they are.
 */
export function inflate(
  binary: Uint8Array<ArrayBuffer>,
  source: Uint8Array,
  size: number,
): Uint8Array<ArrayBuffer> {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary));
  const { memory, heapBase, inflate } = exports as unknown as Inflater;
  const at = heapBase(), target = at + source.length;
  memory.grow(Math.ceil((target + size) / pageBytes) - memory.buffer.byteLength / pageBytes + 1);
  new Uint8Array(memory.buffer).set(source, at);
  try {
    inflate(at, target);
  } catch (cause) {
    throw new Error("Cannot inflate: the bytes are damaged", { cause });
  }
  return new Uint8Array(memory.buffer, target, size);
}
