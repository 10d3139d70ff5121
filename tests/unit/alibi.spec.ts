import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { alibiSlopes } from "../../src/operations/attention/alibi.ts";
import { assertRefused } from "../support/errors.ts";

/** Slopes as powers of two. */
function exponentsOf(heads: number): number[] {
  return Array.from(alibiSlopes(heads).data, (slope) => Math.log2(slope));
}

test("alibiSlopes() falls from one head to the next by one factor, to 2^-8", () => {
  assertEquals(exponentsOf(1), [-8]);
  assertEquals(exponentsOf(2), [-4, -8]);
  assertEquals(exponentsOf(8), [-1, -2, -3, -4, -5, -6, -7, -8]);
  assertEquals(
    alibiSlopes(16).data,
    Float32Array.from({ length: 16 }, (_, h) => Math.SQRT1_2 ** (h + 1)),
  );
});

test("alibiSlopes() fills up with every other slope of twice as many heads", () => {
  assertEquals(exponentsOf(3), [-4, -8, -2]);
  assertEquals(exponentsOf(6), [-2, -4, -6, -8, -1, -3]);
  assertEquals(exponentsOf(7), [-2, -4, -6, -8, -1, -3, -5]);
  for (let heads = 1; heads <= 100; heads++) {
    const power = 2 ** Math.floor(Math.log2(heads));
    const every = alibiSlopes(power).data, twice = alibiSlopes(2 * power).data;
    const other = twice.filter((_, h) => h % 2 === 0).slice(0, heads - power);
    assertEquals(alibiSlopes(heads).data, Float32Array.of(...every, ...other));
  }
});

test("alibiSlopes() gives a tensor [heads]", () => {
  const { shape, dtype } = alibiSlopes(12);
  assertEquals([shape, dtype], [[12], "f32"]);
});

test("alibiSlopes() refuses what is no number of heads", async () => {
  const cases = [[0, RangeError, "0"], [1.5, RangeError, "1.5"], [NaN, RangeError, "NaN"], [
    "8",
    TypeError,
    '"8"',
  ], [undefined, TypeError, "undefined"]] as const;
  for (const [heads, Kind, got] of cases) {
    await assertRefused(
      () => alibiSlopes(heads as number),
      Kind,
      `Cannot make ALiBi slopes: \`heads\` must be a whole number >= 1, got ${got}`,
    );
  }
});
