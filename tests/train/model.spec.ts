import { test } from "node:test";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { createEngine, type Engine } from "@flashtile/attention";
import { loadDecoder } from "@flashtile/attention/models";
import { readAtOnce } from "../../examples/llama/logits.ts";
import { formatSafetensors } from "../../examples/train/safetensors_writer.ts";
import { Attention } from "../../examples/train/attention.ts";
import { formatConfig } from "../../examples/train/config.ts";
import { TrainableLlama } from "../../examples/train/model.ts";
import type { Windows } from "../../examples/train/windows.ts";
import { numbers, randomParameters, tiny } from "./fixtures.ts";
import * as oracle from "./oracle.ts";
import { assertGradient, gradientOf } from "./oracle.ts";
import { longTest } from "../support/share.ts";

const configs = {
  "tied embeddings": tiny,
  "a head of its own": { ...tiny, tiedEmbeddings: false, layers: 1, kvHeads: 1 },
};

/** Windows of tokens that the tiny model has, some of them more than once. */
const windows: Windows = {
  tokens: Uint8Array.of(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9),
  targets: Uint8Array.of(1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 0),
};

async function withEngine(use: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

for (const [name, config] of Object.entries(configs)) {
  longTest(
    `TrainableLlama has the loss and all gradients of its formulas: ${name}`,
    () =>
      withEngine(async (engine) => {
        const learned = randomParameters(config), { tensors } = learned.weight;
        const model = new TrainableLlama(config, learned, new Attention(config, engine), engine);
        const { loss, backward } = await model.forward(windows);
        await backward();
        const weights = oracle.doubled(tensors);
        const expected = () => oracle.lossOf(weights, config, windows);
        assertAlmostEquals(loss, expected(), 1e-5);
        for (const { name, data } of learned.gradient.tensors) {
          assertGradient(data, gradientOf(expected, weights.get(name)!), name);
        }
      }),
  );
}

test("Attention has the gradients of causal attention with shared keys", () =>
  withEngine(async (engine) => {
    const { context, heads, kvHeads, headDim } = tiny, rows = 3 * context;
    const q = numbers(rows * heads * headDim, 1), dy = numbers(q.length, 4);
    const [k, v] = [2, 3].map((seed) => numbers(rows * kvHeads * headDim, seed));
    const { out, backward } = await new Attention(tiny, engine).attend(q, k, v);
    const { dQueries, dKeys, dValues } = await backward(dy);
    const [q64, k64, v64] = [q, k, v].map((values) => Float64Array.from(values));
    const attended = () => oracle.attend(q64, k64, v64, tiny);
    const loss = () => attended().reduce((sum, value, at) => sum + value * dy[at], 0);
    assertGradient(out, attended(), "out");
    assertGradient(dQueries, gradientOf(loss, q64), "queries");
    assertGradient(dKeys, gradientOf(loss, k64), "keys");
    assertGradient(dValues, gradientOf(loss, v64), "values");
  }));

test("Attention says how long the library took", () =>
  withEngine(async (engine) => {
    const attention = new Attention(tiny, engine);
    assertEquals(attention.ms, 0);
    const { context, heads, kvHeads, headDim } = tiny;
    const [q, kv] = [heads, kvHeads].map((count) => numbers(context * count * headDim, 1));
    const { backward } = await attention.attend(q, kv, kv);
    const forward = attention.ms;
    assert(forward > 0);
    await backward(q);
    assert(attention.ms > forward);
  }));

test("TrainableLlama's second windows add to the gradients of the first", () =>
  withEngine(async (engine) => {
    const learned = randomParameters(tiny), { all } = learned.gradient;
    const model = new TrainableLlama(tiny, learned, new Attention(tiny, engine), engine);
    await (await model.forward(windows)).backward();
    const once = all.slice();
    await (await model.forward(windows)).backward();
    for (const [at, value] of once.entries()) assertAlmostEquals(all[at], 2 * value, 1e-5);
  }));

test("saved weights give the model that continues texts the loss of the one that learned", () =>
  withEngine(async (engine) => {
    const config = { ...tiny, vocabSize: 256 }, learned = randomParameters(config);
    const trained = new TrainableLlama(config, learned, new Attention(config, engine), engine);
    const { loss } = await trained.forward(windows);
    const file = formatSafetensors(learned.weight.tensors);
    const source = { config: formatConfig(config), weights: file };
    using decoder = await loadDecoder(source, { engine });
    const texts = [0, 5, 10].map((begin) => windows.tokens.subarray(begin, begin + 5));
    const logits = await readAtOnce(decoder, texts);
    const together = Float64Array.from(logits.flatMap((part) => [...part]));
    assertAlmostEquals(oracle.crossEntropy(together, windows.targets), loss, 1e-5);
  }));
