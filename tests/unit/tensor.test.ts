import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { tensor } from "@flashtile/attention";
import {
  contiguousStrides,
  copyView,
  type Extents,
  mayOverlap,
  reach,
  sizeOf,
  type View,
  viewOf,
} from "../../src/tensor.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { gather, placesOf } from "../support/problem.ts";

test("tensor() names the shape of an array and keeps the array", () => {
  const data = new Float32Array(6), shape = [2, 3];
  const made = tensor(data, shape);
  assert(made.data === data);
  assertEquals(made, { data, shape: [2, 3], dtype: "f32" });
  shape[0] = 9;
  assertEquals(made.shape, [2, 3]);
});

test("tensor() refuses data that is no Float32Array", async () => {
  for (const data of [[1, 2], new Float64Array(2), null, undefined]) {
    await assertRefused(
      () => tensor(data as never, [2]),
      TypeError,
      "Cannot make a tensor: `data` must be a Float32Array",
    );
  }
});

test("tensor() refuses what is no shape", async () => {
  for (const shape of [2, null, undefined, [1.5], [-2], ["2"]]) {
    await assertRefused(
      () => tensor(new Float32Array(2), shape as never),
      TypeError,
      "Cannot make a tensor: `shape` must be an array of whole numbers >= 0",
    );
  }
});

test("tensor() refuses a shape of another size than data", async () => {
  await assertRefused(
    () => tensor(new Float32Array(5), [2, 3]),
    RangeError,
    "Cannot make a tensor: shape [2,3] names 6 elements, `data` has 5",
  );
});

test("contiguousStrides() steps fastest along the last axis", () => {
  assertEquals(contiguousStrides([2, 3, 4, 5]), [60, 20, 5, 1]);
  assertEquals(contiguousStrides([]), []);
  assertEquals(contiguousStrides([7]), [1]);
  assertEquals(sizeOf([2, 3, 4]), 24);
  assertEquals(sizeOf([2, 0, 4]), 0);
});

test("viewOf() brings every rank and layout into the order [B, H, N, D]", () => {
  const data = new Float32Array(120);
  const cases: [number[], "bhnd" | "bnhd", number[], number[]][] = [
    [[2, 3, 4, 5], "bhnd", [2, 3, 4, 5], [60, 20, 5, 1]],
    [[2, 4, 3, 5], "bnhd", [2, 3, 4, 5], [60, 5, 15, 1]],
    [[3, 4, 5], "bhnd", [1, 3, 4, 5], [0, 20, 5, 1]],
    [[4, 3, 5], "bnhd", [1, 3, 4, 5], [0, 5, 15, 1]],
    [[4, 5], "bhnd", [1, 1, 4, 5], [0, 0, 5, 1]],
    [[4, 5], "bnhd", [1, 1, 4, 5], [0, 0, 5, 1]],
  ];
  for (const [shape, layout, extents, strides] of cases) {
    const view = viewOf({ data, shape }, layout);
    assertEquals([view.shape, view.strides, view.offset], [extents, strides, 0]);
    assert(view.data === data);
  }
});

test("viewOf() takes strides and offset as they are written", () => {
  const data = new Float32Array(100);
  const view = viewOf({ data, shape: [2, 3], strides: [1, 10], offset: 7 }, "bhnd");
  assertEquals([view.strides, view.offset], [[0, 0, 1, 10], 7]);
});

/** Random views of one of two buffers. */
const buffers = [new ArrayBuffer(4096), new ArrayBuffer(4096)];
const views: fc.Arbitrary<View> = fc.record({
  buffer: fc.constantFrom(buffers[0], buffers[0], buffers[0], buffers[1]),
  begin: fc.nat({ max: 10 }),
  offset: fc.nat({ max: 10 }),
  shape: fc.tuple(...Array.from({ length: 4 }, () => fc.constantFrom(0, 1, 1, 2, 2, 3, 3))),
  strides: fc.tuple(...Array.from({ length: 4 }, () => fc.constantFrom(0, 1, 2, 5, 9))),
}).map(({ buffer, begin, ...view }) => ({
  ...view,
  data: new Float32Array(buffer, begin * 4),
} as unknown as View));

test("reach() is the first and the last element of a view", () => {
  fc.assert(
    fc.property(views, (view) => {
      const places = placesOf(view);
      const expected = places.length === 0 ? undefined : [Math.min(...places), Math.max(...places)];
      assertEquals(reach(view), expected);
    }),
    runs(200),
  );
});

/** Addresses of a view's elements, by buffer. */
function addresses(view: View): Set<string> {
  const buffer = buffers.indexOf(view.data.buffer as ArrayBuffer);
  return new Set(placesOf(view).map((at) => `${buffer}:${view.data.byteOffset + at * 4}`));
}

test("mayOverlap() is true wherever two views share an element", () => {
  let shared = 0, apart = 0;
  fc.assert(
    fc.property(views, views, (a, b) => {
      const others = addresses(b);
      if ([...addresses(a)].some((address) => others.has(address))) {
        shared++;
        assert(mayOverlap(a, b));
        assert(mayOverlap(b, a));
      } else if (!mayOverlap(a, b)) apart++;
    }),
    runs(1000),
  );
  assert(shared > 50 && apart > 50, `${shared} shared, ${apart} apart`);
});

test("mayOverlap() tells neighbours apart", () => {
  const data = new Float32Array(20);
  const one = { data, shape: [1, 1, 1, 4], strides: [0, 0, 0, 1] } as const;
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...one, offset: 4 }), false);
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...one, offset: 3 }), true);
});

test("copyView() copies element by element between any strides", () => {
  const data = Float32Array.from({ length: 200 }, (_, at) => at);
  const shape: Extents = [2, 3, 2, 4];
  const from: View = { data, offset: 3, shape, strides: [48, 16, 4, 1] };
  const to: View = {
    data: new Float32Array(200).fill(-1),
    offset: 1,
    shape,
    strides: [1, 2, 6, 12],
  };
  copyView(from, to);
  assertSameBits(gather(to), gather(from));
  const written = new Set(placesOf(to));
  to.data.forEach((x, at) => written.has(at) || assertEquals(x, -1));
});
