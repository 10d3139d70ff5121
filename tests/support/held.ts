/**
 * Arrays as calls hold them.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { HeldArray } from "../../src/tensor/arrays.ts";

/** Checks that what is held is an array of the caller's, byte by byte the same memory. */
export function assertSameArray(
  held: unknown,
  { buffer, byteOffset, length }: Float32Array | Uint16Array | Uint8Array | Uint32Array,
): void {
  assert(HeldArray.is(held));
  const now = (held as HeldArray).now();
  assert(now.buffer === buffer);
  assertEquals([now.byteOffset, now.length], [byteOffset, length]);
}
