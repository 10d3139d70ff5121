import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import {
  readBoundaries,
  readLengths,
  readOffsets,
} from "../../src/operations/attention/check/segments.ts";
import {
  countSegments,
  type Division,
  scoresWithin,
  segmentsOf,
} from "../../src/operations/attention/segments.ts";
import { always } from "../support/arbitrary.ts";

/** Two batches of 4 queries and 7 keys, and what else is given. */
function batches(rest: Partial<Division> = {}): Division {
  const none = { packed: null, offsets: null, lengths: null };
  return { batch: 2, queries: 4, keys: 7, topLeft: false, ...none, ...rest };
}

/** Three sequences of 3, 0 and 2 queries and 1, 4 and 0 keys. */
function sequences(rest: Partial<Division> = {}): Division {
  const packed = { q: [0, 3, 3, 5], k: [0, 1, 5, 5] };
  return batches({ batch: 1, queries: 5, keys: 5, packed, ...rest });
}

test("segmentsOf() gives a segment for each batch", () => {
  const place = { queries: 4, firstQuery: 0, keys: 7, firstKey: 0, offset: 3 };
  assertEquals(segmentsOf(batches()), [{ batch: 0, ...place }, { batch: 1, ...place }]);
  assertEquals(segmentsOf(batches({ batch: 0 })), []);
});

test("segmentsOf() gives a segment for each sequence, empty ones too", () => {
  assertEquals(segmentsOf(sequences()), [
    { batch: 0, firstQuery: 0, queries: 3, firstKey: 0, keys: 1, offset: -2 },
    { batch: 0, firstQuery: 3, queries: 0, firstKey: 1, keys: 4, offset: 4 },
    { batch: 0, firstQuery: 3, queries: 2, firstKey: 5, keys: 0, offset: -2 },
  ]);
  assertEquals(segmentsOf(sequences({ queries: 0, keys: 0, packed: { q: [0], k: [0] } })), []);
});

test("segmentsOf() aligns top-left with the first key of each", () => {
  for (const division of [batches({ topLeft: true }), sequences({ topLeft: true })]) {
    assertEquals(segmentsOf(division).every(({ offset }) => offset === 0), true);
  }
});

test("segmentsOf() takes offsets and lengths; lengths do not move the alignment", () => {
  const taken = (division: Division) =>
    segmentsOf(division).map(({ keys, offset }) => [keys, offset]);
  assertEquals(taken(batches({ lengths: [0, 5] })), [[0, 3], [5, 3]]);
  assertEquals(taken(batches({ lengths: [6, 5], offsets: [-1, 0] })), [[6, -1], [5, 0]]);
  assertEquals(taken(batches({ offsets: [9, 8], topLeft: true })), [[7, 9], [7, 8]]);
  assertEquals(taken(sequences({ lengths: [1, 2, 0], offsets: [5, -5, 0] })), [
    [1, 5],
    [2, -5],
    [0, 0],
  ]);
});

test("countSegments() counts batches or sequences", () => {
  assertEquals([countSegments(batches()), countSegments(sequences())], [2, 3]);
  assertEquals(countSegments({ batch: 1, packed: { q: [0], k: [0] } }), 0);
});

const side = fc.oneof(fc.nat(12), fc.constant(Infinity));

test("scoresWithin() counts the keys that each query of a segment sees", () => {
  fc.assert(
    fc.property(fc.nat(9), fc.nat(9), fc.integer({ min: -12, max: 12 }), side, side, (
      queries,
      keys,
      offset,
      left,
      right,
    ) => {
      let expected = 0;
      for (let i = 0; i < queries; i++) {
        for (let j = 0; j < keys; j++) {
          if (j >= i + offset - left && j <= i + offset + right) expected++;
        }
      }
      const place = { batch: 0, firstQuery: 0, firstKey: 0 };
      assertEquals(scoresWithin({ ...place, queries, keys, offset }, { left, right }), expected);
    }),
    always(2000),
  );
});

test("scoresWithin() counts far offsets and long segments", () => {
  const segment = { batch: 0, firstQuery: 0, queries: 1e5, firstKey: 0, keys: 1e5, offset: 0 };
  const count = (offset: number, left: number, right: number) =>
    scoresWithin({ ...segment, offset }, { left, right });
  assertEquals(count(0, Infinity, Infinity), 1e10);
  assertEquals(count(0, Infinity, 0), 1e5 * (1e5 + 1) / 2);
  assertEquals([count(-(2 ** 40), Infinity, 0), count(2 ** 40, Infinity, 0)], [0, 1e10]);
  assertEquals([count(2 ** 40, 5, 5), count(-(2 ** 40), 5, 5)], [0, 0]);
});

const three = { count: 3, name: "sequence" };

test("readOffsets() gives one number to all, and leaves out what is not given", () => {
  assertEquals(readOffsets(undefined, three), null);
  assertEquals(readOffsets(-4, three), [-4, -4, -4]);
  assertEquals(readOffsets([1, 0, -2], three), [1, 0, -2]);
  assertEquals(readOffsets([], { count: 0, name: "batch" }), []);
});

test("readLengths() takes whatever has a length and numbers up to what each may have", () => {
  const most = (index: number) => [index + 1, "keys"] as const;
  assertEquals(readLengths(undefined, three, most), null);
  for (const given of [[1, 2, 3], Int32Array.of(1, 2, 3), { length: 3, 0: 1, 1: 2, 2: 3 }]) {
    assertEquals(readLengths(given, three, most), [1, 2, 3]);
  }
});

test("readBoundaries() takes whatever has a length, as arrays", () => {
  assertEquals(readBoundaries({}, 2, 5, 5), null);
  const expected = { q: [0, 3, 3, 5], k: [0, 1, 5, 5] };
  for (
    const given of [expected, { q: Int32Array.from(expected.q), k: Float64Array.from(expected.k) }]
  ) {
    assertEquals(readBoundaries({ cuSeqlens: given }, 1, 5, 5), expected);
  }
  assertEquals(readBoundaries({ cuSeqlens: { q: [0], k: [0] } }, 1, 0, 0), { q: [0], k: [0] });
  const both = [0, 3, 3, 5];
  for (
    const packed of [[3, 0, 2], Int32Array.of(3, 0, 2), {
      data: Uint8Array.of(3, 0, 2),
      shape: [3],
    }]
  ) {
    assertEquals(readBoundaries({ packed }, 1, 5, 5), { q: both, k: both });
  }
  assertEquals(readBoundaries({ packed: { q: [3, 0, 2], k: [1, 4, 0] } }, 1, 5, 5), expected);
  assertEquals(readBoundaries({ packed: [] }, 1, 0, 0), { q: [0], k: [0] });
});
