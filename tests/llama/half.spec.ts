import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { fromBfloat16, fromFloat16 } from "../../examples/llama/half.ts";

/** IEEE 754: (1 + f / 1024) * 2^(e - 15), or f / 1024 * 2^-14 for e = 0. */
function halfByFormula(half: number): number {
  const sign = half >> 15 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = (half & 1023) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
}

test("fromFloat16() follows the formula of IEEE 754 for all 65536 halves", () => {
  for (let half = 0; half < 65536; half++) {
    const got = fromFloat16(half);
    if (!Object.is(got, halfByFormula(half))) assertEquals(got, halfByFormula(half), `${half}`);
  }
});

test("fromBfloat16() gives the single whose upper half it is", () => {
  assertEquals(fromBfloat16(0x3f80), 1);
  assertEquals(fromBfloat16(0xc049), -3.140625);
  assertEquals(fromBfloat16(0x8000), -0);
  assertEquals(fromBfloat16(0x0001), 2 ** -133);
  assertEquals(fromBfloat16(0xff80), -Infinity);
  assertEquals(fromBfloat16(0x7fc0), NaN);
});
