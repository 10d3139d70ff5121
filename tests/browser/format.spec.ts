import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { short, small } from "../../examples/browser/format.ts";

test("short() has three digits and never an exponent", () => {
  const texts = [0, 0.0004, 0.1234, 1.234, 12.34, 123.4, 1234, NaN].map(short);
  assertEquals(texts, ["0.00", "0.000", "0.123", "1.23", "12.3", "123", "1234", "NaN"]);
});

test("small() has two digits", () => {
  assertEquals([1.26e-7, 3e-6, 0, NaN].map(small), ["1.3e-7", "3.0e-6", "0", "NaN"]);
});
