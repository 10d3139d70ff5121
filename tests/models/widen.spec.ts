import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import type { StoredDType } from "../../src/models/files/weights.ts";
import { widened } from "../../src/models/files/widen.ts";
import { normals, seeded } from "../support/random.ts";
import { decode } from "../support/storage.ts";

const bits = Uint16Array.from({ length: 2 ** 16 }, (_, at) => at);

function stored(data: Uint8Array | Uint16Array | Int8Array | Float32Array, dtype: StoredDType) {
  return widened({ data, dtype, shape: [data.length] });
}

test("16-bit floats are widened exactly, each of them", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const numbers = stored(bits, dtype);
    for (const one of bits) {
      const wanted = decode(one, dtype);
      assert(Object.is(numbers[one], Math.fround(wanted)), `${dtype} ${one}: ${numbers[one]}`);
    }
  }
});

test("f32 is what it is, and bytes have their signs", () => {
  const numbers = normals(7, seeded(1));
  assert(stored(numbers, "f32") === numbers);
  assertEquals(stored(Int8Array.of(-128, 0, 127), "i8"), Float32Array.of(-128, 0, 127));
});

/** The bits of 0.5 and of -2 in f16. */
const scales = [[0x00, 0x38], [0x00, 0xc0]];

test("blocks of Q8_0 are a scale and 32 bytes", () => {
  const bytes = Array.from({ length: 32 }, (_, at) => at * 8 - 128);
  const data = Uint8Array.from(scales.flatMap((scale) => [...scale, ...bytes]));
  const wanted = [0.5, -2].flatMap((scale) => bytes.map((one) => scale * one));
  assertEquals(stored(data, "q8_0"), Float32Array.from(wanted));
});

test("blocks of Q4_0 are a scale, sixteen numbers in the low fours and sixteen in the high", () => {
  const pairs = Array.from({ length: 16 }, (_, at) => at | (15 - at) << 4);
  const data = Uint8Array.from(scales.flatMap((scale) => [...scale, ...pairs]));
  const fours = [...Array(16).keys(), ...[...Array(16).keys()].reverse()];
  const wanted = [0.5, -2].flatMap((scale) => fours.map((four) => scale * (four - 8)));
  assertEquals(stored(data, "q4_0").length, 64);
  for (const [at, one] of stored(data, "q4_0").entries()) assert(one === wanted[at], `${at}`);
});
