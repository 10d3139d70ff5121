import { assert, assertAlmostEquals, assertEquals, assertLess, assertRejects } from "@std/assert";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import type { StoredAs } from "../../examples/llama/caches.ts";
import { generate, type Generation } from "../../examples/llama/generate.ts";
import { losses, mean } from "../../examples/llama/loss.ts";
import type { Llama } from "../../examples/llama/model.ts";
import { readInChunks } from "../../examples/llama/read.ts";
import { checkPrompts, TOLERANCE } from "../../examples/llama/reference.ts";
import { createSampler, likeliest } from "../../examples/llama/sample.ts";
import { inWholeRuns } from "../support/share.ts";
import { modelFolder, withModel } from "./fixtures.ts";

const encoded = (text: string) => new TextEncoder().encode(text);

/** Prompts of different lengths, the last without room for many bytes. */
const texts = ["In the beginning", "A", "x".repeat(250)].map(encoded);

interface Written {
  readonly generation: Generation;
  readonly bytes: readonly number[][];
}

async function write(
  model: Llama,
  prompts: readonly Uint8Array[],
  count: number,
  sampler = () => likeliest,
): Promise<Written> {
  const bytes = prompts.map((): number[] => []);
  const generation = await generate(
    model,
    prompts,
    { count, sampler },
    (byte, prompt) => void bytes[prompt].push(byte),
  );
  return { generation, bytes };
}

function greatestDifference(a: Float32Array, b: Float32Array): number {
  assertEquals(a.length, b.length);
  return a.reduce((most, x, at) => Math.max(most, Math.abs(x - b[at])), 0);
}

function meanDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, at) => sum + Math.abs(x - b[at]), 0) / a.length;
}

test("Llama gives PyTorch's logits for prompts read at once, in chunks and byte by byte", () =>
  withModel(async (model, { reference: { prompts } }) => {
    for (const chunk of [Infinity, 7, 1]) {
      for (const batch of [prompts, ...prompts.map((prompt) => [prompt])]) {
        const { compared, difference } = await checkPrompts(model, batch, chunk);
        assert(compared >= 256 * batch.length);
        assertLess(difference, TOLERANCE, `${batch.length} prompts in chunks of ${chunk}`);
      }
    }
  }));

test("Llama.forward() gives a sequence of a batch the logits that it has alone", () =>
  withModel(async (model) => {
    for (const chunk of [Infinity, 7]) {
      const together = await readInChunks(model, texts, { chunk });
      for (const [at, text] of texts.entries()) {
        const [alone] = await readInChunks(model, [text], { chunk });
        assertLess(greatestDifference(together[at], alone), TOLERANCE);
      }
    }
  }));

test("Llama.forward() gives the same bits in a batch and alone, byte by byte", () =>
  withModel(async (model) => {
    const prompts = texts.slice(0, 2);
    const together = await readInChunks(model, prompts, { chunk: 1 });
    for (const [at, text] of prompts.entries()) {
      assertEquals(together[at], (await readInChunks(model, [text], { chunk: 1 }))[0]);
    }
  }));

test("Llama continues greedily with PyTorch's bytes, each prompt alone and all together", () =>
  withModel(async (model, { reference: { prompts } }) => {
    for (const batch of [prompts, ...prompts.map((prompt) => [prompt])]) {
      const count = Math.max(...batch.map(({ greedy }) => greedy.length));
      const { bytes } = await write(model, batch.map(({ tokens }) => tokens), count);
      for (const [at, { greedy, smallestMargin }] of batch.entries()) {
        assertLess(2 * TOLERANCE, smallestMargin, "the choice is not safe from rounding");
        assertEquals(decoded(bytes[at].slice(0, greedy.length)), decoded([...greedy]));
      }
    }
  }));

test(
  "Llama has PyTorch's mean loss on text that it was not trained on",
  inWholeRuns,
  () =>
    withModel(async (model, { reference }) => {
      const text = new Uint8Array(await readFile(`${modelFolder}/held_out_text.txt`));
      const all = await losses(model, text, { chunk: Infinity });
      assertEquals(all.length, 20 * model.config.context);
      assertAlmostEquals(mean(all), reference.lossPerByte, 1e-6);
    }),
);

/** Twice the mean change that was measured; wrong keys or values change logits by several. */
const closeEnough: readonly [StoredAs, number][] = [
  [{ dtype: "f16" }, 0.0025],
  [{ dtype: "bf16" }, 0.02],
  [{ dtype: "int8" }, 0.065],
  [{ dtype: "int8", smoothKeys: true }, 0.065],
  [{ dtype: "int4" }, 1.1],
  [{ dtype: "int4", smoothKeys: true }, 1.1],
];

test(
  "Llama is close to itself with every storage of its caches",
  inWholeRuns,
  () =>
    withModel(async (model, { reference }) => {
      const prompts = reference.prompts.map(({ tokens }) => tokens);
      const read = async (storage: StoredAs) => {
        const logits = await readInChunks(model, prompts, { chunk: 1, prompt: 6, ...storage });
        return Float32Array.from(logits.flatMap((part) => [...part]));
      };
      const exact = await read({ dtype: "f32" });
      for (const [storage, most] of closeEnough) {
        const difference = meanDifference(await read(storage), exact);
        assert(difference > 0, `${storage.dtype} does not round`);
        assertLess(difference, most, JSON.stringify(storage));
      }
    }),
);

test("Llama.forward() refuses no tokens, more than fit, and other sequences", () =>
  withModel(async (model) => {
    using caches = model.createCaches({ sequences: 1 });
    await assertRejects(
      () => model.forward([new Uint8Array(0)], caches, "last"),
      RangeError,
      "Cannot read 0 tokens after 0: expected 1 to 256",
    );
    await model.forward([new Uint8Array(250)], caches, "last");
    await assertRejects(
      () => model.forward([new Uint8Array(7)], caches, "last"),
      RangeError,
      "Cannot read 7 tokens after 250: expected 1 to 6",
    );
    await assertRejects(
      () => model.forward(texts, caches, "last"),
      RangeError,
      "Cannot read tokens of 3 sequences: the caches have 1",
    );
  }));

test("generate() stops where the context ends, each prompt for itself", () =>
  withModel(async (model) => {
    const { generation, bytes } = await write(model, texts, 9);
    assertEquals(bytes.map(({ length }) => length), [9, 9, 6]);
    assertEquals(generation.generated, [9, 9, 6]);
    const { prefill, decode } = generation;
    assertEquals([prefill.tokens, decode.tokens], [267, 8 + 8 + 5]);
    assert(prefill.attentionMs <= prefill.ms && decode.attentionMs <= decode.ms);
  }));

test(
  "generate() draws the same bytes for a prompt alone and among others",
  inWholeRuns,
  () =>
    withModel(async (model) => {
      const sampler = () => createSampler({ temperature: 1, topK: 40, seed: 3 });
      const together = await write(model, texts, 12, sampler);
      for (const [at, text] of texts.entries()) {
        assertEquals((await write(model, [text], 12, sampler)).bytes[0], together.bytes[at]);
      }
    }),
);

test("generate() waits for its listener before it goes on", () =>
  withModel(async (model) => {
    let busy = false;
    const options = { count: 3, sampler: () => likeliest };
    await generate(model, texts.slice(0, 2), options, async () => {
      assert(!busy);
      busy = true;
      await new Promise((resolve) => setTimeout(resolve, 1));
      busy = false;
    });
    assert(!busy);
  }));

function decoded(bytes: readonly number[]): string {
  return new TextDecoder().decode(Uint8Array.from(bytes));
}
