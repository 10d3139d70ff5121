/**
 * The weights of a Llama, found by their Hugging Face names.
 *
 * @module
 */

import type { LlamaConfig } from "./config.ts";

/** A weight matrix as Hugging Face stores it: `[outputs, inputs]`, last axis fastest. */
export interface Matrix {
  /** The elements. */
  readonly data: Float32Array;
  /** Rows: size of a result. */
  readonly outputs: number;
  /** Columns: size of an operand. */
  readonly inputs: number;
}

/** The weights of one layer. */
export interface LayerWeights {
  /** Gain of the norm before attention, `[hidden]`. */
  readonly attentionNorm: Float32Array;
  /** Queries, `[Hq * D, hidden]`. */
  readonly query: Matrix;
  /** Keys, `[Hkv * D, hidden]`. */
  readonly key: Matrix;
  /** Values, `[Hkv * D, hidden]`. */
  readonly value: Matrix;
  /** Attention's way back into the residual stream, `[hidden, Hq * D]`. */
  readonly output: Matrix;
  /** Gain of the norm before SwiGLU, `[hidden]`. */
  readonly mlpNorm: Float32Array;
  /** SwiGLU's gate, `[intermediate, hidden]`. */
  readonly gate: Matrix;
  /** What SwiGLU's gate lets pass, `[intermediate, hidden]`. */
  readonly up: Matrix;
  /** SwiGLU's way back into the residual stream, `[hidden, intermediate]`. */
  readonly down: Matrix;
}

/** All weights of a Llama, as f32. */
export interface LlamaWeights {
  /** A row for each token, `[vocab, hidden]`. */
  readonly embedding: Matrix;
  /** The layers, first to last. */
  readonly layers: readonly LayerWeights[];
  /** Gain of the last norm, `[hidden]`. */
  readonly norm: Float32Array;
  /** Makes the logits, `[vocab, hidden]`; the same matrix as `embedding` when they are tied. */
  readonly head: Matrix;
}

/** Gives the tensor that has this name and this shape. */
export type Take = (name: string, shape: readonly number[]) => Float32Array;

/**
 * Puts a Llama's weights together.
 *
 * @param take Is asked for each tensor once, in the order in which they are used but for the head.
 * @param config The model's sizes.
 */
export function arrangeWeights(take: Take, config: LlamaConfig): LlamaWeights {
  const { hiddenSize, vocabSize } = config;
  const embedding = takeMatrix(take, "model.embed_tokens.weight", vocabSize, hiddenSize);
  return {
    embedding,
    layers: Array.from(
      { length: config.layers },
      (_, layer) => takeLayer(take, `model.layers.${layer}`, config),
    ),
    norm: take("model.norm.weight", [hiddenSize]),
    head: config.tiedEmbeddings
      ? embedding
      : takeMatrix(take, "lm_head.weight", vocabSize, hiddenSize),
  };
}

function takeLayer(take: Take, prefix: string, config: LlamaConfig): LayerWeights {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const norm = (name: string) => take(`${prefix}.${name}.weight`, [hiddenSize]);
  const matrix = (name: string, outputs: number, inputs: number) =>
    takeMatrix(take, `${prefix}.${name}.weight`, outputs, inputs);
  return {
    attentionNorm: norm("input_layernorm"),
    query: matrix("self_attn.q_proj", heads * headDim, hiddenSize),
    key: matrix("self_attn.k_proj", kvHeads * headDim, hiddenSize),
    value: matrix("self_attn.v_proj", kvHeads * headDim, hiddenSize),
    output: matrix("self_attn.o_proj", hiddenSize, heads * headDim),
    mlpNorm: norm("post_attention_layernorm"),
    gate: matrix("mlp.gate_proj", intermediateSize, hiddenSize),
    up: matrix("mlp.up_proj", intermediateSize, hiddenSize),
    down: matrix("mlp.down_proj", hiddenSize, intermediateSize),
  };
}

function takeMatrix(take: Take, name: string, outputs: number, inputs: number): Matrix {
  return { data: take(name, [outputs, inputs]), outputs, inputs };
}
