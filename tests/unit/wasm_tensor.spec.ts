import type { DType, Tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { HeldArray } from "../../src/tensor/arrays.ts";
import { copyRowsIn, copyRowsOut } from "../../src/tensor/rows.ts";
import { broadcastOf, viewOf } from "../../src/tensor/tensor.ts";
import { Arena, pageBytes } from "../../src/wasm/memory/arena.ts";
import { elementsOver, locate, locateBias } from "../../src/wasm/memory/tensor.ts";
import { always, arrangement } from "../support/arbitrary.ts";
import { present } from "../support/arrangement.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { planOf } from "../support/plan.ts";
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
      const expected = placesOfRows(given).map((place) => view.data.now()[place]);
      assertSameBits(target, [...expected, 7, 7, 7]);
    }),
    always(300),
  );
});

test("copyRowsOut() copies rows to any strides, and nothing beside them", () => {
  fc.assert(
    fc.property(rows(false), (given) => {
      const { view, shape, b, h, from, to } = given;
      const source = normals((to - from) * shape[3] + 3, seeded(1));
      const places = placesOfRows(given), written = new Set(places);
      const before = view.data.now().slice();
      copyRowsOut(source, view, b, h, from, to);
      places.forEach((place, at) => assert(Object.is(view.data.now()[place], source[at])));
      before.forEach((x, at) => written.has(at) || assert(Object.is(view.data.now()[at], x)));
    }),
    always(300),
  );
});

/** An arena over a memory of one page, which may grow to two. */
function makeArena(shared = false): Arena {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared });
  return new Arena(memory, 1024, 2 * pageBytes);
}

test("locate() finds what lives in the memory, with strides in bytes", () => {
  const arena = makeArena(), { buffer } = arena.memory;
  const place = { shape: [2, 3, 4], strides: [40, 10, 2], offset: 5 };
  const floats = viewOf({ data: new Float32Array(buffer, 256, 100), ...place }, "bhnd");
  assertEquals(locate(floats, arena), { at: 276, strides: [0, 160, 40, 8] });
  for (const dtype of ["f16", "bf16"] as const) {
    const bits = viewOf({ data: new Uint16Array(buffer, 256, 100), dtype, ...place }, "bhnd");
    assertEquals(locate(bits, arena), { at: 266, strides: [0, 80, 20, 4] });
  }
});

test("locate() leaves alone what lives elsewhere", () => {
  const arena = makeArena(), other = makeArena();
  for (const data of [new Float32Array(12), new Float32Array(other.memory.buffer, 0, 12)]) {
    assertEquals(locate(viewOf({ data, shape: [3, 4] }, "bhnd"), arena), undefined);
  }
});

test("locate() finds what lies over a shared memory's buffer of before it grew", () => {
  const arena = makeArena(true);
  const data = new Float32Array(arena.memory.buffer, 256, 12);
  arena.allocate(pageBytes);
  assert(data.buffer !== arena.memory.buffer);
  assertEquals(locate(viewOf({ data, shape: [3, 4] }, "bhnd"), arena)?.at, 256);
});

/** A bias over an arena's memory. */
function biasOver(
  { memory: { buffer } }: Arena,
  length: number,
  layout: Pick<Tensor, "shape" | "strides" | "offset">,
  byteOffset = 256,
) {
  const data = new Float32Array(buffer, byteOffset, length);
  const held = new HeldArray<Float32Array>(data);
  return { ...broadcastOf(layout, [1, 1, 3, 5]), data: held, dtype: "f32" } as const;
}

test("locateBias() finds a bias in the memory, with strides in bytes", () => {
  const arena = makeArena();
  const bias = biasOver(arena, 100, { shape: [3, 5], strides: [7, 1], offset: 2 });
  assertEquals(locateBias(bias, arena), { at: 264, strides: [0, 0, 28, 4] });
  const wide = biasOver(arena, 100, { shape: [1, 5], strides: [9, 1], offset: 0 });
  assertEquals(locateBias(wide, arena), { at: 256, strides: [0, 0, 0, 4] });
});

test("locateBias() leaves alone what the kernel cannot read where it is", () => {
  const arena = makeArena();
  const elsewhere = planOf({ Nq: 3, Nk: 5, D: 4 }, {
    bias: { data: new Float32Array(15), shape: [3, 5] },
  });
  assertEquals(locateBias(elsewhere.bias!, arena), undefined);
  const turned = biasOver(arena, 100, { shape: [3, 5], strides: [1, 3], offset: 0 });
  assertEquals(locateBias(turned, arena), undefined);
  const alike = biasOver(arena, 100, { shape: [3, 1], strides: [1, 1], offset: 0 });
  assertEquals(locateBias(alike, arena), undefined);
});

test("locateBias() finds what ends three numbers before the memory does, and no later", () => {
  const arena = makeArena();
  const layout = { shape: [3, 5], strides: [5, 1], offset: 0 };
  const end = pageBytes;
  const at = (numbers: number) =>
    locateBias(biasOver(arena, 15, layout, end - numbers * 4), arena)?.at;
  assertEquals([at(18), at(17), at(15)], [end - 72, undefined, undefined]);
});

test("locateBias() leaves alone what lives in another memory", () => {
  const bias = biasOver(makeArena(), 100, { shape: [3, 5], strides: [5, 1], offset: 0 });
  assertEquals(locateBias(bias, makeArena()), undefined);
});

test("HeldArray.now() stays over the same bytes where the memory grows", () => {
  for (const shared of [false, true]) {
    const arena = makeArena(shared);
    const data = new Float32Array(arena.memory.buffer, 256, 12).fill(7);
    const view = viewOf({ data, shape: [3, 4], strides: [1, 3] }, "bhnd");
    arena.allocate(pageBytes);
    const now = view.data.now();
    assert(now.buffer === arena.memory.buffer);
    assertEquals([now.byteOffset, view.strides], [256, [0, 0, 1, 3]]);
    assertSameBits(now, new Float32Array(12).fill(7));
  }
});

test("elementsOver() gives f32, or the bits of 16-bit elements", () => {
  const arena = makeArena();
  for (
    const [dtype, kind] of [["f32", Float32Array], ["f16", Uint16Array], ["bf16", Uint16Array]]
  ) {
    const elements = elementsOver(arena, 512, 5, dtype as DType);
    assert(elements.constructor === kind);
    assertEquals([elements.byteOffset, elements.length], [512, 5]);
    assert(elements.buffer === arena.memory.buffer);
  }
});

test("copyRowsIn() tells of data that was detached meanwhile", async () => {
  const data = new Float32Array(12);
  const view = viewOf({ data, shape: [3, 4] }, "bhnd");
  structuredClone(data.buffer, { transfer: [data.buffer] });
  await assertRefused(
    () => copyRowsIn(view, 0, 0, 0, 3, new Float32Array(12)),
    TypeError,
    "Cannot attend: an input's buffer was detached while the call ran",
  );
});
