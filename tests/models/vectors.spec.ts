import { assert, assertEquals } from "@std/assert";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { readModel } from "../../src/models/architectures/read.ts";
import type { GgufFile } from "../../src/models/files/gguf.ts";
import { openWeights } from "../../src/models/files/open.ts";
import { ggufTokenizer, sentencePiece } from "../../src/models/tokens/sentence_piece.ts";
import { type Encoded, floatsOf } from "../support/encoded.ts";
import { assertNear } from "../support/near.ts";
import { referenceModel } from "../support/reference_model.ts";
import { sharedBytes, sharedJson, withShared } from "../support/shared.ts";
import { inWholeRuns, sharedOut } from "../support/share.ts";

/** Folders of models with random weights, and what the transformers package answers. */
const models = "vectors/models", ggufs = "vectors/gguf", real = "real";

/** What a model answers to some ids. */
interface Row {
  readonly ids: number[];
  readonly states?: Encoded;
  readonly logits?: Encoded;
}

const hasModels = withShared(models), hasGgufs = withShared(ggufs);
const names = hasModels.skip ? [] : readdirSync(`../shared/${models}`).sort();
const ggufNames = hasGgufs.skip
  ? []
  : readdirSync(`../shared/${ggufs}`).filter((name) => name.endsWith(".gguf")).sort();

/** A model's weights, and its plan by both spellings of its config. */
async function bothPlans(name: string) {
  const file = await openWeights(sharedBytes(`${models}/${name}/model.safetensors`));
  const of = (spelling: string) =>
    readModel(sharedJson(`${models}/${name}/${spelling}.json`), file);
  return { file, plan: await of("config"), older: await of("config.older") };
}

test(
  "every tensor of 21 architectures is claimed, by both spellings of their configs",
  hasModels,
  async () => {
    assertEquals(names.length, 21);
    for (const name of names) {
      const { plan, older } = await bothPlans(name);
      assertEquals(older, plan, name);
    }
  },
);

test("Nomic's own spelling of its config is read too", hasModels, async () => {
  const { file, plan } = await bothPlans("nomic_bert");
  const published = {
    ...{ model_type: "nomic_bert", n_embd: 48, n_head: 4, n_layer: 2, n_inner: 64 },
    ...{ n_positions: 128, vocab_size: 64, type_vocab_size: 2, layer_norm_epsilon: 1e-12 },
    ...{ rotary_emb_base: 1000, rotary_emb_fraction: 1, activation_function: "swiglu" },
    ...{ rotary_emb_interleaved: false, prenorm: false, qkv_proj_bias: false, pad_token_id: 0 },
  };
  assertEquals(await readModel(published, file), plan);
  // Another rotation begins where the training ended.
  const scaled = { ...published, rotary_scaling_factor: 2, max_trained_positions: 64 };
  assertEquals(await readModel(scaled, file), { ...plan, maxTokens: 64 });
});

test(
  "plans say what 21 architectures are: states and logits by them alone",
  hasModels,
  async () => {
    for (const name of sharedOut(names, 4, "architectures")) {
      const { kind, rows } = sharedJson(`${models}/${name}/expected.json`);
      const { file, plan } = await bothPlans(name), model = await referenceModel(plan, file);
      assertEquals(plan.isCausal, kind === "decoder");
      for (const { ids, states, logits } of rows as Row[]) {
        const what = `${name}, ${ids.length} tokens`;
        if (states) assertNear(model.states(ids), floatsOf(states), 2e-5, what);
        if (logits) assertNear(model.logits(ids), floatsOf(logits), 2e-5, what);
      }
    }
  },
);

test("nine GGUF files are models by what they say themselves", hasGgufs, async () => {
  const expected = sharedJson(`${ggufs}/expected.json`) as Record<string, Row[]>;
  assertEquals(ggufNames, Object.keys(expected).sort());
  for (const name of ggufNames) {
    await readModel(undefined, await openWeights(sharedBytes(`${ggufs}/${name}`)));
  }
  for (const name of sharedOut(ggufNames, 2, "GGUF")) {
    const file = await openWeights(sharedBytes(`${ggufs}/${name}`));
    const model = await referenceModel(await readModel(undefined, file), file);
    for (const { ids, logits } of expected[name]) {
      assertNear(model.logits(ids), floatsOf(logits!), 3e-5, `${name}, ${ids.length} tokens`);
    }
  }
});

/** A continuation of the empty prompt, each token the one with the largest logit. */
interface Story {
  readonly tokens: number[];
  readonly text: string;
  readonly prompt_tokens: number;
  readonly first_logits: number[];
  readonly last_logits: number[];
}

/** Files that tell the published story, or one of their own. */
function stories(): [path: string, Story][] {
  const [published] = sharedJson(`${real}/stories260K.json`) as Story[];
  return [
    [`${real}/stories260K.bin`, published],
    ...Object.entries(sharedJson(`${real}/stories260K-gguf.json`) as Record<string, Story>)
      .map(([name, story]): [string, Story] => [`${real}/${name}`, story]),
  ];
}

test(
  "vocabularies cut and join the published stories",
  withShared(`${real}/tok512.bin`),
  async () => {
    for (const [path, { tokens, text }] of stories()) {
      const tokenizer = path.endsWith(".bin")
        ? sentencePiece(sharedBytes(`${real}/tok512.bin`))
        : ggufTokenizer((await openWeights(sharedBytes(path)) as GgufFile).metadata);
      assertEquals(tokenizer.decode(tokens), text);
      assertEquals([tokenizer.begin, ...tokenizer.encode(text)], tokens);
      const { push, end } = tokenizer.stream(tokens.slice(0, 1));
      assertEquals(tokens.slice(1).map(push).join("") + end(), text);
    }
  },
);

const wholeStories = { ...withShared(`${real}/stories260K.bin`), ...inWholeRuns };

test(
  "the published stories are what each file's plan tells, to the letter",
  wholeStories,
  async () => {
    for (const [path, story] of stories()) {
      const { tokens, prompt_tokens, first_logits, last_logits } = story;
      const format = path.endsWith(".bin") ? "llama2.c" : undefined;
      const file = await openWeights(sharedBytes(path), format);
      const plan = await readModel(undefined, file), model = await referenceModel(plan, file);
      const logits = model.logits(tokens),
        of = (at: number) => logits.subarray(at * plan.vocabulary, (at + 1) * plan.vocabulary);
      for (let at = prompt_tokens; at < tokens.length; at++) {
        const before = of(at - 1);
        assertEquals(before.indexOf(Math.max(...before)), tokens[at], `${path}, token ${at}`);
      }
      assertNear(of(prompt_tokens - 1), first_logits, 1e-9, path);
      assertNear(of(tokens.length - 1), last_logits, 1e-9, path);
    }
  },
);

const wholeMiniLm = { ...withShared(`${real}/minilm/model.safetensors`), ...inWholeRuns };

test("short texts have the embeddings of all-MiniLM-L6-v2", wholeMiniLm, async () => {
  const file = await openWeights(sharedBytes(`${real}/minilm/model.safetensors`));
  const plan = await readModel(sharedJson(`${real}/minilm/config.json`), file);
  const model = await referenceModel(plan, file), { width } = plan;
  const { texts } = sharedJson(`${real}/minilm/embeddings.json`) as {
    texts: { ids: number[]; embedding: number[] }[];
  };
  const short = [...texts].sort((a, b) => a.ids.length - b.ids.length).slice(0, 3);
  for (const { ids, embedding } of short) {
    const sums = new Float64Array(width);
    model.states(ids).forEach((one, at) => sums[at % width] += one);
    const length = Math.hypot(...sums),
      cosine = sums.reduce((a, x, at) => a + x / length * embedding[at], 0);
    assert(cosine > 1 - 1e-8, `${ids.length} tokens: ${cosine}`);
  }
});
