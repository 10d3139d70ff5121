import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { formatConfig, parseConfig } from "../../examples/train/config.ts";
import { InputError } from "../../examples/llama/error.ts";
import { modelFolder } from "../llama/fixtures.ts";

const good = {
  model_type: "llama",
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  vocab_size: 256,
  max_position_embeddings: 64,
};

function refuses(fields: Record<string, unknown>, message: string): void {
  const json = JSON.stringify({ ...good, ...fields });
  assertThrows(() => parseConfig(json, "config.json"), InputError, message);
}

test("parseConfig() reads the demo's config.json", async () => {
  const path = `${modelFolder}/config.json`;
  assertEquals(parseConfig(await readFile(path, "utf8"), path), {
    hiddenSize: 192,
    intermediateSize: 512,
    layers: 4,
    heads: 6,
    kvHeads: 2,
    headDim: 32,
    vocabSize: 256,
    context: 256,
    normEpsilon: 1e-5,
    ropeTheta: 10000,
    tiedEmbeddings: true,
  });
});

test("parseConfig() fills absent fields as Hugging Face does", () => {
  const config = parseConfig(JSON.stringify(good), "config.json");
  assertEquals(config.kvHeads, 6);
  assertEquals(config.headDim, 2);
  assertEquals(config.normEpsilon, 1e-6);
  assertEquals(config.ropeTheta, 10000);
  assertEquals(config.tiedEmbeddings, false);
});

test("parseConfig() refuses what is not a JSON object", () => {
  const message = "Cannot use config.json: it";
  assertThrows(() => parseConfig("{", "config.json"), InputError, `${message} is not JSON`);
  assertThrows(() => parseConfig("[]", "config.json"), InputError, `${message} must hold a JSON`);
});

test("parseConfig() refuses missing and impossible sizes by name", () => {
  refuses({ hidden_size: undefined }, "`hidden_size` must be a whole number >= 1, got undefined");
  refuses({ num_hidden_layers: 0 }, "`num_hidden_layers` must be a whole number >= 1, got 0");
  refuses({ intermediate_size: "20" }, '`intermediate_size` must be a whole number >= 1, got "20"');
  refuses({ hidden_size: 13 }, "`head_dim` must be a whole number >= 1, got 2.16");
  refuses({ head_dim: 3 }, "`head_dim` must be even, RoPE turns pairs, got 3");
  refuses(
    { num_key_value_heads: 4 },
    "`num_key_value_heads` must divide `num_attention_heads` = 6",
  );
  refuses({ vocab_size: 32000 }, "`vocab_size` must be 256, a token of this example is a byte");
  refuses({ rms_norm_eps: 0 }, "`rms_norm_eps` must be a number > 0, got 0");
  refuses({ tie_word_embeddings: 1 }, "`tie_word_embeddings` must be true or false, got 1");
});

test("parseConfig() refuses a kind of Llama that the example does not train", () => {
  refuses({ model_type: "mistral" }, '`model_type` must be "llama", got "mistral"');
  refuses({ hidden_act: "gelu" }, '`hidden_act` must be "silu", got "gelu"');
  refuses({ rope_scaling: { type: "linear" } }, "`rope_scaling` must be null");
  refuses({ attention_bias: true }, "`attention_bias` must be false, got true");
});

test("formatConfig() writes what parseConfig() reads", () => {
  const sizes = {
    ...good,
    head_dim: 4,
    rms_norm_eps: 1e-6,
    rope_theta: 500,
    tie_word_embeddings: true,
  };
  const config = parseConfig(JSON.stringify(sizes), "config.json");
  assertEquals(parseConfig(JSON.stringify(formatConfig(config)), "config.json"), config);
});
