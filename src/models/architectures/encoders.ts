/**
 * Encoders.
 *
 * @module
 */

import type { Architecture, Names } from "./architecture.ts";
import type { Fields } from "./fields.ts";

/** Heads of the tasks that encoders are trained with, poolers, and positions that some files have. */
const ignored =
  /(?:^|\.)position_ids$|^(?:\w+\.)?pooler\.|^(?:cls|lm_head|classifier|qa_outputs|score|head|decoder|pre_classifier|vocab_\w+)\./;

const bertNames: Names = {
  prefixes: ["", "bert.", "model."],
  embedding: "embeddings.word_embeddings",
  positions: "embeddings.position_embeddings",
  types: "embeddings.token_type_embeddings",
  embeddingNorm: "embeddings.LayerNorm",
  layer: "encoder.layer.{}.",
  layers: {
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    output: "attention.output.dense",
    feed: ["intermediate.dense"],
    down: "output.dense",
    attentionNorm: "attention.output.LayerNorm",
    feedNorm: "output.LayerNorm",
  },
  ignored,
};

/** What BERT's configs may say that is another model. */
function refusesBert(config: Fields): string | false {
  const type = config.given("position_embedding_type") ?? "absolute";
  return (type !== "absolute" && `\`position_embedding_type\` of ${JSON.stringify(type)}`) ||
    (config.isTrue("is_decoder") && "`is_decoder`") ||
    (config.isTrue("add_cross_attention") && "`add_cross_attention`");
}

const bert: Architecture = {
  kind: "encoder",
  names: bertNames,
  block: "after",
  norm: "layer",
  eps: 1e-12,
  activation: "gelu",
  isGated: false,
  biases: { qkv: true, output: true, feed: true, down: true, norm: true },
  refuses: refusesBert,
};

const roberta: Architecture = {
  ...bert,
  names: { ...bertNames, prefixes: ["", "roberta.", "model."] },
  positionsBehindPad: true,
};

const distilbert: Architecture = {
  ...bert,
  names: {
    ...bertNames,
    prefixes: ["", "distilbert."],
    types: undefined,
    layer: "transformer.layer.{}.",
    layers: {
      qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
      output: "attention.out_lin",
      feed: ["ffn.lin1"],
      down: "ffn.lin2",
      attentionNorm: "sa_layer_norm",
      feedNorm: "output_layer_norm",
    },
  },
};

const mpnet: Architecture = {
  ...roberta,
  names: {
    ...bertNames,
    prefixes: ["", "mpnet."],
    types: undefined,
    relative: "encoder.relative_attention_bias",
    layers: {
      ...bertNames.layers,
      qkv: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
      output: "attention.attn.o",
      attentionNorm: "attention.LayerNorm",
    },
  },
};

/** Half of the window on each side, the token itself apart. */
function modernbertWindow(config: Fields): readonly [number, number] | undefined {
  const side = Math.floor(config.count(["local_attention"], 128) / 2);
  return [side, side];
}

const modernbert: Architecture = {
  kind: "encoder",
  names: {
    prefixes: ["", "model."],
    embedding: "embeddings.tok_embeddings",
    embeddingNorm: "embeddings.norm",
    layer: "layers.{}.",
    layers: {
      qkv: ["attn.Wqkv"],
      output: "attn.Wo",
      feed: ["mlp.Wi"],
      down: "mlp.Wo",
      attentionNorm: "attn_norm",
      feedNorm: "mlp_norm",
    },
    finalNorm: "final_norm",
    ignored,
  },
  block: "before",
  norm: "layer",
  eps: 1e-5,
  activation: "gelu",
  isGated: true,
  biases: {
    qkv: "attention_bias",
    output: "attention_bias",
    feed: "mlp_bias",
    down: "mlp_bias",
    norm: "norm_bias",
  },
  usesRope: true,
  theta: { full_attention: 160_000, sliding_attention: 10_000 },
  lacksFirstNorm: true,
  slides: (layer, config) => layer % config.count(["global_attn_every_n_layers"], 3) !== 0,
  window: modernbertWindow,
};

/** Choices that Nomic's own code has and none of its published models makes. */
const nomicOthers = [
  ...["prenorm", "parallel_block", "use_rms_norm", "causal", "rotary_emb_interleaved"],
  ...["qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"],
];

const nomic: Architecture = {
  kind: "encoder",
  names: {
    prefixes: ["", "bert."],
    embedding: "embeddings.word_embeddings",
    types: "embeddings.token_type_embeddings",
    embeddingNorm: "emb_ln",
    layer: "encoder.layers.{}.",
    layers: {
      qkv: ["attn.Wqkv"],
      output: "attn.out_proj",
      feed: ["mlp.fc12", "mlp.fc11"], // The second is the gate.
      down: "mlp.fc2",
      attentionNorm: "norm1",
      feedNorm: "norm2",
    },
    ignored,
  },
  block: "after",
  norm: "layer",
  eps: 1e-12,
  activation: "silu",
  isGated: true,
  biases: { norm: true },
  usesRope: true,
  theta: 1000,
  // Beyond these another rotation begins, which depends on a text's length.
  mostTokens: (config) =>
    config.given("rotary_scaling_factor") === undefined
      ? undefined
      : config.count(["max_trained_positions"], 2048),
  refuses: (config) =>
    nomicOthers.filter((name) => config.isTrue(name)).map((name) => `\`${name}\``).join(", ") ||
    false,
};

/** By `model_type`. EmbeddingGemma is a Gemma 3 that sees both ways. */
export const encoders: Readonly<Record<string, Architecture>> = {
  bert,
  roberta,
  "xlm-roberta": roberta,
  distilbert,
  mpnet,
  modernbert,
  nomic_bert: nomic,
};
