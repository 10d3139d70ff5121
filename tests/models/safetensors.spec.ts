import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { openWeights } from "../../src/models/files/open.ts";
import { openSafetensors } from "../../src/models/files/safetensors.ts";
import { numbered, rangesOf, safetensors } from "../support/model_files.ts";

const head = {
  __metadata__: { format: "pt" },
  a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
  none: { dtype: "F32", shape: [0, 7], data_offsets: [24, 24] },
  b: { dtype: "BF16", shape: [5], data_offsets: [27, 37] },
  c: { dtype: "I8", shape: [3], data_offsets: [24, 27] },
  scalar: { dtype: "F16", shape: [], data_offsets: [37, 39] },
  odd: { dtype: "F6_X", shape: [3], data_offsets: [39, 41] },
};
const data = numbered(41), file = safetensors(head, data);

/** Bytes of a tensor as they were read. */
async function bytesOf(given: Parameters<typeof openWeights>[0], name: string) {
  const { data } = await (await openWeights(given)).read(name);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

test("a safetensors file is read from bytes, a blob, or a function that reads ranges", async () => {
  const { read } = rangesOf(file);
  for (const given of [file, new Blob([file]), read, Buffer.from(file)]) {
    const opened = await openWeights(given);
    assertEquals([...opened.entries.keys()], ["a", "none", "b", "c", "scalar", "odd"]);
    const a = await opened.read("a");
    assertEquals([a.dtype, a.shape, a.data.constructor], ["f32", [2, 3], Float32Array]);
    assertEquals(await bytesOf(given, "a"), data.subarray(0, 24));
    assertEquals(await bytesOf(given, "b"), data.subarray(27, 37));
    assertEquals((await opened.read("b")).data.constructor, Uint16Array);
    assertEquals((await opened.read("c")).data, new Int8Array(data.slice(24, 27).buffer));
    assertEquals((await opened.read("none")).data.length, 0);
    assertEquals((await opened.read("scalar")).shape, []);
  }
});

test("numbers that begin at any byte are right, and are not copied where they need not be", async () => {
  for (let shift = 0; shift < 8; shift++) {
    const room = new Uint8Array(file.length + 8), at = room.subarray(shift, shift + file.length);
    at.set(file);
    assertEquals(await bytesOf(at, "a"), data.subarray(0, 24), `${shift}`);
    const { data: numbers } = await (await openWeights(at)).read("a");
    const isAligned = (shift + file.length - data.length) % 4 === 0;
    assertEquals(numbers.buffer === room.buffer, isAligned, `${shift}`);
  }
});

test("of a file behind a function only the head, the last byte and what is asked for is read", async () => {
  const { read, asked } = rangesOf(file), opened = await openSafetensors(read);
  const start = file.length - data.length;
  assertEquals(asked, [[0, 64], [8, start - 8], [file.length - 1, 1]]);
  await opened.read("b");
  assertEquals(asked.slice(3), [[start + 27, 10]]);
});

test("a tensor of a type that cannot be read is refused when it is asked for", async () => {
  const opened = await openWeights(file);
  assertEquals(opened.entries.get("odd"), {
    ...opened.entries.get("odd")!,
    dtype: "F6_X",
    bytes: 2,
  });
  await assertRejects(() => opened.read("odd"), RangeError, '"odd" is stored as F6_X; f32, f16');
  await assertRejects(() => opened.read("d"), RangeError, 'there is no tensor "d"');
  await assertRejects(() => opened.read("toString"), RangeError, "there is no tensor");
});

/** Refusals of a head's only tensor. */
const lies: [claims: object, message: string][] = [
  [{ shape: [2, 3], data_offsets: [0, 24] }, '"a" has no `dtype`, got undefined'],
  [{ dtype: "F32", shape: [2, 4], data_offsets: [0, 24] }, "must have 32 bytes, and has the 24"],
  [{ dtype: "F16", shape: [2, 3], data_offsets: [0, 24] }, "must have 12 bytes, and has the 24"],
  [{ dtype: "F32", shape: [2, 3], data_offsets: [0, 20] }, "must have 24 bytes, and has the 20"],
  [
    { dtype: "F32", shape: [-2, -3], data_offsets: [0, 24] },
    "must have a `shape` of whole numbers",
  ],
  [
    { dtype: "F32", shape: [1.5, 4], data_offsets: [0, 24] },
    "`shape` of whole numbers, got [1.5,4]",
  ],
  [{ dtype: "F32", shape: "6", data_offsets: [0, 24] }, "`shape` of whole numbers"],
  [{ dtype: "F32", data_offsets: [0, 24] }, "`shape` of whole numbers, got undefined"],
  [{ dtype: "F32", shape: [2 ** 30, 2 ** 30], data_offsets: [0, 24] }, "must have countless bytes"],
  [
    { dtype: "F6_X", shape: [2 ** 30, 2 ** 30], data_offsets: [0, 24] },
    "must have countless bytes",
  ],
  [{ dtype: "F32", shape: [6], data_offsets: [24, 0] }, "must have `data_offsets` of two whole"],
  [{ dtype: "F32", shape: [6], data_offsets: [-24, 0] }, "`data_offsets` of two whole numbers"],
  [{ dtype: "F32", shape: [6], data_offsets: [0.5, 24.5] }, "`data_offsets` of two whole numbers"],
  [{ dtype: "F32", shape: [6], data_offsets: [0, 24, 24] }, "`data_offsets` of two whole numbers"],
  [{ dtype: "F32", shape: [6], data_offsets: "0,24" }, "`data_offsets` of two whole numbers"],
  [{ dtype: "F32", shape: [6] }, "`data_offsets` of two whole numbers"],
  [{ dtype: "F32", shape: [6], data_offsets: [4, 28] }, "begins at byte 4 of the numbers, where 0"],
  [{ dtype: "F32", shape: [4], data_offsets: [0, 16] }, "something was written behind it"],
  [{ dtype: "F32", shape: [8], data_offsets: [0, 32] }, "it is cut off"],
];

test("shape, type and range are three claims that must agree", async () => {
  for (const [claims, message] of lies) {
    await assertRejects(
      () => openWeights(safetensors({ a: claims }, numbered(24))),
      RangeError,
      message,
    );
  }
  const wrong = async (head: unknown, message: string) => {
    await assertRejects(() => openWeights(safetensors(head, numbered(24))), RangeError, message);
  };
  await wrong({ a: null }, '"a" has no `dtype`');
  await wrong([1], "the head of the file must be an object, got Array");
  await wrong("33", "the head of the file must be an object, got 33");
  await wrong("null", "the head of the file must be an object, got null");
  await wrong("{ ", "the head of the file is no JSON");
});

test("ranges neither overlap nor leave holes", async () => {
  const of = (begin: number, end: number) => ({
    ...{ dtype: "U8", shape: [end - begin], data_offsets: [begin, end] },
  });
  const refused = async (head: object, message: string) => {
    await assertRejects(() => openWeights(safetensors(head, numbered(24))), RangeError, message);
  };
  await refused(
    { a: of(0, 16), b: of(12, 24) },
    '"b" begins at byte 12 of the numbers, where 16 is ' +
      'expected: it overlaps "a"',
  );
  await refused({ a: of(0, 24), b: of(0, 24) }, 'it overlaps "a"');
  await refused({ b: of(12, 24), a: of(0, 8) }, "where 8 is expected: there is a hole");
  // Empty ones may lie between.
  const { entries } = await openWeights(
    safetensors({ b: of(8, 24), e: of(8, 8), a: of(0, 8) }, numbered(24)),
  );
  assertEquals(entries.size, 3);
});

test("a file that is cut off is refused before a number is read, wherever it comes from", async () => {
  for (const length of [file.length - 1, file.length - 41, 100, 20]) {
    const cut = file.slice(0, length);
    await assertRejects(() => openWeights(cut), RangeError);
    await assertRejects(() => openWeights(new Blob([cut])), RangeError);
    await assertRejects(() => openWeights(rangesOf(cut).read), RangeError, "cut off");
  }
});

test("what is no safetensors file is called what it looks like", async () => {
  const text = (text: string) => new TextEncoder().encode(text);
  const foreign: [Uint8Array, string][] = [
    [text("<!DOCTYPE html>\n<html>"), "it looks like a web page"],
    [text("\n<html><body>"), "it looks like a web page"],
    [
      text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
      "it looks like a Git LFS pointer",
    ],
    [text('{"metadata": {"total_size": 1}, "weight_map": {}}'), "it looks like JSON"],
    [text("PK\u0003\u0004 and more of it"), "it looks like a zip file, as PyTorch writes it"],
    [Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46), "it looks like a pickle"],
    [Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 1), "it looks like a gzip file"],
    [new Uint8Array(0), "the file has 0 bytes"],
    [text("<html>"), "the file has 6 bytes, and is no safetensors file; it looks like a web page"],
    [new Uint8Array(64), "its head would have 0 bytes"],
    [
      Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127, 0),
      "would have 9223372036854775807 bytes",
    ],
    [
      safetensors(new TextDecoder("latin1").decode(numbered(250)), data),
      "the head of the file is no JSON",
    ],
  ];
  for (const [bytes, message] of foreign) {
    await assertRejects(() => openWeights(bytes), RangeError, message);
    if (message.includes("looks")) {
      await assertRejects(() => openWeights(rangesOf(bytes).read), RangeError, message);
    }
  }
  const bad = safetensors("{}");
  bad[8] = 0xff;
  await assertRejects(() => openWeights(bad), RangeError, "its head is no text");
});

test("a long head is looked for by its last byte before it is asked for", async () => {
  const lie = new Uint8Array(64);
  new DataView(lie.buffer).setBigUint64(0, 90_000_000n, true);
  const { read, asked } = rangesOf(lie);
  await assertRejects(
    () => openSafetensors(read),
    RangeError,
    "would have 90000000 bytes, and it is cut off",
  );
  assertEquals(Math.max(...asked.map(([, length]) => length)), 64);
});

test("what is given must be a file, and what reads ranges must give them", async () => {
  const refused = async (given: unknown, kind: new () => Error, message: string) => {
    await assertRejects(() => openWeights(given as never), kind, message);
  };
  await refused(null, TypeError, "a file must be a Uint8Array, a Blob or a function");
  await refused("model.safetensors", TypeError, 'got "model.safetensors"');
  await refused(new Float32Array(4), TypeError, "got Float32Array");
  await refused(() => Promise.resolve(new ArrayBuffer(8)), TypeError, "must give a Uint8Array");
  await refused(() => Promise.resolve(file), RangeError, "a server that does not know ranges");
  const failure = new Error("no network");
  const thrown = await openWeights(() => Promise.reject(failure)).catch((error) => error);
  assertStrictEquals(thrown, failure);
  await assertRejects(
    () => openWeights(file, "onnx" as never),
    TypeError,
    "`format` must be one of",
  );
});
