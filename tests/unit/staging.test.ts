import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { copyRowsIn, copyRowsOut, locate } from "../../src/wasm/staging.ts";
import { viewOf } from "../../src/tensor.ts";
import { arrangement, runs } from "../support/arbitrary.ts";
import { present } from "../support/arrangement.ts";
import { assertSameBits } from "../support/bits.ts";
import { count, type Extents, placesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";

const shapes = fc.tuple(
  fc.integer({ min: 1, max: 3 }),
  fc.integer({ min: 1, max: 3 }),
  fc.integer({ min: 1, max: 9 }),
  fc.integer({ min: 1, max: 9 }),
) as fc.Arbitrary<Extents>;

/** A view of any strides, and some rows of one of its heads. */
function rows(broadcast: boolean) {
  return fc.record({
    shape: shapes,
    arrangement: arrangement({ broadcast }),
    layout: fc.constantFrom("bhnd", "bnhd"),
    seed: fc.nat(),
    part: fc.tuple(...Array.from({ length: 4 }, () => fc.double({ min: 0, max: 1, noNaN: true }))),
  }).map(({ shape, arrangement, layout, seed, part }) => {
    const elements = normals(count(shape), seeded(seed));
    const order = layout as "bhnd" | "bnhd";
    const tensor = present(elements, shape, { rank: 4, layout: order, arrangement });
    const at = (share: number, extent: number) => Math.min(extent - 1, Math.floor(share * extent));
    const from = at(part[2], shape[2]), to = from + 1 + at(part[3], shape[2] - from);
    return {
      view: viewOf(tensor, order),
      ...{ shape, b: at(part[0], shape[0]), h: at(part[1], shape[1]), from, to },
    };
  });
}

/** Places of the rows in the view's data. */
function placesOfRows(given: ReturnType<typeof rows> extends fc.Arbitrary<infer T> ? T : never) {
  const { view: { offset, strides }, shape, b, h, from, to } = given;
  return placesOf({
    shape: [to - from, shape[3]],
    strides: [strides[2], strides[3]],
    offset: offset + b * strides[0] + h * strides[1] + from * strides[2],
  });
}

test("copyRowsIn() copies rows of any strides, contiguous", () => {
  fc.assert(
    fc.property(rows(true), (given) => {
      const { view, shape, b, h, from, to } = given;
      const target = new Float32Array((to - from) * shape[3] + 3).fill(7);
      copyRowsIn(view, b, h, from, to, target);
      const expected = placesOfRows(given).map((place) => view.data[place]);
      assertSameBits(target, [...expected, 7, 7, 7]);
    }),
    runs(300),
  );
});

test("copyRowsOut() copies rows to any strides, and nothing beside them", () => {
  fc.assert(
    fc.property(rows(false), (given) => {
      const { view, shape, b, h, from, to } = given;
      const source = normals((to - from) * shape[3] + 3, seeded(1));
      const places = placesOfRows(given), written = new Set(places);
      const before = view.data.slice();
      copyRowsOut(source, view, b, h, from, to);
      places.forEach((place, at) => assert(Object.is(view.data[place], source[at])));
      before.forEach((x, at) => written.has(at) || assert(Object.is(view.data[at], x)));
    }),
    runs(300),
  );
});

test("locate() finds what lives in the memory, with strides in bytes", () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const data = new Float32Array(memory.buffer, 256, 100);
  const view = viewOf({ data, shape: [2, 3, 4], strides: [40, 10, 2], offset: 5 }, "bhnd");
  assertEquals(locate(view, memory), { at: 276, strides: [0, 160, 40, 8] });
});

test("locate() leaves alone what lives elsewhere", () => {
  const memory = new WebAssembly.Memory({ initial: 1 }),
    other = new WebAssembly.Memory({
      initial: 1,
    });
  for (const data of [new Float32Array(12), new Float32Array(other.buffer, 0, 12)]) {
    assertEquals(locate(viewOf({ data, shape: [3, 4] }, "bhnd"), memory), undefined);
  }
});

test("locate() leaves alone what ends with the memory: kernels read four columns", () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const last = 65536 - 12 * 4;
  for (const [at, found] of [[last, false], [last - 8, false], [last - 12, true]] as const) {
    const data = new Float32Array(memory.buffer, at, 12);
    const resident = locate(viewOf({ data, shape: [3, 4] }, "bhnd"), memory);
    assertEquals(resident !== undefined, found);
  }
});
