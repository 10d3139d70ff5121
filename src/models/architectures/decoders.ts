/**
 * Decoders.
 *
 * @module
 */

import type { Architecture, Names } from "./architecture.ts";
import type { Fields } from "./fields.ts";

/** Names as Llama has them, which most have taken over. */
const llamaNames: Names = {
  prefixes: ["model.", "", "language_model.model.", "model.language_model."],
  embedding: "embed_tokens",
  layer: "layers.{}.",
  layers: {
    qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    output: "self_attn.o_proj",
    feed: ["mlp.gate_proj", "mlp.up_proj"],
    down: "mlp.down_proj",
    attentionNorm: "input_layernorm",
    feedNorm: "post_attention_layernorm",
  },
  finalNorm: "norm",
  heads: ["lm_head", "language_model.lm_head"],
  ignored: /rotary_emb\.inv_freq$|^(?:model\.)?(?:vision_tower|multi_modal_projector)\./,
};

/** The same in GGUF files. */
const llamaGguf: Names = {
  prefixes: [""],
  embedding: "token_embd",
  layer: "blk.{}.",
  layers: {
    qkv: ["attn_q", "attn_k", "attn_v"],
    output: "attn_output",
    feed: ["ffn_gate", "ffn_up"],
    down: "ffn_down",
    attentionNorm: "attn_norm",
    feedNorm: "ffn_norm",
  },
  finalNorm: "output_norm",
  heads: ["output"],
  ignored: /^rope_(?:freqs|factors_long|factors_short)\.weight$/,
};

/** Gemma has norms around attention and feed-forward. */
const gemmaNames: Names = {
  ...llamaNames,
  layers: {
    ...llamaNames.layers,
    attentionAfter: "post_attention_layernorm",
    feedNorm: "pre_feedforward_layernorm",
    feedAfter: "post_feedforward_layernorm",
  },
};

const gemmaGguf: Names = {
  ...llamaGguf,
  layers: {
    ...llamaGguf.layers,
    attentionAfter: "post_attention_norm",
    feedAfter: "post_ffw_norm",
  },
};

function withHeadNorms(names: Names, query: string, key: string): Names {
  return { ...names, layers: { ...names.layers, headNorms: [query, key] } };
}

function withHeadNormsInGguf(names: Names): Names {
  return withHeadNorms(names, "attn_q_norm", "attn_k_norm");
}

/** A token sees itself and those before, as many as the window has. */
function causalWindow(config: Fields): readonly [number, number] | undefined {
  const size = config.optional("sliding_window");
  return size === undefined ? undefined : [size - 1, 0];
}

const llama: Architecture = {
  kind: "decoder",
  names: llamaNames,
  gguf: llamaGguf,
  block: "before",
  norm: "rms",
  eps: 1e-6,
  activation: "silu",
  isGated: true,
  biases: {
    qkv: "attention_bias",
    output: "attention_bias",
    feed: "mlp_bias",
    down: "mlp_bias",
  },
  ggufStyle: "interleaved",
  usesRope: true,
};

/** Those that see a window where `use_sliding_window` says so. */
const windowed: Partial<Architecture> = {
  slides: (layer, config) =>
    config.isTrue("use_sliding_window") && layer >= config.count(["max_window_layers"], 28),
  window: causalWindow,
  ggufStyle: undefined,
};

const gemma2: Architecture = {
  ...llama,
  ...{ names: gemmaNames, gguf: gemmaGguf, ggufStyle: undefined },
  ...{ block: "around", normOffset: 1, activation: "gelu-tanh" },
  ...{ isTied: true, scalesEmbedding: true },
  biases: { qkv: "attention_bias", output: "attention_bias" },
  slides: (layer) => layer % 2 === 0,
  window: causalWindow,
};

/** Both ways a window has its half on each side, the token itself apart. */
function gemma3Window(config: Fields): readonly [number, number] | undefined {
  const size = config.optional("sliding_window"), side = Math.floor(size! / 2);
  if (size === undefined) return undefined;
  return config.isTrue("use_bidirectional_attention") ? [side, side] : [size - 1, 0];
}

const gemma3: Architecture = {
  ...gemma2,
  names: withHeadNorms(gemmaNames, "self_attn.q_norm", "self_attn.k_norm"),
  gguf: withHeadNormsInGguf(gemmaGguf),
  theta: { full_attention: 1e6, sliding_attention: 1e4 },
  slides: (layer, config) =>
    (layer + 1) % config.count(["sliding_window_pattern", "_sliding_window_pattern"], 6) !== 0,
  window: gemma3Window,
};

const qwen2: Architecture = { ...llama, ...windowed, biases: { qkv: true } };

const qwen3: Architecture = {
  ...qwen2,
  names: withHeadNorms(llamaNames, "self_attn.q_norm", "self_attn.k_norm"),
  gguf: withHeadNormsInGguf(llamaGguf),
  biases: { qkv: "attention_bias", output: "attention_bias" },
};

const phi3: Architecture = {
  ...llama,
  names: {
    ...llamaNames,
    layers: { ...llamaNames.layers, qkv: ["self_attn.qkv_proj"], feed: ["mlp.gate_up_proj"] },
  },
  gguf: { ...llamaGguf, layers: { ...llamaGguf.layers, qkv: ["attn_qkv"], feed: ["ffn_up"] } },
  ggufStyle: undefined,
  biases: {},
  eps: 1e-5,
  slides: () => true,
  window: causalWindow,
};

/** Whether a layer of SmolLM3 rotates: by its list, or all but every fourth. */
function smollm3Rotates(layer: number, config: Fields): boolean {
  const list = config.given("no_rope_layers"); // 1 where there is a rotation.
  if (Array.isArray(list)) return Boolean(list[layer]);
  return (layer + 1) % config.count(["no_rope_layer_interval"], 4) !== 0;
}

const smollm3: Architecture = {
  ...llama,
  gguf: undefined,
  theta: 2e6,
  slides: (layer, config) => config.isTrue("use_sliding_window") && !smollm3Rotates(layer, config),
  window: causalWindow,
  rotates: smollm3Rotates,
};

const gpt2: Architecture = {
  kind: "decoder",
  names: {
    prefixes: ["transformer.", ""],
    embedding: "wte",
    positions: "wpe",
    layer: "h.{}.",
    layers: {
      qkv: ["attn.c_attn"],
      output: "attn.c_proj",
      feed: ["mlp.c_fc"],
      down: "mlp.c_proj",
      attentionNorm: "ln_1",
      feedNorm: "ln_2",
    },
    finalNorm: "ln_f",
    heads: ["lm_head"],
    ignored: /attn\.(?:masked_)?bias$/, // The causal mask, as older files have it.
  },
  block: "before",
  norm: "layer",
  eps: 1e-5,
  activation: "gelu-tanh",
  isGated: false,
  biases: { qkv: true, output: true, feed: true, down: true, norm: true },
  isInOut: true,
  isTied: true,
  refuses: (config) =>
    (config.given("scale_attn_weights") === false && "`scale_attn_weights: false`") ||
    (config.isTrue("scale_attn_by_inverse_layer_idx") && "`scale_attn_by_inverse_layer_idx`"),
};

/** By `model_type`, and by the architecture's name in GGUF. */
export const decoders: Readonly<Record<string, Architecture>> = {
  llama,
  mistral: { ...llama, biases: {}, slides: () => true, window: causalWindow },
  qwen2,
  qwen3,
  gemma2,
  gemma3,
  gemma3_text: gemma3,
  phi3,
  smollm3,
  gpt2,
};
