import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertLess, assertRejects } from "@std/assert";
import { generate } from "../../examples/llama/generate.ts";
import type { Llama } from "../../examples/llama/model.ts";
import { checkPrompt, TOLERANCE } from "../../examples/llama/reference.ts";
import { likeliest } from "../../examples/llama/sample.ts";
import { modelFolder, withModel } from "./fixtures.ts";

test("Llama gives PyTorch's logits for a prompt read at once, in chunks and byte by byte", () =>
  withModel(async (model, { reference }) => {
    for (const prompt of reference.prompts) {
      for (const chunk of [Infinity, 7, 1]) {
        const { compared, difference } = await checkPrompt(model, prompt, chunk);
        assert(compared >= 256);
        assertLess(difference, TOLERANCE, `${prompt.tokens.length} bytes in chunks of ${chunk}`);
      }
    }
  }));

test("Llama continues greedily with PyTorch's bytes", () =>
  withModel(async (model, { reference }) => {
    for (const { tokens, greedy, smallestMargin } of reference.prompts) {
      assertLess(2 * TOLERANCE, smallestMargin, "the choice is not safe from rounding");
      const bytes: number[] = [];
      await generate(model, tokens, greedy.length, likeliest, (byte) => void bytes.push(byte));
      assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)), decoded(greedy));
    }
  }));

test("Llama has PyTorch's mean loss on text that it was not trained on", () =>
  withModel(async (model, { reference, config }) => {
    const text = new Uint8Array(await readFile(`${modelFolder}/held_out_text.txt`));
    const window = config.context;
    const losses: number[] = [];
    for (let begin = 0; begin + window < text.length; begin += window) {
      losses.push(await windowLoss(model, text.subarray(begin, begin + window + 1)));
    }
    assertEquals(losses.length, 20);
    const mean = losses.reduce((a, b) => a + b) / losses.length;
    assertAlmostEquals(mean, reference.lossPerByte, 1e-6);
  }));

test("Llama.forward() refuses no tokens and more than fit", () =>
  withModel(async (model) => {
    const store = model.createStore();
    await assertRejects(
      () => model.forward(new Uint8Array(0), store, "last"),
      RangeError,
      "Cannot read 0 tokens after 0: expected 1 to 256",
    );
    await model.forward(new Uint8Array(250), store, "last");
    await assertRejects(
      () => model.forward(new Uint8Array(7), store, "last"),
      RangeError,
      "Cannot read 7 tokens after 250: expected 1 to 6",
    );
  }));

test("generate() stops where the context ends and says so", () =>
  withModel(async (model) => {
    const bytes: number[] = [];
    const prompt = new Uint8Array(253).fill(32);
    const run = await generate(model, prompt, 9, likeliest, (byte) => void bytes.push(byte));
    assertEquals(bytes.length, 3);
    assertEquals([run.generated, run.contextFull], [3, true]);
    assertEquals([run.prefill.tokens, run.decode.tokens], [253, 2]);
    assert(run.prefill.attentionMs <= run.prefill.ms && run.decode.attentionMs <= run.decode.ms);
  }));

test("generate() waits for its listener before it goes on", () =>
  withModel(async (model) => {
    let busy = false;
    await generate(model, Uint8Array.of(65), 3, likeliest, async () => {
      assert(!busy);
      busy = true;
      await new Promise((resolve) => setTimeout(resolve, 1));
      busy = false;
    });
    assert(!busy);
  }));

function decoded(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Mean loss of predicting each byte but the first, in nats. */
async function windowLoss(model: Llama, bytes: Uint8Array): Promise<number> {
  const inputs = bytes.subarray(0, -1);
  const logits = await model.forward(inputs, model.createStore(), "all");
  const width = model.config.vocabSize;
  let sum = 0;
  for (let i = 0; i < inputs.length; i++) {
    sum += loss(logits.subarray(i * width, (i + 1) * width), bytes[i + 1]);
  }
  return sum / inputs.length;
}

/** Negative logarithm of a token's probability. */
function loss(logits: Float32Array, token: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  const denominator = logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0);
  return Math.log(denominator) + greatest - logits[token];
}
