import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { test } from "node:test";
import { type GgufFile, openGguf } from "../../src/models/files/gguf.ts";
import { ggufTokenizer, sentencePiece } from "../../src/models/tokens/sentence_piece.ts";
import { streamOf, type Tokenizer } from "../../src/models/tokens/tokenizer.ts";
import {
  gguf,
  ggufFloats,
  ggufInts,
  ggufList,
  ggufText,
  ggufTexts,
  ggufU32,
  type GgufValueBytes,
} from "../support/model_files.ts";
import { type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";

/** Kinds of pieces by their numbers in GGUF. */
const text = 1, unknown = 2, control = 3, userDefined = 4, byte = 6;

type Piece = readonly [text: string, score: number, type: number];

const bytePieces = Array.from({ length: 256 }, (_, at): Piece => [
  `<0x${at.toString(16).toUpperCase().padStart(2, "0")}>`,
  0,
  byte,
]);

/** Unknown, beginning, end, all bytes, and others from 259 on. */
const base: readonly Piece[] = [["<unk>", 0, unknown], ["<s>", 0, control], ["</s>", 0, control]];

async function metadataOf(
  pieces: readonly Piece[],
  ...others: readonly GgufValueBytes[]
) {
  const values = [
    ggufText("tokenizer.ggml.model", "llama"),
    ggufTexts("tokenizer.ggml.tokens", pieces.map(([piece]) => piece)),
    ggufFloats("tokenizer.ggml.scores", pieces.map(([, score]) => score)),
    ggufInts("tokenizer.ggml.token_type", pieces.map(([, , type]) => type)),
    ggufU32("tokenizer.ggml.bos_token_id", 1),
    ggufU32("tokenizer.ggml.eos_token_id", 2),
    ...others,
  ];
  return (await openGguf(gguf({ values })) as GgufFile).metadata;
}

async function tokenizer(pieces: readonly Piece[]): Promise<Tokenizer> {
  return ggufTokenizer(await metadataOf([...base, ...bytePieces, ...pieces]));
}

/** Spaces as vocabularies have them. */
const space = "\u2581";

const small: readonly Piece[] = [
  [space, -9, text],
  ["a", -10, text],
  ["b", -10, text],
  ["ab", -1, text],
  ["ba", -2, text],
  [`${space}ab`, -3, text],
  ["aba", -4, text],
];

test("pieces are merged by the best score, the first where scores are equal", async () => {
  const { encode, pieces } = { ...await tokenizer(small), pieces: small };
  const texts = (input: string) => encode(input).map((id) => pieces[id - 259]?.[0] ?? id);
  assertEquals(texts("ab"), [`${space}ab`]);
  assertEquals(texts("bab"), [space, "b", "ab"]);
  assertEquals(texts("aba"), [`${space}ab`, "a"]);
  assertEquals(texts("baba"), [space, "b", "aba"]);
  assertEquals(texts(" ab"), [space, `${space}ab`]);
  assertEquals(texts("aaa"), [space, "a", "a", "a"]);
});

test("what is in no piece becomes the bytes of its UTF-8", async () => {
  const { encode, decode } = await tokenizer(small);
  assertEquals(encode("é"), [259, 3 + 0xc3, 3 + 0xa9]);
  assertEquals(encode("a😀b"), [259, 260, ...[0xf0, 0x9f, 0x98, 0x80].map((one) => 3 + one), 261]);
  assertEquals(encode(""), []);
  for (const input of ["é", "a😀b\n", "  two  spaces ", "\u2581", "\ufeff", "<s></s><0x41>"]) {
    const same = input.replaceAll(space, " ");
    assertEquals(decode(encode(input)).replaceAll(space, " "), same);
  }
});

test("control pieces are no text: they are in none, and give none", async () => {
  const { encode, decode } = await tokenizer(small);
  assert(!encode("<s>").includes(1));
  assertEquals(decode([1, ...encode("ab"), 2]), "ab");
});

test("pieces of the user's are never cut, the longest where several begin", async () => {
  const own: readonly Piece[] = [["<a>", 0, userDefined], ["<a><a>", 0, userDefined]];
  const { encode, decode } = await tokenizer([...small, ...own]);
  const [first, second] = [266, 267];
  assertEquals(encode("a<a>b"), [259, 260, first, 261]);
  assertEquals(encode("<a><a><a>"), [259, second, first]);
  assertEquals(decode(encode("a<a>b")), "a<a>b");
});

test("without a space in front texts begin as they are", async () => {
  const noSpace = { name: "tokenizer.ggml.add_space_prefix", kind: 7, bytes: new Uint8Array(1) };
  const noBegin = { name: "tokenizer.ggml.add_bos_token", kind: 7, bytes: new Uint8Array(1) };
  const all = [...base, ...bytePieces, ...small];
  const { encode, decode, addsBegin } = ggufTokenizer(await metadataOf(all, noSpace, noBegin));
  assertEquals(encode("ab"), [262]);
  assertEquals(decode(encode(" ab")), " ab");
  assertEquals([addsBegin, (await tokenizer(small)).addsBegin], [false, true]);
});

test("a character whose bytes are spread over tokens comes with its last", async () => {
  const { encode, stream } = await tokenizer(small);
  const pushed = (ids: readonly number[], before?: readonly number[]) => {
    const { push, end } = stream(before);
    return [...ids.map(push), end()];
  };
  assertEquals(pushed(encode("a😀b")), ["", "a", "", "", "", "😀", "b", ""]);
  assertEquals(pushed([260, 3 + 0xf0, 3 + 0x9f]), ["a", "", "", "\ufffd"]);
  assertEquals(pushed([3 + 0xf0, 260]), ["", "\ufffda", ""]);
  assertEquals(pushed([3 + 0xff, 261]), ["\ufffd", "b", ""]);
  // After others a space is a part of the text.
  assertEquals(pushed([264], [260]), [" ab", ""]);
  assertEquals(pushed([264], [1]), ["ab", ""]);
  assertEquals(pushed([264, 1, 264, 264]), ["ab", "", "ab", " ab", ""]);
});

test("decode() refuses ids that no piece has", async () => {
  const { decode, size } = await tokenizer(small);
  for (const id of [size, -1, 0.5, NaN]) {
    assertThrows(() => decode([id]), RangeError, `below ${size}, got ${id}`);
  }
});

test("streamOf() gives the text of any tokenizer in the same pieces", async () => {
  const own = await tokenizer(small), random = seeded(varyingSeed());
  const others = { encode: own.encode, decode: (ids: number[]) => own.decode(ids) };
  const inputs = ["a😀b", "ab ab", "é", "  ", ...randomTexts(random, share(100))];
  for (const input of inputs) {
    const ids = own.encode(input), { push, end } = streamOf(others);
    const pieces = [...ids.map(push), end()];
    assertEquals(pieces.join(""), own.decode(ids), input);
    assert(pieces.slice(0, -1).every((piece) => !piece.endsWith("\ufffd")), input);
  }
  const { push, end } = streamOf(others, own.encode("ab"));
  assertEquals([push(264), push(3 + 0xf0), end()], [" ab", "", "\ufffd"]);
});

function randomTexts(random: Random, count: number): string[] {
  const signs = ["a", "b", " ", "c", "é", "世", "😀", "\n", "ab", "<s>"];
  return Array.from({ length: count }, () => {
    const length = whole(random, 0, 30);
    return Array.from({ length }, () => signs[whole(random, 0, signs.length - 1)]).join("");
  });
}

/** All neighbours are looked at anew for each merge. */
function slowMerge(input: string, scores: ReadonlyMap<string, number>): string[] {
  const pieces = Array.from(input);
  for (;;) {
    let best = -1, most = -Infinity;
    for (let at = 0; at + 1 < pieces.length; at++) {
      const score = scores.get(pieces[at] + pieces[at + 1]) ?? -Infinity;
      if (score > most) [best, most] = [at, score];
    }
    if (best < 0) return pieces;
    pieces.splice(best, 2, pieces[best] + pieces[best + 1]);
  }
}

test("merging by a heap is merging by looking at all neighbours each time", async () => {
  const random = seeded(varyingSeed());
  for (let round = 0; round < share(100); round++) {
    const letters = ["a", "b", " "], scores = new Map(letters.map((one) => [one, -100]));
    for (let piece = 0; piece < 12; piece++) {
      const length = whole(random, 2, 4);
      const made = Array.from({ length }, () => letters[whole(random, 0, 2)]).join("");
      scores.set(made, -whole(random, 1, 4)); // Many are equal.
    }
    const pieces = [...scores].map((
      [piece, score],
    ): Piece => [piece.replaceAll(" ", space), score, text]);
    const own = await tokenizer(pieces);
    const input = Array.from({ length: 40 }, () => letters[whole(random, 0, 2)]).join("");
    const names = [...scores.keys()];
    const got = own.encode(input).map((id) => names[id - 259]);
    assertEquals(got, slowMerge(` ${input}`, scores), JSON.stringify([...scores, input]));
    assertEquals(own.decode(own.encode(input)), input);
  }
});

test("a long text without spaces is cut in less than time that grows with its square", async () => {
  const { encode } = await tokenizer(small);
  assertEquals(encode("ab".repeat(20_000)).length, 20_000); // By looking at all neighbours: minutes.
});

test("a vocabulary that does not fit is refused", async () => {
  const good = [...base, ...bytePieces, ...small], size = good.length;
  const refused = async (
    values: readonly GgufValueBytes[],
    message: string,
  ) => {
    const { metadata } = await openGguf(gguf({ values }));
    assertThrows(() => ggufTokenizer(metadata), RangeError, message);
  };
  const model = ggufText("tokenizer.ggml.model", "llama");
  const tokens = ggufTexts("tokenizer.ggml.tokens", good.map(([piece]) => piece));
  await refused([], 'is of the kind undefined, and "llama" can be read');
  await refused([ggufText("tokenizer.ggml.model", "gpt2"), tokens], 'is of the kind "gpt2"');
  await refused([model], "`tokenizer.ggml.tokens` must be a list of texts");
  await refused([model, ggufInts("tokenizer.ggml.tokens", [1])], "must be a list of texts");
  const scores = ggufFloats("tokenizer.ggml.scores", [1, 2]);
  await refused([model, tokens, scores], `\`tokenizer.ggml.scores\` must have ${size} numbers`);
  const types = ggufU32("tokenizer.ggml.token_type", 1);
  await refused([model, tokens, types], "must have 266 numbers, one a piece, got 1");
  const text = ggufText("tokenizer.ggml.scores", "x".repeat(size));
  await refused([model, tokens, text], `must have ${size} numbers, one a piece, got ${size}`);
  await refused(
    [model, ggufList("tokenizer.ggml.tokens", 4, [new Uint8Array(4)])],
    "a list of texts",
  );
  const name = "tokenizer.ggml.bos_token_id", four = new Uint8Array(Float32Array.of(0.5).buffer);
  const begins: readonly GgufValueBytes[] = [
    ggufU32(name, size),
    ggufText(name, "1"),
    { name, kind: 5, bytes: new Uint8Array([255, 255, 255, 255]) },
    { name, kind: 6, bytes: four },
  ];
  for (const begin of begins) {
    await refused(
      [model, tokens, begin],
      `\`tokenizer.ggml.bos_token_id\` must be below ${size}, got`,
    );
  }
});

/** A file of llama2.c. */
function llama2cVocabulary(
  pieces: readonly (readonly [string, number])[],
  longest = 9,
): Uint8Array {
  const encoder = new TextEncoder();
  const parts = pieces.flatMap(([piece, score]) => {
    const bytes = encoder.encode(piece);
    const head = new DataView(new ArrayBuffer(8));
    head.setFloat32(0, score, true);
    head.setInt32(4, bytes.length, true);
    return [...new Uint8Array(head.buffer), ...bytes];
  });
  return Uint8Array.from([longest, 0, 0, 0, ...parts]);
}

test("sentencePiece() reads a file of llama2.c, and refuses others", () => {
  const special = [["<unk>", 0], ["\n<s>\n", 0], ["\n</s>\n", 0]] as const;
  const others = [["<0x41>", 0], [" ", -9], ["a", -9], [" a", -1]] as const;
  const file = llama2cVocabulary([...special, ...others]);
  const { encode, decode, size, begin, end } = sentencePiece(file);
  assertEquals([size, begin, end], [7, 1, 2]);
  assertEquals(encode("a a"), [6, 6]);
  assertEquals(encode("A\n"), [4, 3, 0]); // The unknown piece where there is no byte.
  assertEquals(decode([1, 6, 3, 2]), "aA");
  const refused = (bytes: unknown, kind: new () => Error, message: string) => {
    assertThrows(() => sentencePiece(bytes as Uint8Array), kind, message);
  };
  refused(file.slice(0, -1), RangeError, "piece 6, at byte");
  refused(file.slice(0, 10), RangeError, "piece 0, at byte 4 of 10, would have -1 bytes");
  refused(llama2cVocabulary([...special, ...others], 4), RangeError, "the longest 4");
  refused(new Uint8Array(0), RangeError, "it has 0 pieces, and is no file of llama2.c");
  refused(llama2cVocabulary(special), RangeError, "it has 3 pieces");
  refused(new TextEncoder().encode("<!DOCTYPE html><html></html>"), RangeError, "none of llama2.c");
  refused([1, 2], TypeError, "it must be a Uint8Array, got Array");
  assertRejects(() => openGguf(file), RangeError, "no GGUF file");
});
