import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { lengthsOf, readSettings } from "../../examples/browser/settings.ts";

const form = { heads: "4", dim: "64", causal: false, largest: "1024" };

test("readSettings() reads the form", () => {
  const settings = readSettings({ heads: "2", dim: "40", causal: true, largest: "256" });
  assertEquals(settings, { heads: 2, dim: 40, causal: true, largest: 256 });
});

test("readSettings() refuses what is not a whole number in range, by name", () => {
  for (const heads of ["", "0", "65", "1.5", "-1", "x"]) {
    const message = `H must be a whole number from 1 to 64, got "${heads}"`;
    assertThrows(() => readSettings({ ...form, heads }), RangeError, message);
  }
  assertThrows(() => readSettings({ ...form, dim: "513" }), RangeError, "D must be");
  assertThrows(() => readSettings({ ...form, largest: "32" }), RangeError, "The largest N must be");
});

test("readSettings() refuses tensors that do not fit into memory", () => {
  const huge = { ...form, heads: "64", dim: "512", largest: "16384" };
  assertThrows(() => readSettings(huge), RangeError, "take a smaller N");
});

test("lengthsOf() doubles up to the largest", () => {
  assertEquals(lengthsOf({ ...readSettings(form), largest: 500 }), [64, 128, 256]);
  assertEquals(lengthsOf({ ...readSettings(form), largest: 64 }), [64]);
});
