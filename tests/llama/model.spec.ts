import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import type { Decoder, SessionOptions } from "@flashtile/attention/models";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { generate, type Generation } from "../../examples/llama/generate.ts";
import { readAtOnce, readByTokens } from "../../examples/llama/logits.ts";
import { lossOf, mean, windowsOf } from "../../examples/llama/loss.ts";
import { checkLogits, compareAll, TOLERANCE } from "../../examples/llama/reference.ts";
import { createSampler, type SampleOptions } from "../../examples/llama/sample.ts";
import { inWholeRuns, longTest } from "../support/share.ts";
import { modelFolder, withModel } from "./fixtures.ts";

const encoded = (text: string) => new TextEncoder().encode(text);

/** Prompts of different lengths, the last without room for many bytes. */
const texts = ["In the beginning", "A", "x".repeat(250)].map(encoded);

const likeliest: SampleOptions = { temperature: 0, topK: 40, seed: 1 };

interface Written {
  readonly generation: Generation;
  readonly bytes: readonly number[][];
}

async function write(
  decoder: Decoder,
  prompts: readonly Uint8Array[],
  count: number,
  options = likeliest,
): Promise<Written> {
  const bytes = prompts.map((): number[] => []);
  const generation = await generate(
    decoder,
    prompts,
    { count, sampler: () => createSampler(options) },
    (byte, prompt) => void bytes[prompt].push(byte),
  );
  return { generation, bytes };
}

function meanDifference(a: Float32Array, b: Float32Array): number {
  assertEquals(a.length, b.length);
  return a.reduce((sum, x, at) => sum + Math.abs(x - b[at]), 0) / a.length;
}

longTest(
  "the demo's model gives PyTorch's logits for prompts read at once and byte by byte",
  () =>
    withModel(async ({ decoder, reference }) => {
      const { compared, difference } = await checkLogits(decoder, reference);
      assertEquals(compared, 2 * 38 * 256);
      assertLess(difference, TOLERANCE);
    }),
);

test("compareAll() finds one wrong logit, and one that is none", () =>
  withModel(async ({ decoder, reference: { prompts } }) => {
    const logits = await readAtOnce(decoder, prompts.map(({ tokens }) => tokens));
    assertLess(compareAll(logits, prompts).difference, TOLERANCE);
    logits[1][logits[1].length - 1] += 0.5;
    assertAlmostEquals(compareAll(logits, prompts).difference, 0.5, TOLERANCE);
    logits[1][logits[1].length - 1] = NaN;
    assertEquals(compareAll(logits, prompts).difference, NaN);
  }));

test("readByTokens() gives the same bits in a batch and alone", () =>
  withModel(async ({ decoder }) => {
    const some = texts.slice(0, 2), together = await readByTokens(decoder, some);
    for (const [at, text] of some.entries()) {
      assertEquals(together[at], (await readByTokens(decoder, [text]))[0]);
    }
  }));

longTest(
  "the demo continues greedily with PyTorch's bytes, each prompt alone and all together",
  () =>
    withModel(async ({ decoder, reference: { prompts } }) => {
      for (const batch of [prompts, ...prompts.map((prompt) => [prompt])]) {
        const count = Math.max(...batch.map(({ greedy }) => greedy.length));
        const { bytes } = await write(decoder, batch.map(({ tokens }) => tokens), count);
        for (const [at, { greedy, smallestMargin }] of batch.entries()) {
          assertLess(2 * TOLERANCE, smallestMargin, "the choice is not safe from rounding");
          assertEquals(decoded(bytes[at].slice(0, greedy.length)), decoded([...greedy]));
        }
      }
    }),
);

test(
  "the demo's model has PyTorch's mean loss on text that it was not trained on",
  inWholeRuns,
  () =>
    withModel(async ({ decoder, reference }) => {
      const text = new Uint8Array(await readFile(`${modelFolder}/held_out_text.txt`));
      const windows = windowsOf(text, decoder.maxTokens);
      const logits = await readAtOnce(decoder, windows.map(({ tokens }) => tokens));
      const all = windows.flatMap(({ next }, at) => [...lossOf(logits[at], next)]);
      assertEquals(all.length, 20 * decoder.maxTokens);
      assertAlmostEquals(mean(Float64Array.from(all)), reference.lossPerByte, 1e-6);
    }),
);

/** Twice the mean change that was measured; wrong keys or values change logits by several. */
const closeEnough: readonly [SessionOptions["dtype"], number][] = [
  ["f16", 0.0025],
  ["bf16", 0.02],
  ["int8", 0.065],
  ["int4", 1.1],
];

test(
  "the demo's model is close to itself with every storage of its caches",
  inWholeRuns,
  () =>
    withModel(async ({ decoder, reference }) => {
      const prompts = reference.prompts.map(({ tokens }) => tokens);
      const read = async (dtype: SessionOptions["dtype"]) => {
        const logits = await readByTokens(decoder, prompts, dtype);
        return Float32Array.from(logits.flatMap((part) => [...part]));
      };
      const exact = await read("f32");
      for (const [dtype, most] of closeEnough) {
        const difference = meanDifference(await read(dtype), exact);
        assert(difference > 0, `${dtype} does not round`);
        assertLess(difference, most, dtype);
      }
    }),
);

test("generate() stops where the context ends, each prompt for itself", () =>
  withModel(async ({ decoder }) => {
    const { generation, bytes } = await write(decoder, texts, 9);
    assertEquals(bytes.map(({ length }) => length), [9, 9, 6]);
    assertEquals([generation.generated, generation.full], [[9, 9, 6], [2]]);
    const { prefill, decode } = generation;
    assertEquals([prefill.tokens, decode.tokens], [267, 8 + 8 + 5]);
    assert(prefill.ms > 0 && decode.ms > 0);
  }));

test("generate() ends a continuation behind the token that ends it, and the others go on", () =>
  withModel(async ({ decoder }) => {
    const read: [number, number][] = [];
    const { generated, full } = await generate(decoder, texts.slice(0, 2), {
      count: 4,
      sampler: () => createSampler(likeliest),
      ends: (token, count) => read.push([token, count]) === 3,
    }, () => {});
    assertEquals([generated, full], [[2, 4], []]);
    assertEquals(read.map(([, count]) => count), [1, 1, 2, 2, 3]);
  }));

test(
  "generate() draws the same bytes for a prompt alone and among others",
  inWholeRuns,
  () =>
    withModel(async ({ decoder }) => {
      const options = { temperature: 1, topK: 40, seed: 3 };
      const together = await write(decoder, texts, 12, options);
      for (const [at, text] of texts.entries()) {
        assertEquals((await write(decoder, [text], 12, options)).bytes[0], together.bytes[at]);
      }
    }),
);

test("generate() waits for its listener before it goes on", () =>
  withModel(async ({ decoder }) => {
    let busy = false;
    const options = { count: 3, sampler: () => createSampler(likeliest) };
    await generate(decoder, texts.slice(0, 2), options, async () => {
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
