import { assert, assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import { type GgufFile, openGguf } from "../../src/models/files/gguf.ts";
import { openWeights } from "../../src/models/files/open.ts";
import {
  gguf,
  ggufFloats,
  ggufInts,
  ggufList,
  type GgufParts,
  ggufText,
  ggufTexts,
  ggufU32,
  type GgufValueBytes,
  numbered,
  rangesOf,
} from "../support/model_files.ts";

const bytes = (...list: number[]) => Uint8Array.from(list);

const values: readonly GgufValueBytes[] = [
  ggufText("general.architecture", "llama"),
  { name: "u8", kind: 0, bytes: bytes(200) },
  { name: "i8", kind: 1, bytes: bytes(200) },
  { name: "u16", kind: 2, bytes: bytes(1, 200) },
  { name: "i16", kind: 3, bytes: bytes(1, 200) },
  ggufU32("u32", 2 ** 32 - 1),
  { name: "i32", kind: 5, bytes: bytes(255, 255, 255, 255) },
  { name: "f32", kind: 6, bytes: bytes(0, 0, 192, 63) },
  { name: "bool", kind: 7, bytes: bytes(1) },
  { name: "u64", kind: 10, bytes: bytes(0, 0, 0, 0, 1, 0, 0, 0) },
  { name: "i64", kind: 11, bytes: bytes(255, 255, 255, 255, 255, 255, 255, 255) },
  { name: "f64", kind: 12, bytes: bytes(0, 0, 0, 0, 0, 0, 4, 192) },
  ggufTexts("texts", ["\ufeffa", "", "ü"]),
  ggufFloats("floats", [1, -0.5]),
  ggufInts("ints", [1, -7]),
  ggufList("lists", 9, [ggufInts("", [1]).bytes, ggufTexts("", ["x"]).bytes]),
];

/** Two tensors of four rows: blocks of 32, then floats. */
const tensors = [
  { name: "blocks", dims: [32, 4], type: 8, offset: 0 },
  { name: "floats", dims: [3, 4], type: 0, offset: 160 },
  { name: "K", dims: [256], type: 12, offset: 224 },
];
const data = numbered(368);
const file = gguf({ values, tensors, data });

/** Asserts that a file with something else is refused, however it is read. */
async function refused(parts: GgufParts, message: string): Promise<void> {
  const wrong = gguf({ values, tensors, data, ...parts });
  await assertRejects(() => openGguf(wrong), RangeError, message);
  await assertRejects(() => openGguf(rangesOf(wrong).read), RangeError);
}

test("a GGUF file says its values, and where its tensors are", async () => {
  for (const given of [file, new Blob([file]), rangesOf(file).read]) {
    const opened = await openWeights(given) as GgufFile;
    assertEquals(Object.fromEntries(opened.metadata), {
      ...{ "general.architecture": "llama", u8: 200, i8: -56, u16: 51201, i16: -14335 },
      ...{ u32: 2 ** 32 - 1, i32: -1, f32: 1.5, bool: true, u64: 2 ** 32, i64: -1, f64: -2.5 },
      ...{ texts: ["\ufeffa", "", "ü"], floats: Float32Array.of(1, -0.5) },
      ...{ ints: Int32Array.of(1, -7), lists: [Int32Array.of(1), ["x"]] },
    });
    const blocks = await opened.read("blocks"), floats = await opened.read("floats");
    assertEquals(blocks, { data: data.slice(0, 136), shape: [4, 32], dtype: "q8_0" });
    assertEquals(floats.shape, [4, 3]);
    assertEquals(new Uint8Array(floats.data.slice().buffer), data.slice(160, 208));
    await assertRejects(() => opened.read("K"), RangeError, '"K" is stored as Q4_K; f32');
  }
});

test("version 2 is read as version 3 is, others are refused by name", async () => {
  assertEquals((await openGguf(gguf({ values, tensors, data, version: 2 }))).entries.size, 3);
  await refused(
    { version: 1 },
    "is of version 1, and versions 2 and 3 can be read: convert it anew",
  );
  await refused({ version: 4 }, "is of version 4, and versions 2 and 3 can be read");
  await refused({ version: 0x03000000 }, "the GGUF file is big-endian");
  await refused({ magic: "FUGG" }, "the GGUF file is big-endian");
  await refused({ magic: "GGML" }, "the file is no GGUF file");
});

test("numbers begin behind the head, rounded up to the alignment", async () => {
  for (const alignment of [8, 32, 64, 4096]) {
    const at = (bytes: number) => Math.ceil(bytes / alignment) * alignment;
    const aligned = [
      { name: "a", dims: [5], type: 24, offset: 0 },
      { name: "b", dims: [5], type: 24, offset: at(5) },
    ];
    const numbers = numbered(at(5) + 5);
    const values = [ggufU32("general.alignment", alignment)];
    const opened = await openGguf(gguf({ values, tensors: aligned, data: numbers, alignment }));
    for (const [name, from] of [["a", 0], ["b", at(5)]] as const) {
      assertEquals((await opened.read(name)).data, new Int8Array(numbers.slice(from, from + 5)));
    }
  }
  for (const alignment of [0, 1, 4, 12]) {
    const wrong = [ggufU32("general.alignment", alignment)];
    await refused(
      { values: wrong },
      `\`general.alignment\` must be a multiple of 8, got ${alignment}`,
    );
  }
  const asText = [ggufText("general.alignment", "32")];
  await refused({ values: asText }, '"general.alignment" must be a u32, got kind 8');
});

test("offsets are where tensors follow each other", async () => {
  const moved = (offset: number | bigint) => ({
    tensors: [tensors[0], { ...tensors[1], offset }, tensors[2]],
  });
  await refused(moved(136), '"floats" begins at byte 136 of the numbers, where 160 is expected');
  await refused(moved(192), "where 160 is expected");
  await refused(moved(0), "where 160 is expected");
  await refused(moved(2n ** 63n), "where 160 is expected");
  await refused({ data: numbered(367) }, "it is cut off");
  // What is behind the last is nobody's.
  assertEquals((await openGguf(gguf({ values, tensors, data: numbered(500) }))).entries.size, 3);
});

test("counts are checked before they are walked", async () => {
  const huge = [2n ** 64n - 1n, 2n ** 53n, 2n ** 31n, 10_000n];
  for (const count of huge) {
    await refused({ tensorCount: count }, "a head of 16 values and");
    await refused({ valueCount: count }, `a head of`);
    for (const kind of [0, 4, 6, 8, 9]) {
      const list = ggufList("list", kind, [], count);
      await refused({ values: [list] }, `"list", a list of ${Number(count)}, would end at byte`);
    }
    const text = { name: "text", kind: 8, bytes: new Uint8Array(BigUint64Array.of(count).buffer) };
    await refused({ values: [text] }, '"text" would end at byte');
  }
  // A list that could be there by its length, of texts that could not.
  const texts = ggufList("list", 8, [new Uint8Array(BigUint64Array.of(10_000n).buffer)]);
  await refused({ values: [texts] }, '"list" would end at byte');
});

test("lists in lists, kinds, axes, blocks and names have their bounds", async () => {
  let nested = ggufInts("deep", [1]);
  for (let depth = 0; depth < 100; depth++) nested = ggufList("deep", 9, [nested.bytes]);
  await refused({ values: [nested] }, '"deep" has lists in lists more than 4 deep');
  await refused({ values: [{ name: "x", kind: 13, bytes: bytes() }] }, '"x" is of kind 13');
  await refused({ values: [ggufList("x", 99, [])] }, '"x" is of kind 99');
  await refused({ values: [values[0], values[0]] }, '"general.architecture" is there twice');
  const one = (tensor: object) => ({ tensors: [{ ...tensors[0], ...tensor }] });
  await refused(
    { tensors: [tensors[0], { ...tensors[0], offset: 160 }] },
    '"blocks" is there twice',
  );
  await refused(one({ dims: [1, 1, 1, 1, 1] }), '"blocks" has 5 axes, and at most 4');
  await refused(
    one({ dims: [33, 4] }),
    "of shape [4,33] is stored as q8_0, in blocks of 32 of a row",
  );
  await refused(one({ dims: [2n ** 40n, 2n ** 40n], type: 0 }), "has countless elements");
  await refused(one({ dims: [2n ** 40n], type: 0 }), "it is cut off");
});

test("a type that nobody knows is no tensor's that is needed", async () => {
  const unknown = [{ name: "u", dims: [7], type: 99, offset: 0 }, { ...tensors[1], offset: 64 }];
  const opened = await openGguf(gguf({ values, tensors: unknown, data: numbered(112) }));
  assertEquals((await opened.read("floats")).shape, [4, 3]);
  await assertRejects(() => opened.read("u"), RangeError, '"u" is stored as TYPE_99');
  await refused(
    { tensors: [unknown[0], { ...unknown[1], offset: 33 }] },
    '"floats" begins at byte 33',
  );
});

test("a head that is longer than what is fetched at first is fetched as far as it goes", async () => {
  const pieces = Array.from({ length: 5000 }, (_, at) => `piece ${at}`.padEnd(60));
  const long = gguf({ values: [ggufTexts("tokens", pieces)], tensors, data });
  const { read, asked } = rangesOf(long), opened = await openGguf(read);
  assertEquals(opened.metadata.get("tokens"), pieces);
  assertEquals((await opened.read("floats")).shape, [4, 3]);
  assertEquals(asked.slice(0, 3).map(([, length]) => length), [2 ** 16, 2 ** 18, 2 ** 20]);
  // A lie does not make who reads ranges fetch what is not there.
  const lie = rangesOf(gguf({ values: [ggufList("tokens", 8, [], 2 ** 24)] }));
  await assertRejects(() => openGguf(lie.read), RangeError, "would end at byte");
  assert(lie.asked.every(([, length]) => length <= 2 ** 16), `${lie.asked}`);
});
