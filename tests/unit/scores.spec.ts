import { blockMask, type Tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import {
  readBias,
  readBlockMask,
  readMask,
  readSinks,
  readSlopes,
} from "../../src/operations/attention/check/scores.ts";
import { broadcastOf, type Extents } from "../../src/tensor/tensor.ts";
import { always } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertSameArray } from "../support/held.ts";
import { broadcastReader } from "../support/meaning.ts";

const extents: Extents = [2, 4, 3, 5];

/** A tensor whose elements are their places. */
function counted(shape: readonly number[], rest: Partial<Tensor> = {}): Tensor {
  const data = Float32Array.from({ length: 400 }, (_, at) => at);
  return { data, shape, ...rest };
}

test("broadcastOf() has no stride along axes of one element, and along missing ones", () => {
  const strides = (shape: number[], given?: number[]) =>
    broadcastOf({ shape, strides: given }, extents).strides;
  assertEquals(strides([2, 4, 3, 5]), [60, 15, 5, 1]);
  assertEquals(strides([3, 5]), [0, 0, 5, 1]);
  assertEquals(strides([1]), [0, 0, 0, 0]);
  assertEquals(strides([2, 1, 1, 5]), [5, 0, 0, 1]);
  assertEquals(strides([2, 1, 3, 1], [9, 8, 7, 6]), [9, 0, 7, 0]);
  assertEquals(strides([4, 3, 5], [1, 4, 12]), [0, 1, 4, 12]);
});

test("broadcastOf() reads the element that belongs to each score", () => {
  const axis = (extent: number) => fc.constantFrom(1, extent);
  const shapes = fc.tuple(...extents.map(axis), fc.integer({ min: 1, max: 4 }));
  fc.assert(
    fc.property(shapes, fc.nat(9), ([b, h, i, j, rank], offset) => {
      const tensor = counted([b, h, i, j].slice(4 - rank), { offset });
      const view = broadcastOf(tensor, extents), read = broadcastReader(tensor);
      assertEquals([view.shape, view.offset], [extents, offset]);
      for (let at = 0; at < 120; at++) {
        const index = [
          Math.floor(at / 60),
          Math.floor(at / 15) % 4,
          Math.floor(at / 5) % 3,
          at % 5,
        ];
        const element = index.reduce((sum, n, axis) => sum + n * view.strides[axis], view.offset);
        const [B, H, I, J] = index;
        assertEquals(tensor.data[element], read(B, H, I, J));
      }
    }),
    always(100),
  );
});

test("readBias() keeps the data that it was given", () => {
  const bias = counted([3, 5], { offset: 4, strides: [10, 2] });
  const { view, shape } = readBias(bias, extents)!;
  assertSameArray(view.data, bias.data);
  assertEquals(shape, [3, 5]);
  assertEquals([view.dtype, view.offset, view.strides], ["f32", 4, [0, 0, 10, 2]]);
  assertEquals(readBias(undefined, extents), null);
});

test("readMask() tells bytes from bits by their kind", () => {
  const bytes = new Uint8Array(15), bits = Uint32Array.of(7);
  assertEquals(readMask({ data: bytes, shape: [3, 5] }, extents)?.dtype, "u8");
  assertEquals(readMask({ data: bytes, shape: [3, 5], dtype: "u8" }, extents)?.dtype, "u8");
  const view = readMask({ data: bits, shape: [3, 5], offset: 17 }, extents)!;
  assertSameArray(view.data, bits);
  assertEquals([view.dtype, view.offset, view.strides], ["bit", 17, [0, 0, 5, 1]]);
  assertEquals(readMask(undefined, extents), null);
});

/** What looks like a buffer on a GPU. */
const buffer = { mapAsync() {}, usage: 0x80, size: 16 };

test("readMask() and readBias() take buffers as they are stored", () => {
  const mask = { data: buffer, shape: [3, 5] };
  assertEquals(readMask({ ...mask, dtype: "u8" }, extents)?.dtype, "u8");
  assertEquals(readMask({ ...mask, dtype: "bit", offset: 113 }, extents)?.dtype, "bit");
  const bias = readBias({ data: buffer, shape: [4, 1, 1], dtype: "f32" }, extents)?.view;
  assertEquals([bias?.data as unknown === buffer, bias?.strides], [true, [0, 1, 0, 0]]);
});

const two = { count: 2, name: "batch" };

test("readSlopes() gives slopes of each segment and head, whatever strides say", () => {
  assertEquals(readSlopes(undefined, two, 4), null);
  const dense = (alibi: Tensor) => readSlopes(alibi, two, 4)!;
  assertSameBits(dense(counted([4])), [0, 1, 2, 3, 0, 1, 2, 3]);
  assertSameBits(dense(counted([4], { strides: [3], offset: 2 })), [2, 5, 8, 11, 2, 5, 8, 11]);
  assertSameBits(dense(counted([2, 4])), [0, 1, 2, 3, 4, 5, 6, 7]);
  assertSameBits(dense(counted([1, 4], { strides: [99, 2] })), [0, 2, 4, 6, 0, 2, 4, 6]);
  assertSameBits(dense(counted([2, 4], { strides: [1, 2] })), [0, 2, 4, 6, 1, 3, 5, 7]);
  assertSameBits(dense(counted([2, 4], { strides: [0, 1] })), [0, 1, 2, 3, 0, 1, 2, 3]);
  assertEquals(readSlopes(counted([4]), { count: 0, name: "batch" }, 4)?.length, 0);
});

test("readSlopes() and readSinks() copy: what is written later does not count", () => {
  const tensor = counted([4]);
  const slopes = readSlopes(tensor, two, 4)!, sinks = readSinks(tensor, 4)!;
  tensor.data.fill(-1);
  assertSameBits(slopes.subarray(4), [0, 1, 2, 3]);
  assertSameBits(sinks, [0, 1, 2, 3]);
});

test("readSinks() gives a sink for each head, whatever strides say", () => {
  assertEquals(readSinks(undefined, 4), null);
  assertSameBits(readSinks(counted([4], { strides: [5], offset: 1 }), 4)!, [1, 6, 11, 16]);
  assertSameBits(readSinks(counted([4], { strides: [0], offset: 9 }), 4)!, [9, 9, 9, 9]);
});

test("readBlockMask() takes masks that are shared by batches, by heads, or by none", () => {
  for (const [batch, heads] of [[1, 1], [2, 1], [1, 4], [2, 4]]) {
    const mask = blockMask.causal({ queries: 3, keys: 5, batch, heads });
    assert(readBlockMask(mask, extents) === mask);
  }
  assertEquals(readBlockMask(undefined, extents), null);
});
