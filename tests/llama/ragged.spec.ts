import { test } from "node:test";
import { assertEquals, assertStrictEquals } from "@std/assert";
import { Ragged } from "../../examples/llama/ragged.ts";

test("Ragged.pad() puts each sequence's rows at its own place, and pack() takes them back", () => {
  const rows = new Ragged([1, 0, 3]);
  assertEquals([rows.total, rows.longest, rows.even], [4, 3, false]);
  assertEquals(rows.begins, [0, 1, 1]);
  const packed = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 99);
  const padded = rows.pad(packed, 2);
  assertEquals([...padded], [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 6, 7, 8]);
  const back = new Float32Array(9).fill(7);
  rows.pack(padded, 2, back);
  assertEquals([...back], [1, 2, 3, 4, 5, 6, 7, 8, 7]);
});

test("Ragged copies nothing where all sequences have as many rows", () => {
  const rows = new Ragged([2, 2]);
  const packed = Float32Array.of(1, 2, 3, 4);
  assertStrictEquals(rows.pad(packed, 1), packed);
  rows.pack(packed, 1, packed);
  assertEquals([...packed], [1, 2, 3, 4]);
});

test("Ragged of no rows is even and empty", () => {
  const rows = new Ragged([0, 0]);
  assertEquals([rows.total, rows.longest, rows.even], [0, 0, true]);
});
