import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { assertEquals, assertThrows } from "@std/assert";
import { inflater } from "../../src/wasm/binaries.gen.ts";
import { inflate } from "../../src/wasm/inflate.ts";
import { seeded } from "../support/random.ts";

const binary = Uint8Array.from(atob(inflater), (character) => character.charCodeAt(0));

/** Bytes that repeat themselves, near and far. */
function repetitive(count: number, seed: number): Uint8Array {
  const random = seeded(seed), bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const length = 1 + Math.floor(random() ** 3 * 400), distance = 1 + Math.floor(random() * at);
    for (let index = 0; index < length && at < count; index++, at++) {
      bytes[at] = random() < 0.05 || at < distance ? random() * 40 : bytes[at - distance];
    }
  }
  return bytes;
}

test("inflate() gives back what was deflated", () => {
  for (let seed = 0; seed < 20; seed++) {
    const bytes = repetitive(20_000 + 9_000 * seed, seed);
    // Levels differ in the matches that they take.
    const packed = deflateRawSync(bytes, { level: 1 + seed % 9 });
    assertEquals(inflate(binary, packed, bytes.length), bytes);
  }
});

test("inflate() knows the longest match and the farthest distance", () => {
  const bytes = new Uint8Array(70_000);
  const random = seeded(1);
  for (let at = 0; at < 32_768; at++) bytes[at] = random() * 30;
  bytes.copyWithin(32_768, 0, 32_768);
  assertEquals(inflate(binary, deflateRawSync(bytes, { level: 9 }), bytes.length), bytes);
});

test("inflate() knows the codes of small blocks", () => {
  const bytes = new TextEncoder().encode("abcabcabcd");
  assertEquals(inflate(binary, deflateRawSync(bytes), bytes.length), bytes);
});

test("inflate() says that a block that is not compressed is none of ours", () => {
  const stored = deflateRawSync(new Uint8Array(10), { level: 0 });
  assertThrows(() => inflate(binary, stored, 10), Error, "Cannot inflate");
});

test("inflate() says that bytes are damaged, wherever that is", () => {
  const bytes = repetitive(40_000, 3), random = seeded(4);
  const packed = new Uint8Array(deflateRawSync(bytes));
  for (let round = 0; round < 200; round++) {
    const damaged = packed.slice(0, 1 + Math.floor(random() * packed.length));
    // Its end is cut off, and a byte is another. It may end too soon or late, but it ends.
    damaged[Math.floor(random() * damaged.length)] ^= 1 + Math.floor(random() * 255);
    try {
      assertEquals(inflate(binary, damaged, bytes.length).length, bytes.length);
    } catch (error) {
      assertEquals((error as Error).message, "Cannot inflate: the bytes are damaged");
    }
  }
});
