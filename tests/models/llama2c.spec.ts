import { assertEquals, assertRejects } from "@std/assert";
import { test } from "node:test";
import { type Llama2cFile, openLlama2c } from "../../src/models/files/llama2c.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { rangesOf } from "../support/model_files.ts";

/** Sizes: width, feed-forward, layers, heads, of keys, vocabulary, context. */
const sizes = [8, 6, 2, 4, 2, 5, 7];

/** Numbers of all tensors, in the file's order. */
const counts = (hasHead: boolean) => [
  ...[5 * 8, 2 * 8, 2 * 64, 2 * 32, 2 * 32, 2 * 64, 2 * 8, 2 * 48, 2 * 48, 2 * 48, 8, 7 * 2],
  ...(hasHead ? [5 * 8] : []),
];

function checkpoint(sizes: readonly number[], numbers: number): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(Int32Array.from(sizes).buffer);
  const weights = new Uint8Array(Float32Array.from({ length: numbers }, (_, at) => at).buffer);
  const file = new Uint8Array(head.length + weights.length);
  file.set(head);
  file.set(weights, head.length);
  return file;
}

const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

test("a llama2.c checkpoint has its tensors one behind the other", async () => {
  for (const hasHead of [false, true]) {
    const all = sizes.with(5, hasHead ? -5 : 5), file = checkpoint(all, sum(counts(hasHead)));
    for (const given of [file, rangesOf(file).read]) {
      const opened = await openWeights(given, "llama2.c") as Llama2cFile;
      assertEquals(opened.entries.size, 2 + 2 * 9 + (hasHead ? 1 : 0));
      const first = async (name: string) => {
        const { data, shape } = await opened.read(name);
        return [data[0], ...shape];
      };
      const before = counts(hasHead).map((_, at) => sum(counts(hasHead).slice(0, at)));
      assertEquals(await first("model.embed_tokens.weight"), [0, 5, 8]);
      const layer = "model.layers.1.";
      assertEquals(await first(`${layer}input_layernorm.weight`), [before[1] + 8, 8]);
      assertEquals(await first(`${layer}self_attn.k_proj.weight`), [before[3] + 32, 4, 8]);
      assertEquals(await first(`${layer}mlp.down_proj.weight`), [before[8] + 48, 8, 6]);
      assertEquals(await first("model.norm.weight"), [before[10], 8]);
      if (hasHead) assertEquals(await first("lm_head.weight"), [before[12], 5, 8]);
      assertEquals(opened.config.tie_word_embeddings, !hasHead);
      assertEquals(opened.config.vocab_size, 5);
    }
  }
});

test("a checkpoint that is cut off, too long or something else is refused", async () => {
  const file = checkpoint(sizes, sum(counts(false)));
  const refused = async (bytes: Uint8Array, message: string) => {
    await assertRejects(() => openLlama2c(bytes), RangeError, message);
  };
  await refused(file.slice(0, 27), "the checkpoint's head needs bytes 0 to 28");
  await refused(file.slice(0, -1), "it is cut off");
  await refused(checkpoint(sizes, sum(counts(true))), "something was written behind it");
  await assertRejects(() => openLlama2c(rangesOf(file.slice(0, -1)).read), RangeError, "cut off");
  for (const [at, value] of [[0, 0], [1, -6], [2, 2 ** 24], [3, 3], [4, 3], [5, 0], [3, 8]]) {
    await refused(checkpoint(sizes.with(at, value), 700), "is no llama2.c checkpoint, its sizes");
  }
  await refused(checkpoint(sizes.with(2, 2 ** 24 - 1), 700), "it is cut off");
  const most = 2 ** 24 - 4, huge = [most, most, most, 2, 1, most, 7];
  const { read } = rangesOf(checkpoint(huge, 700));
  await assertRejects(() => openLlama2c(read), RangeError, "and has not so many: it is cut off");
  await refused(
    new TextEncoder().encode("GGUF and thirty bytes of more or less"),
    "like a GGUF file",
  );
});
