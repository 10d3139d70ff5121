import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { readModel } from "../../src/models/architectures/read.ts";
import { type GgufFile, openGguf } from "../../src/models/files/gguf.ts";
import { openLlama2c } from "../../src/models/files/llama2c.ts";
import { openSafetensors } from "../../src/models/files/safetensors.ts";
import { isReadable, type WeightFile } from "../../src/models/files/weights.ts";
import { widened } from "../../src/models/files/widen.ts";
import { ggufTokenizer, sentencePiece } from "../../src/models/tokens/sentence_piece.ts";
import {
  gguf,
  ggufFloats,
  ggufInts,
  ggufText,
  ggufTexts,
  ggufU32,
  numbered,
  rangesOf,
  safetensors,
} from "../support/model_files.ts";
import { type Random, seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { isWhole, share } from "../support/share.ts";

/** A file with a few other bytes among the first, or without its end, or with one. */
function mutate(file: Uint8Array, head: number, random: Random): Uint8Array<ArrayBuffer> {
  const kind = whole(random, 0, 9), copy = file.slice();
  if (kind === 0) return file.slice(0, whole(random, 0, file.length - 1));
  if (kind === 1) return new Uint8Array([...copy, ...numbered(whole(random, 1, 40))]);
  for (let times = whole(random, 1, 3); times > 0; times--) {
    const at = whole(random, 0, head - 1);
    if (kind < 6) copy[at] ^= 1 << whole(random, 0, 7);
    else if (kind < 8) copy[at] = [0, 1, 0x7f, 0x80, 0xff][whole(random, 0, 4)];
    else copy.copyWithin(at, whole(random, 0, head - 1), head);
  }
  return copy;
}

/** A file with one byte of its head turned over, and with one bit: each byte in turn, or each tenth in a daily run. */
function flipped(file: Uint8Array, head: number, random: Random): Uint8Array<ArrayBuffer>[] {
  const [from, step] = isWhole ? [0, 1] : [whole(random, 0, 9), 10];
  const files: Uint8Array<ArrayBuffer>[] = [];
  for (let at = from; at < head; at += step) {
    for (const bits of [0xff, 1 << whole(random, 0, 7)]) {
      const copy = file.slice();
      copy[at] ^= bits;
      files.push(copy);
    }
  }
  return files;
}

/** A file whose reads are watched: of none that is small is a large part asked for. */
function watched(file: Uint8Array) {
  const { read, asked } = rangesOf(file);
  return {
    read,
    check() {
      for (const [offset, length] of asked) {
        assert(Number.isSafeInteger(offset) && offset >= 0 && length >= 0, `${offset}, ${length}`);
        assert(length <= 2 ** 20, `${length} bytes of ${file.length}`);
      }
    },
  };
}

/** Asserts that an error is one that says what is wrong. */
function assertClear(error: unknown, what: string): void {
  const { message } = error as Error;
  const isClear = error instanceof RangeError &&
    /^Cannot read the (?:weights|model|vocabulary)/.test(message);
  assert(isClear, `${what}: ${(error as Error)?.stack}`);
}

/** Asserts that what was opened is within the file: every tensor has as many numbers as its shape. */
async function assertWithin(opened: WeightFile, file: Uint8Array): Promise<void> {
  let sum = 0;
  for (const { name, dtype, shape, bytes } of opened.entries.values()) {
    sum += bytes;
    if (!isReadable(dtype)) continue;
    const stored = await opened.read(name);
    assertEquals(stored.data.byteLength, bytes, name);
    assertEquals(widened(stored).length, shape.reduce((a, b) => a * b, 1), name);
  }
  assert(sum <= file.length, `${sum} bytes of ${file.length}`);
}

/** Opens many mutations of a file, in both ways: each is refused with a clear error, or right. */
function tryMutations(
  name: string,
  { file, head, open, most = 2000 }: {
    readonly file: Uint8Array;
    readonly head: number;
    readonly open: (given: unknown) => Promise<WeightFile>;
    readonly most?: number;
  },
): void {
  test(`${name}: a mutated file is refused with a clear error, or read within its bounds`, async () => {
    await assertWithin(await open(file), file);
    const random = seeded(varyingSeed());
    const wrongs = flipped(file, head, random);
    for (let round = share(most); round > 0; round--) wrongs.push(mutate(file, head, random));
    let refused = 0;
    for (const [round, wrong] of wrongs.entries()) {
      const ranges = watched(wrong);
      for (const given of [wrong, ranges.read]) {
        try {
          await assertWithin(await open(given), wrong);
        } catch (error) {
          assertClear(error, `${name}, round ${round}`);
          refused++;
        }
      }
      ranges.check();
    }
    assert(refused > wrongs.length, `only ${refused} of ${2 * wrongs.length} were refused`);
  });

  test(`${name}: cut off anywhere it is refused`, async () => {
    const random = seeded(varyingSeed());
    for (let round = 0; round < share(500); round++) {
      const cut = file.slice(0, whole(random, 0, file.length - 1)), ranges = watched(cut);
      for (const given of [cut, ranges.read]) {
        let error: unknown;
        await open(given).catch((thrown) => error = thrown);
        assertClear(error, `${name}, ${cut.length} bytes`);
      }
      ranges.check();
    }
  });
}

const head = {
  __metadata__: { format: "pt" },
  "a.weight": { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
  "b.weight": { dtype: "F16", shape: [4], data_offsets: [24, 32] },
  "c.weight": { dtype: "I8", shape: [1, 5], data_offsets: [32, 37] },
};
const plain = safetensors(head, numbered(37));

tryMutations("safetensors", { file: plain, head: plain.length - 37, open: openSafetensors });

const values = [
  ggufText("general.architecture", "llama"),
  ggufU32("general.alignment", 32),
  ggufU32("llama.block_count", 1),
  ggufText("tokenizer.ggml.model", "llama"),
  ggufTexts("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a"]),
  ggufFloats("tokenizer.ggml.scores", [0, 0, 0, 0, -1, -2]),
  ggufInts("tokenizer.ggml.token_type", [2, 3, 3, 6, 1, 1]),
];
const tensors = [
  { name: "token_embd.weight", dims: [32, 2], type: 2, offset: 0 },
  { name: "output_norm.weight", dims: [3], type: 0, offset: 64 },
  { name: "x", dims: [], type: 30, offset: 96 },
];
const model = gguf({ values, tensors, data: numbered(98) });

/** Opens it, and reads what can be read of its vocabulary and its model. */
async function openAll(given: unknown): Promise<GgufFile> {
  const opened = await openGguf(given);
  try {
    const { encode, decode } = ggufTokenizer(opened.metadata);
    assertEquals(typeof decode(encode("a Ab")), "string");
  } catch (error) {
    assertClear(error, "vocabulary");
  }
  await readModel(undefined, opened).catch((error) => assertClear(error, "model"));
  return opened;
}

tryMutations("GGUF", { file: model, head: model.length - 98, open: openAll });

const sizes = Int32Array.of(8, 6, 2, 4, 2, 5, 7);
const numbers = [40, 16, 128, 64, 64, 128, 16, 96, 96, 96, 8, 14].reduce((a, b) => a + b);
const checkpoint = new Uint8Array(28 + 4 * numbers);
checkpoint.set(new Uint8Array(sizes.buffer));

tryMutations("llama2.c", { file: checkpoint, head: 28, open: openLlama2c });

test("a mutated vocabulary is refused with a clear error, or cuts and joins", () => {
  const pieces = ["<unk>", "<s>", "</s>", "<0x41>", " ", "a", " a", "ab"];
  const file = Uint8Array.from([
    ...[6, 0, 0, 0],
    ...pieces.flatMap((piece, at) => [
      ...new Uint8Array(Float32Array.of(-at).buffer),
      ...[piece.length, 0, 0, 0],
      ...new TextEncoder().encode(piece),
    ]),
  ]);
  const random = seeded(varyingSeed());
  for (let round = 0; round < share(2000); round++) {
    const wrong = mutate(file, file.length, random);
    try {
      const { encode, decode, size } = sentencePiece(wrong), ids = encode("ab a Ab");
      assert(ids.every((id) => id >= 0 && id < size));
      assertEquals(typeof decode(ids), "string");
    } catch (error) {
      assertClear(error, `round ${round}`);
    }
  }
});
