/**
 * What a GGUF file says of its model, in the words of a `config.json`.
 *
 * @module
 */

import type { GgufFile } from "../files/gguf.ts";
import { widened } from "../files/widen.ts";
import type { Config } from "./fields.ts";

/** Values behind the architecture's name, and the fields that they are. */
const fields: Readonly<Record<string, string>> = {
  context_length: "max_position_embeddings",
  embedding_length: "hidden_size",
  block_count: "num_hidden_layers",
  feed_forward_length: "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.key_length": "head_dim",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  "attention.sliding_window": "sliding_window",
  attn_logit_softcapping: "attn_logit_softcapping",
  final_logit_softcapping: "final_logit_softcapping",
  vocab_size: "vocab_size",
  expert_count: "num_local_experts",
};

/** Layers of the models whose scores are scaled by the width of a head in the residual stream. */
const wideGemmas: Readonly<Record<string, number>> = { gemma2: 46, gemma3: 62 };

/** What the files of Gemma leave to who reads them, as llama.cpp has it. */
function gemmaFields(architecture: string, config: Config): Config {
  if (!Object.hasOwn(wideGemmas, architecture)) return {};
  const { num_hidden_layers: layers, hidden_size: width, num_attention_heads: heads } = config;
  const isWide = layers === wideGemmas[architecture];
  return {
    query_pre_attn_scalar: isWide ? Number(width) / Number(heads) : config.head_dim,
  };
}

/** Factors of LongRoPE, or of Llama 3's scaling as files hold it: what each frequency is divided by. */
async function factorsIn(file: GgufFile, name: string): Promise<number[] | undefined> {
  const entry = file.entries.get(`${name}.weight`);
  if (entry === undefined) return undefined;
  return Array.from(widened(await file.read(entry.name)));
}

/** How angles are scaled. */
async function scalingOf(
  file: GgufFile,
  architecture: string,
  length: unknown,
): Promise<Config | null> {
  const { metadata } = file, of = (name: string) => metadata.get(`${architecture}.rope.${name}`);
  const original_max_position_embeddings = of("scaling.original_context_length") ?? length;
  const each = await factorsIn(file, "rope_freqs");
  if (each !== undefined) {
    // The same at all lengths, and rows stay as long as they are.
    const rope = { type: "longrope", short_factor: each, long_factor: each, attention_factor: 1 };
    return { ...rope, original_max_position_embeddings: length };
  }
  const long_factor = await factorsIn(file, "rope_factors_long");
  const short_factor = await factorsIn(file, "rope_factors_short");
  if (long_factor && short_factor) {
    const attention_factor = of("scaling.attn_factor");
    const rope = { type: "longrope", short_factor, long_factor, attention_factor };
    return { ...rope, original_max_position_embeddings };
  }
  const factor = of("scaling.factor") ?? of("scale_linear");
  const type = of("scaling.type") ?? (factor === undefined || factor === 1 ? "none" : "linear");
  return type === "none" ? null : { type, factor, original_max_position_embeddings };
}

/** The config of a GGUF file's model. */
export async function ggufConfig(file: GgufFile): Promise<Config> {
  const { metadata, entries } = file, architecture = String(metadata.get("general.architecture"));
  const of = (name: string) => metadata.get(`${architecture}.${name}`);
  const config: Record<string, unknown> = { model_type: architecture };
  for (const [name, field] of Object.entries(fields)) config[field] = of(name);
  const width = Number(config.hidden_size), heads = Number(config.num_attention_heads);
  config.head_dim ??= width / heads;
  // The vocabulary is as long as the table where nothing says it.
  config.vocab_size ??= entries.get("token_embd.weight")?.shape[0];
  const dims = of("rope.dimension_count");
  const theta = of("rope.freq_base"), length = config.max_position_embeddings;
  const rope_scaling = await scalingOf(file, architecture, length);
  const isBiased = (name: string) => entries.has(`blk.0.${name}.bias`);
  const id = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`);
  return {
    ...config,
    ...gemmaFields(architecture, config),
    ...{ rope_theta: theta, rope_scaling },
    // Windows of Gemma 3 have a base of their own, which files do not say.
    ...(architecture === "gemma3" && { rope_local_base_freq: of("rope.freq_base_swa") ?? 1e4 }),
    ...(typeof dims === "number" && { partial_rotary_factor: dims / Number(config.head_dim) }),
    ...{ attention_bias: isBiased("attn_output"), mlp_bias: isBiased("ffn_down") },
    tie_word_embeddings: !entries.has("output.weight"),
    ...{ bos_token_id: id("bos"), eos_token_id: id("eos"), pad_token_id: id("padding") },
  };
}
