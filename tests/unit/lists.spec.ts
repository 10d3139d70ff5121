import { type AttentionOptions, blockMask, createEngine, tensor } from "@flashtile/attention";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { openList } from "../../src/check/tensors.ts";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { readRope } from "../../src/operations/rope/options.ts";
import { planRotation } from "../../src/operations/rope/plan.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { floatForms, wholeForms } from "../support/lists.ts";
import { decode } from "../support/storage.ts";

const at = (...shape: number[]) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
const [q, k] = [at(2, 4, 3, 8), at(2, 2, 5, 8)], one = [at(1, 4, 6, 8), at(1, 2, 6, 8)];

/** What looks like a buffer on a GPU. */
const buffer = { mapAsync() {}, usage: 0x80, size: 64 };

/** A call with one option, whatever that is. */
function plan(options: Record<string, unknown>) {
  const [rows, keys] = "cuSeqlens" in options ? one : [q, k];
  return planAttention(rows, keys, keys, options as AttentionOptions);
}

/** How every option with a short list is given one, and how messages call it. */
const options: Readonly<Record<string, (list: unknown) => unknown>> = {
  offset: (offset) => plan({ offset }),
  kvLengths: (kvLengths) => plan({ kvLengths }),
  alibi: (alibi) => plan({ alibi }),
  sinks: (sinks) => plan({ sinks }),
  "cuSeqlens.q": (list) => plan({ cuSeqlens: { q: list, k: [0, 6] } }),
  "cuSeqlens.k": (list) => plan({ cuSeqlens: { q: [0, 6], k: list } }),
  positions: (positions) => planRotation(readRope(q, null, { positions } as never)),
  "scaling.factors": (factors) =>
    planRotation(readRope(q, null, { scaling: { type: "longrope", factors } } as never)),
  ids: (ids) => blockMask.document(ids as never),
  global: (global) => blockMask.longformer({ window: 1, global } as never, { queries: 3 }),
};

for (const [name, give] of Object.entries(options)) {
  test(`${name} must not be on a GPU`, async () => {
    const { message } = await errorOf(() =>
      give({ data: buffer, shape: [2], dtype: "f32" })
    ) as Error;
    assertStringIncludes(message, `\`${name}.data\` must be a typed array on the CPU`);
    const bare = await errorOf(() => give(buffer)) as Error;
    assertStringIncludes(bare.message, name.split(".")[0]);
    assertEquals(bare instanceof TypeError || name === "positions", true, String(bare));
  });

  test(`${name} is refused by a length that it says, and nothing is read of it`, async () => {
    const read: PropertyKey[] = [];
    const endless = new Proxy({ length: 268_435_456 }, {
      get(target, key) {
        if (/^\d+$/.test(String(key))) read.push(key);
        return Reflect.get(target, key);
      },
    });
    assertEquals(await errorOf(() => give(endless)) instanceof Error, true);
    // Lists whose length may be any are left at the first that is no number.
    const most = ["cuSeqlens.q", "cuSeqlens.k", "ids", "global"].includes(name) ? 1 : 0;
    assertEquals(read.length <= most, true, `${read}`);
  });

  test(`${name} is refused in what holds no numbers`, async () => {
    const wrong = [null, "12", 1n, new DataView(new ArrayBuffer(8)), {}, () => 1, ["1", "2"]];
    for (const list of wrong) {
      const error = await errorOf(() => give(list));
      assertEquals(error instanceof TypeError || error instanceof RangeError, true, String(error));
    }
  });
}

test("openList() gives the numbers of every form", () => {
  const numbersOf = (given: unknown) => {
    const list = openList("list", given)!;
    return Array.from({ length: list.length }, (_, index) => list.at(index));
  };
  for (const [form, given] of wholeForms([0, 7, 120])) {
    assertEquals(numbersOf(given), [0, 7, 120], form);
  }
  for (const [form, given] of floatForms([0.5, -2])) {
    assertEquals(numbersOf(given), [0.5, -2], form);
  }
});

for (const dtype of ["f16", "bf16"] as const) {
  test(`openList() gives every number of ${dtype}`, () => {
    const data = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);
    const list = openList("list", { data, shape: [65_536], dtype })!;
    for (const bits of data) assertEquals(list.at(bits), decode(bits, dtype), `${bits}`);
  });
}

test("openList() reads each property of a list once, and no element before it is asked for", () => {
  const read: string[] = [];
  const watched = (target: object) =>
    new Proxy(target, {
      get(of, key) {
        read.push(String(key));
        return Reflect.get(of, key);
      },
    });
  const tensorList = watched({ data: Int32Array.of(1, 2), shape: [2] });
  assertEquals(openList("list", tensorList)!.at(1), 2);
  assertEquals([...read].sort(), [
    "data",
    "dtype",
    "offset",
    "shape",
    "strides",
  ]);
  read.length = 0;
  const list = openList("list", watched([5, 6]))!;
  assertEquals(read, ["length"]);
  assertEquals([list.at(1), list.at(0)], [6, 5]);
  assertEquals(read, ["length", "1", "0"]);
});

test("lists of another realm are taken as those of this one", () => {
  const kvLengths = runInNewContext("Int32Array.of(5, 3)");
  assertEquals(plan({ kvLengths }).segments.map(({ keys }) => keys), [5, 3]);
  const offset = runInNewContext("[2, 1]");
  assertEquals(plan({ offset }).segments.map((segment) => segment.offset), [2, 1]);
  const sinks = runInNewContext("({ data: Float32Array.of(1, 2, 3, 4), shape: [4] })");
  assertEquals(plan({ sinks }).sinks, Float32Array.of(1, 2, 3, 4));
});

test("whole numbers past 2^53 are refused, and floats that are not whole", async () => {
  const most = 2n ** 53n;
  for (const kvLengths of [BigInt64Array.of(most, 1n), Float32Array.of(1.5, 1), [NaN, 1]]) {
    assertEquals(await errorOf(() => plan({ kvLengths })) instanceof RangeError, true);
  }
  const offset = BigInt64Array.of(most + 2n, 1n);
  assertEquals(await errorOf(() => plan({ offset })) instanceof RangeError, true);
});

const refused: readonly [what: string, act: () => unknown, error: typeof Error, message: string][] =
  [
    [
      "a tensor of two axes as kvLengths",
      () => plan({ kvLengths: { data: Int32Array.of(1, 1), shape: [2, 1] } }),
      RangeError,
      "Cannot attend: `kvLengths` must have one axis, got shape [2,1]",
    ],
    [
      "a tensor past its data as kvLengths",
      () => plan({ kvLengths: { data: Int32Array.of(1, 1), shape: [2], offset: 1 } }),
      RangeError,
      "Cannot attend: `kvLengths` with shape [2], strides [1] and offset 1 needs 3 elements, " +
      "`data` has 2",
    ],
    [
      "a tensor past its bytes as kvLengths",
      () => plan({ kvLengths: { data: Uint8Array.of(1, 1), shape: [2], strides: [2] } }),
      RangeError,
      "Cannot attend: `kvLengths` with shape [2], strides [2] and offset 0 needs 3 elements, " +
      "`data` has 2",
    ],
    [
      "a dtype that whole numbers do not have",
      () => plan({ kvLengths: { data: Int32Array.of(1, 1), shape: [2], dtype: "f16" } }),
      TypeError,
      "Cannot attend: `kvLengths.data` must be a typed array on the CPU, and fit `dtype`, " +
      "got Int32Array",
    ],
    [
      "bits that do not say of what",
      () => plan({ sinks: { data: new Uint16Array(4), shape: [4] } }),
      TypeError,
      'Cannot attend: `sinks.data` is a Uint16Array, so `sinks.dtype` must be "f16" or "bf16", ' +
      "got undefined",
    ],
    [
      "bytes as slopes",
      () => plan({ alibi: { data: new Uint8Array(4), shape: [4] } }),
      TypeError,
      "Cannot attend: `alibi` must be floats, in an array or as { data, shape }, got Object",
    ],
    [
      "an array with a hole as sinks",
      () => plan({ sinks: [1, , 1, 1] }), // deno-lint-ignore no-sparse-arrays
      TypeError,
      "Cannot attend: `sinks` must be floats, in an array or as { data, shape }, got undefined",
    ],
    [
      "positions of other rows",
      () => planRotation(readRope(q, null, { positions: Int32Array.of(1, 2) })),
      RangeError,
      "Cannot rotate: `positions` must be a number, or 3 of them for N rows, or 6 for B times N, " +
      "got [2]",
    ],
    [
      "positions that are no numbers",
      () => planRotation(readRope(q, null, { positions: ["1", "2", "3"] } as never)),
      RangeError,
      'Cannot rotate: `positions` must be finite, and angles too, got "1"',
    ],
  ];

for (const [what, act, error, message] of refused) {
  test(`${what} is refused`, () => assertRefused(act, error, message));
}

test("arrays of an engine's memory that is in no tensor of it are refused as lists", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const freed = engine.tensor([4]), { data } = freed;
    freed.free();
    for (const sinks of [data, { data, shape: [4] }]) {
      const { message } = await errorOf(() => plan({ sinks })) as Error;
      assertStringIncludes(message, "lies in an engine's memory and in no tensor of it");
    }
  } finally {
    await engine.close();
  }
});

test("shapes, strides, windows and blocks may be typed arrays", async () => {
  const data = Float32Array.from({ length: 8 }, (_, index) => index);
  const made = tensor(data, BigInt64Array.of(2n, 4n));
  assertEquals([made.shape, Array.isArray(made.shape)], [[2, 4], true]);
  const turned = { data, shape: Int32Array.of(2, 4), strides: Uint8Array.of(1, 2) };
  const { q: read, band } = planAttention(turned as never, made, made, {
    window: Int32Array.of(3, 0) as never,
  });
  assertEquals([read.shape, read.strides], [[1, 1, 2, 4], [0, 0, 1, 2]]);
  assertEquals(band, { left: 3, right: 0 });
  const block = Uint16Array.of(16, 8) as never;
  const mask = blockMask.window(Float64Array.of(1, Infinity) as never, { queries: 32, block });
  assertEquals(mask.block, [16, 8]);
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    assertEquals(engine.tensor(Int32Array.of(2, 3)).shape, [2, 3]);
  } finally {
    await engine.close();
  }
});

test("the lists of block masks have every form", () => {
  const documents = String(blockMask.document([0, 0, 1, 5], { block: 2 }));
  for (const [form, ids] of wholeForms([0, 0, 1, 5])) {
    assertEquals(String(blockMask.document(ids, { block: 2 })), documents, form);
    const pair = { queries: ids, keys: [0, 0, 1, 5] };
    assertEquals(String(blockMask.document(pair, { block: 2 })), documents, form);
  }
  const size = { queries: 8, block: 2 };
  const right = String(blockMask.longformer({ window: 1, global: [2, 5] }, size));
  for (const [form, global] of wholeForms([2, 5])) {
    assertEquals(String(blockMask.longformer({ window: 1, global }, size)), right, form);
  }
});
