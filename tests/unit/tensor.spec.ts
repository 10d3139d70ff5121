import { tensor } from "@flashtile/attention";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { HeldArray } from "../../src/tensor/arrays.ts";
import type { Elements } from "../../src/tensor/dtype.ts";
import {
  contiguousStrides,
  copyView,
  type Extents,
  mayOverlap,
  reach,
  type Reaching,
  sizeOf,
  type View,
  viewOf,
} from "../../src/tensor/tensor.ts";
import { always } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused, type ErrorClass, errorOf } from "../support/errors.ts";
import { assertSameArray } from "../support/held.ts";
import { gather, placesOf } from "../support/problem.ts";

test("tensor() names the shape of an array and keeps the array", () => {
  const data = new Float32Array(6), shape = [2, 3];
  const made = tensor(data, shape);
  assert(made.data === data);
  assertEquals(made, { data, shape: [2, 3], dtype: "f32" });
  shape[0] = 9;
  assertEquals(made.shape, [2, 3]);
});

test("tensor() refuses data of another kind", async () => {
  const wanted =
    "Cannot make a tensor: `data` must be a Float32Array, Float16Array or Uint16Array, " +
    "arrays of numbers or booleans, or a Uint8Array of booleans, got ";
  const cases: [unknown, string][] = [
    [new Float64Array(2), "Float64Array; write Float32Array.from(data)"],
    [new Int16Array(2), "Int16Array; write Float32Array.from(data)"],
    [null, "object"],
    [undefined, "undefined"],
  ];
  for (const [data, got] of cases) {
    await assertRefused(() => tensor(data as never, [2]), TypeError, wanted + got);
  }
});

test("tensor() copies arrays in arrays, whose shape is theirs", () => {
  const cases: [
    made: { data: unknown; shape: readonly number[] },
    data: number[],
    shape: number[],
  ][] = [
    [tensor([[1, 2, 3], [4, 5, 6]]), [1, 2, 3, 4, 5, 6], [2, 3]],
    [tensor([[[1], [2]]]), [1, 2], [1, 2, 1]],
    [tensor([Float32Array.of(1, 2), Float64Array.of(3, 4)]), [1, 2, 3, 4], [2, 2]],
    [tensor([1, 2]), [1, 2], [2]],
    [tensor([1, 2, 3, 4], [2, 2]), [1, 2, 3, 4], [2, 2]],
    [tensor([[1, 2], [3, 4]], Int32Array.of(4)), [1, 2, 3, 4], [4]],
    [tensor([]), [], [0]],
    [tensor([[], []]), [], [2, 0]],
  ];
  for (const [made, data, shape] of cases) {
    assertEquals(made, { data: Float32Array.from(data), shape, dtype: "f32" } as typeof made);
  }
});

test("tensor() makes masks of booleans and of bytes", () => {
  const data = Uint8Array.of(1, 0, 1, 1), shape = [2, 2], dtype = "u8";
  assertEquals<unknown>(tensor([[true, false], [true, true]]), { data, shape, dtype });
  assertEquals<unknown>(tensor([true, false, true, true], shape), { data, shape, dtype });
  const kept = tensor(data, shape);
  assert(kept.data === data);
  assertEquals<unknown>(kept, { data, shape, dtype });
});

test("tensor() says where arrays in arrays are not of one length or kind", async () => {
  const itself: unknown[] = [];
  itself[0] = itself;
  const cases: [unknown, ErrorClass, string][] = [
    [[[1, 2], [3]], RangeError, "`data[1]` must have 2 elements as the first there has, got 1"],
    [[[1], 2], RangeError, "`data[1]` must have 1 elements as the first there has, got number"],
    [
      [[[1, 2]], [[3, 4], [5, 6]]],
      RangeError,
      "`data[1]` must have 1 elements as the first there has, got 2",
    ],
    [
      [[], [1]],
      RangeError,
      "`data[1]` must have 0 elements as the first there has, got 1",
    ],
    [[[], 1], RangeError, "`data[1]` must have 0 elements as the first there has, got number"],
    [[1, [2]], TypeError, "`data[1]` must be a number, got an array"],
    [[1, true], TypeError, "`data[1]` must be a number, got boolean"],
    [[[true], [0]], TypeError, "`data[1][0]` must be a boolean, got number"],
    [[1, , 3], TypeError, "`data[1]` must be a number, got undefined"],
    [[["1"]], TypeError, "`data[0][0]` must be a number or a boolean, got string"],
    [itself, TypeError, `\`data${"[0]".repeat(32)}\` must be a number or a boolean, got an array`],
  ];
  for (const [data, error, message] of cases) {
    await assertRefused(() => tensor(data as never), error, `Cannot make a tensor: ${message}`);
  }
});

test("tensor() says that the shape comes behind the elements", async () => {
  const hint = "; the elements come first, and their shape behind them";
  await assertRefused(
    () => tensor([2, 2], Float32Array.of(1, 2, 3, 4)),
    RangeError,
    `Cannot make a tensor: shape [1,2,3,4] names 24 elements, \`data\` has 2${hint}`,
  );
  await assertRefused(
    () => tensor([2, 1], Float32Array.of(0.5, 2)),
    TypeError,
    `Cannot make a tensor: \`shape\` must be an array of whole numbers >= 0${hint}`,
  );
});

test("tensor() names the storage of 16-bit numbers", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const data = new Uint16Array(6);
    assertEquals(tensor(data, [2, 3], dtype), { data, shape: [2, 3], dtype });
  }
  if (typeof Float16Array === "undefined") return;
  const data = new Float16Array(6);
  for (const given of [undefined, "f16"] as const) {
    assertEquals(tensor(data, [6, 1], given), { data, shape: [6, 1], dtype: "f16" });
  }
});

test("tensor() refuses a dtype that is missing, unknown or not what data holds", async () => {
  const bits = new Uint16Array(2), floats = new Float32Array(2);
  const needed = 'a Uint16Array needs the dtype "f16" or "bf16"';
  const cases: [Float32Array | Float16Array | Uint16Array, unknown, string][] = [
    [bits, undefined, needed],
    [bits, "f32", needed],
    [floats, "f16", "`data` holds f32, `dtype` says f16"],
  ];
  if (typeof Float16Array !== "undefined") {
    cases.push([new Float16Array(2), "bf16", "`data` holds f16, `dtype` says bf16"]);
  }
  for (const [data, dtype, message] of cases) {
    await assertRefused(
      () => tensor(data, [2], dtype as never),
      TypeError,
      `Cannot make a tensor: ${message}`,
    );
  }
});

test("tensor() refuses a dtype that nobody knows, also for 16-bit data", async () => {
  for (const dtype of ["f64", "u16", "", null]) {
    for (const data of [new Uint16Array(2), new Float32Array(2)]) {
      const error = await errorOf(() => tensor(data, [2], dtype as never));
      assertInstanceOf(error, TypeError, `dtype ${dtype}`);
    }
  }
});

test("viewOf() gives the bits of half-precision arrays, over the same memory", () => {
  if (typeof Float16Array === "undefined") return;
  const data = new Float16Array([0, 1, -2, 65504]).subarray(1);
  const view = viewOf({ data, shape: [3, 1] }, "bhnd");
  assertEquals(view.dtype, "f16");
  assertEquals(Array.from(view.data.now()), [0x3c00, 0xc000, 0x7bff]);
  assert(view.data.buffer === data.buffer && view.data.byteOffset === data.byteOffset);
});

test("viewOf() takes a storage as it is written", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const data = new Uint16Array(4);
    const view = viewOf({ data, shape: [2, 2], dtype }, "bhnd");
    assertEquals(view.dtype, dtype);
    assertSameArray(view.data, data);
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
    assertSameArray(view.data, data);
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
  dtype: fc.constantFrom("f32", "f16", "bf16"),
  begin: fc.nat({ max: 10 }),
  offset: fc.nat({ max: 10 }),
  shape: fc.tuple(...Array.from({ length: 4 }, () => fc.constantFrom(0, 1, 1, 2, 2, 3, 3))),
  strides: fc.tuple(...Array.from({ length: 4 }, () => fc.constantFrom(0, 1, 2, 5, 9))),
}).map(({ buffer, begin, ...view }) => ({
  ...view,
  data: new HeldArray(
    view.dtype === "f32" ? new Float32Array(buffer, begin * 4) : new Uint16Array(buffer, begin * 2),
  ),
} as unknown as View));

test("reach() is the first and the last element of a view", () => {
  fc.assert(
    fc.property(views, (view) => {
      const places = placesOf(view);
      const expected = places.length === 0 ? undefined : [Math.min(...places), Math.max(...places)];
      assertEquals(reach(view), expected);
    }),
    always(200),
  );
});

/** Addresses of the bytes of a view's elements, in pairs, by buffer. */
function addresses(view: View): Set<string> {
  const buffer = buffers.indexOf(view.data.buffer as ArrayBuffer);
  const { byteOffset, BYTES_PER_ELEMENT: bytes } = view.data.now();
  const pairs = bytes === 4 ? [0, 2] : [0];
  return new Set(
    placesOf(view).flatMap((at) =>
      pairs.map((pair) => `${buffer}:${byteOffset + at * bytes + pair}`)
    ),
  );
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
    always(1000),
  );
  assert(shared > 50 && apart > 50, `${shared} shared, ${apart} apart`);
});

test("mayOverlap() tells neighbours apart", () => {
  const data = new Float32Array(20);
  const one = {
    data: new HeldArray(data),
    dtype: "f32",
    shape: [1, 1, 1, 4],
    strides: [0, 0, 0, 1],
  } as const;
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...one, offset: 4 }), false);
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...one, offset: 3 }), true);
  const half = { ...one, data: new HeldArray(new Uint16Array(data.buffer)), dtype: "f16" } as const;
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...half, offset: 8 }), false);
  assertEquals(mayOverlap({ ...one, offset: 0 }, { ...half, offset: 7 }), true);
  assertEquals(mayOverlap({ ...one, offset: 2 }, { ...half, offset: 0 }), false);
  assertEquals(mayOverlap({ ...one, offset: 2 }, { ...half, offset: 1 }), true);
});

test("mayOverlap() tells neighbours apart where one has bytes or bits", () => {
  const buffer = new ArrayBuffer(64);
  const floats = {
    data: new HeldArray(new Float32Array(buffer)),
    dtype: "f32",
    offset: 2,
  } as const;
  const axes = { shape: [1, 1, 1, 4], strides: [0, 0, 0, 1] } as const;
  const four = { ...floats, ...axes }; // Bytes 8 to 23.
  const bytes = { data: new HeldArray(new Uint8Array(buffer, 4)), dtype: "u8", ...axes } as const;
  const bits = { data: new HeldArray(new Uint32Array(buffer, 4)), dtype: "bit", ...axes } as const;
  const over = (other: Omit<Reaching, "offset">, offset: number) =>
    mayOverlap(four, { ...other, offset }) && mayOverlap({ ...other, offset }, four);
  assertEquals([0, 1, 19, 20].map((at) => over(bytes, at)), [false, true, true, false]);
  assertEquals([28, 29, 159, 160].map((at) => over(bits, at)), [false, true, true, false]);
});

test("mayOverlap() takes shared buffers as one: old ones of a grown memory reach it too", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  const view = (): View => ({
    data: new HeldArray<Elements>(new Float32Array(memory.buffer, 0, 4)),
    dtype: "f32",
    offset: 0,
    shape: [1, 1, 1, 4],
    strides: [0, 0, 0, 1],
  });
  const before = view();
  memory.grow(1);
  assertEquals(mayOverlap(before, view()), true);
  const data = new Float32Array(4);
  assertEquals(mayOverlap(before, { ...before, data: new HeldArray<Elements>(data) }), false);
});

test("copyView() copies element by element between any strides", () => {
  const data = Float32Array.from({ length: 200 }, (_, at) => at);
  const shape: Extents = [2, 3, 2, 4];
  const from = { data, dtype: "f32" as const, offset: 3, shape, strides: [48, 16, 4, 1] as const };
  const to = {
    data: new Float32Array(200).fill(-1),
    dtype: "f32" as const,
    offset: 1,
    shape,
    strides: [1, 2, 6, 12] as const,
  };
  copyView(
    { ...from, data: new HeldArray<Elements>(from.data) },
    { ...to, data: new HeldArray<Elements>(to.data) },
  );
  assertSameBits(gather(to), gather(from));
  const written = new Set(placesOf(to));
  to.data.forEach((x, at) => written.has(at) || assertEquals(x, -1));
});
