import { assertEquals } from "@std/assert";
import { compress } from "lzma1";
import { test } from "node:test";
import { decompressor, packed, sizes } from "../../src/wasm/binary/binaries.gen.ts";
import { decompress } from "../../src/wasm/binary/module.ts";
import { relaxed } from "../../src/wasm/binary/relaxed.gen.ts";
import { seeded } from "../support/random.ts";
import { longTest, sharedOut } from "../support/share.ts";

const decode = (base64: string) =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const binary = decode(decompressor);

type Mode = Parameters<typeof compress>[1];

/** Compressed, without the file's header. */
const pack = (bytes: Uint8Array, mode: Mode) => compress(bytes, mode).subarray(13);

/** Bytes that repeat themselves, near and far, by distances that come again. */
function repetitive(count: number, seed: number): Uint8Array {
  const random = seeded(seed), bytes = new Uint8Array(count), last = [1, 1, 1, 1];
  for (let at = 0; at < count;) {
    const length = 1 + Math.floor(random() ** 3 * 400);
    const distance = random() < 0.5
      ? last[Math.floor(random() * 4)]
      : 1 + Math.floor(random() ** 3 * at);
    last.unshift(distance);
    for (let index = 0; index < length && at < count; index++, at++) {
      bytes[at] = random() < 0.05 || at < distance ? random() * 40 : bytes[at - distance];
    }
  }
  return bytes;
}

longTest(
  "decompress() gives back what was compressed",
  () => {
    for (const seed of sharedOut([...Array(18).keys()], 2, "lzma")) {
      const bytes = repetitive(20_000 + 2_000 * seed, seed);
      // Modes differ in the matches that they take.
      assertEquals(decompress(binary, pack(bytes, 1 + seed % 9 as Mode), bytes.length), bytes);
    }
  },
);

test("decompress() gives back what nothing repeats in", () => {
  const random = seeded(1), bytes = Uint8Array.from({ length: 5000 }, () => random() * 256);
  assertEquals(decompress(binary, pack(bytes, 9), bytes.length), bytes);
});

longTest(
  "decompress() knows the longest match and far distances",
  () => {
    const random = seeded(2), bytes = new Uint8Array(600_000);
    for (let at = 0; at < 300_000; at++) bytes[at] = random() * 256;
    bytes.copyWithin(300_000, 0, 300_000);
    assertEquals(decompress(binary, pack(bytes, 9), bytes.length), bytes);
  },
);

test("decompress() stops where it is told to", () => {
  const bytes = repetitive(50_000, 3), source = pack(bytes, 9);
  for (const size of [0, 1, 2, 3, 4, 100, 10_001, 49_999]) {
    assertEquals(decompress(binary, source, size), bytes.subarray(0, size));
  }
});

test("decompress() ends, or says that bytes are damaged, wherever that is", () => {
  const bytes = repetitive(40_000, 3), source = pack(bytes, 9), random = seeded(4);
  let refused = 0;
  for (let round = 0; round < 200; round++) {
    const damaged = source.slice(0, 1 + Math.floor(random() * source.length));
    damaged[Math.floor(random() * damaged.length)] ^= 1 + Math.floor(random() * 255);
    try {
      assertEquals(decompress(binary, damaged, bytes.length).length, bytes.length);
    } catch (error) {
      assertEquals((error as Error).message, "Cannot decompress: the bytes are damaged");
      refused++;
    }
  }
  assertEquals(refused > 0, true);
});

test("the binary that is there as it is, is the first of those that are packed", () => {
  assertEquals(decompress(binary, decode(packed), sizes.relaxed), decode(relaxed));
});
