import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { chooseParts } from "../../src/webgpu/attention/splits.ts";
import {
  cutRange,
  cutRegion,
  extent,
  halve,
  positionUnit,
  type Region,
} from "../../src/webgpu/transfer/regions.ts";
import { runs } from "../support/arbitrary.ts";

const regions = fc.record({
  batch: fc.integer({ min: 1, max: 5 }).map((n) => [0, n] as const),
  heads: fc.integer({ min: 1, max: 9 }).map((n) => [0, n] as const),
  positions: fc.integer({ min: 1, max: 3000 }).map((n) => [0, n] as const),
});

function sizeOf({ batch, heads, positions }: Region): number {
  return extent(batch) * extent(heads) * extent(positions);
}

test("cutRegion() covers the whole once, in order, with pieces that fit", () => {
  fc.assert(
    fc.property(regions, fc.integer({ min: 1, max: 5000 }), (whole, most) => {
      const pieces = [...cutRegion(whole, (region) => sizeOf(region) <= most)];
      const seen = new Set<string>();
      for (const { batch, heads, positions } of pieces) {
        for (let b = batch[0]; b < batch[1]; b++) {
          for (let h = heads[0]; h < heads[1]; h++) seen.add(`${b} ${h} ${positions}`);
        }
      }
      assertEquals(pieces.reduce((sum, piece) => sum + sizeOf(piece), 0), sizeOf(whole));
      assert(pieces.every((piece) => sizeOf(piece) <= most));
      const starts = pieces.map(({ batch, heads, positions }) =>
        (batch[0] * 10 + heads[0]) * 10_000 + positions[0]
      );
      assertEquals(starts, starts.toSorted((a, b) => a - b));
    }),
    runs(200),
  );
});

test("cutRegion() gives what cannot be cut any further", () => {
  const whole: Region = { batch: [0, 2], heads: [0, 1], positions: [0, 2] };
  assertEquals([...cutRegion(whole, () => false)].length, 4);
});

test("cutRegion() asks anew, so that it can learn", () => {
  const whole: Region = { batch: [0, 8], heads: [0, 1], positions: [0, 1] };
  let most = 1;
  const sizes = [];
  for (const piece of cutRegion(whole, (region) => sizeOf(region) <= most)) {
    sizes.push(sizeOf(piece));
    most = 8;
  }
  assertEquals(sizes, [1, 1, 2, 4]);
});

test("halve() cuts more than a unit at a multiple of it", () => {
  assertEquals(halve([0, 1000]), [[0, 512], [512, 1000]]);
  assertEquals(halve([640, 740]), [[640, 704], [704, 740]]);
  assertEquals(halve([640, 700]), [[640, 670], [670, 700]]);
  assertEquals(halve([640, 700], 8), [[640, 672], [672, 700]]);
});

test("positionUnit() has rows of whole tiles, and no more positions than that takes", () => {
  assertEquals([1, 2, 3, 4, 6, 8, 64, 128, 200].map(positionUnit), [
    64,
    32,
    64,
    16,
    32,
    8,
    1,
    1,
    8,
  ]);
});

test("cutRange() covers a range with pieces of whole units", () => {
  assertEquals(cutRange([0, 10], 100), [[0, 10]]);
  assertEquals(cutRange([0, 300], 300, 16), [[0, 300]]);
  assertEquals(cutRange([0, 10], 4), [[0, 4], [4, 8], [8, 10]]);
  assertEquals(cutRange([0, 100], 48, 16), [[0, 48], [48, 96], [96, 100]]);
  assertEquals(cutRange([0, 0], 8), [[0, 0]]);
});

test("chooseParts() splits the keys of few rows, whatever their number", () => {
  assertEquals(chooseParts(512, 1), { partKeys: 512, parts: 1 });
  assertEquals(chooseParts(513, 1), { partKeys: 512, parts: 2 });
  assertEquals(chooseParts(100_000, 65), { partKeys: 100_000, parts: 1 });
  assertEquals(chooseParts(0, 1).parts, 1);
});
