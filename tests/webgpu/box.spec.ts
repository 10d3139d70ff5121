import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { StorageType } from "../../src/tensor/dtype.ts";
import { boundOf, type Box } from "../../src/webgpu/transfer/box.ts";
import { readWords } from "../../src/webgpu/transfer/upload.ts";
import { runs } from "../support/arbitrary.ts";

const bits: Partial<Record<StorageType, number>> = { f32: 32, u8: 8, bit: 1 };

const range = fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 9 })).map(([from, count]) =>
  [from, from + count] as const
);
const boxes: fc.Arbitrary<Required<Box>> = fc.record({
  batch: range,
  heads: range,
  rows: range,
  columns: range,
});

test("boundOf() binds whole words from an aligned byte, and every element is in them", () => {
  const strides = fc.tuple(fc.nat(3000), fc.nat(900), fc.nat(70), fc.nat(9));
  const views = fc.record({
    dtype: fc.constantFrom<StorageType>("f32", "u8", "bit"),
    offset: fc.nat(10_000),
    strides,
  });
  fc.assert(
    fc.property(views, boxes, fc.constantFrom(32, 256), (view, box, alignment) => {
      const data = { size: 2 ** 40 } as GPUBuffer, shape = [14, 14, 14, 14] as const;
      const bound = boundOf({ ...view, data, shape }, box, alignment);
      const size = bits[view.dtype]!;
      assertEquals([bound.offset % alignment, bound.size % 4], [0, 0]);
      const corners = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]].map((ends) =>
        [box.batch, box.heads, box.rows, box.columns].map(([from, to], axis) =>
          ends[axis] === 0 ? from : to - 1
        )
      );
      for (const corner of corners) {
        const element = corner.reduce((at, n, axis) => at + n * view.strides[axis], view.offset);
        const [batch, head, row, column] = bound.strides;
        const [b, h, n, j] = [box.batch, box.heads, box.rows, box.columns].map(([from], axis) =>
          corner[axis] - from
        );
        const at = bound.at + b * batch + h * head + n * row + j * column;
        assertEquals(bound.offset * 8 + at * size, element * size);
        assert(at * size < bound.size * 8);
      }
    }),
    runs(300),
  );
});

test("readWords() reads bits from anywhere, and nothing past the end", () => {
  const data = Uint32Array.of(0x89abcdef, 0x01234567, 0xdeadbeef);
  const bit = (element: number) => (data[element >> 5] ?? 0) >>> (element & 31) & 1;
  for (const first of [0, 1, 31, 32, 37, 95]) {
    const target = new Uint32Array(3);
    readWords(data, "bit", first, target);
    for (let e = 0; e < 96; e++) {
      assertEquals(target[e >> 5] >>> (e & 31) & 1, bit(first + e), `${first} ${e}`);
    }
  }
});

test("readWords() reads bytes and numbers as they lie", () => {
  const target = new Uint32Array(2);
  readWords(Uint8Array.of(1, 2, 3, 4, 5, 6, 7), "u8", 2, target);
  assertEquals([...new Uint8Array(target.buffer)], [3, 4, 5, 6, 7, 0, 0, 0]);
  readWords(Float32Array.of(1, -Infinity, 3), "f32", 1, target);
  assertEquals([...new Float32Array(target.buffer)], [-Infinity, 3]);
});
