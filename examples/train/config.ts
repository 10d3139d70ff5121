/**
 * `config.json` of a Llama as Hugging Face writes it.
 *
 * @module
 */

import { InputError } from "../llama/error.ts";

/** The sizes of a Llama. */
export interface LlamaConfig {
  /** Width of the residual stream. */
  readonly hiddenSize: number;
  /** Width between the two halves of the SwiGLU block. */
  readonly intermediateSize: number;
  /** Number of layers. */
  readonly layers: number;
  /** Query heads, `Hq`. */
  readonly heads: number;
  /** Key and value heads, `Hkv`, a divisor of `heads`. */
  readonly kvHeads: number;
  /** Size of a head, `D`, even. */
  readonly headDim: number;
  /** Number of tokens; 256, because a token is a byte. */
  readonly vocabSize: number;
  /** Longest sequence, in tokens. */
  readonly context: number;
  /** Added to the mean square of RMSNorm. */
  readonly normEpsilon: number;
  /** Base of the wavelengths of RoPE. */
  readonly ropeTheta: number;
  /** Whether the embedding also makes the logits, so that there is no `lm_head.weight`. */
  readonly tiedEmbeddings: boolean;
}

const BYTES = 256;

/**
 * Fields that change what the model computes, and the values that the example trains. A field that
 * is absent has the first of them.
 */
const supported: Readonly<Record<string, readonly unknown[]>> = {
  model_type: ["llama"],
  hidden_act: ["silu"],
  rope_scaling: [null],
  attention_bias: [false],
  mlp_bias: [false],
};

/**
 * Reads and checks a model's sizes.
 *
 * @param json The text of `config.json`.
 * @param source What messages call the file: its path.
 * @throws {InputError} When a field is missing, has an impossible value, or asks for a kind of
 * Llama that the example does not train.
 */
export function parseConfig(json: string, source: string): LlamaConfig {
  const fields = parseFields(json, source);
  for (const [name, values] of Object.entries(supported)) {
    const value = fields[name] ?? values[0];
    if (!values.includes(value)) {
      fail(source, `\`${name}\` must be ${JSON.stringify(values[0])}`, fields[name]);
    }
  }
  const hiddenSize = count(fields, "hidden_size", source);
  const heads = count(fields, "num_attention_heads", source);
  const config: LlamaConfig = {
    hiddenSize,
    intermediateSize: count(fields, "intermediate_size", source),
    layers: count(fields, "num_hidden_layers", source),
    heads,
    kvHeads: count(fields, "num_key_value_heads", source, heads),
    headDim: count(fields, "head_dim", source, hiddenSize / heads),
    vocabSize: count(fields, "vocab_size", source),
    context: count(fields, "max_position_embeddings", source),
    normEpsilon: positive(fields, "rms_norm_eps", source, 1e-6),
    ropeTheta: positive(fields, "rope_theta", source, 10000),
    tiedEmbeddings: flag(fields, "tie_word_embeddings", source, false),
  };
  checkSizes(config, source);
  return config;
}

/**
 * The same sizes as Hugging Face writes them, for what loads a model.
 *
 * @param config The model's sizes.
 */
export function formatConfig(config: LlamaConfig): object {
  return {
    model_type: "llama",
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.context,
    rms_norm_eps: config.normEpsilon,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tiedEmbeddings,
  };
}

function checkSizes(config: LlamaConfig, source: string): void {
  const { heads, kvHeads, headDim, vocabSize } = config;
  if (heads % kvHeads !== 0) {
    fail(source, `\`num_key_value_heads\` must divide \`num_attention_heads\` = ${heads}`, kvHeads);
  }
  if (headDim % 2 !== 0) fail(source, "`head_dim` must be even, RoPE turns pairs", headDim);
  if (vocabSize !== BYTES) {
    fail(source, `\`vocab_size\` must be ${BYTES}, a token of this example is a byte`, vocabSize);
  }
}

type Fields = Readonly<Record<string, unknown>>;

function fail(source: string, expected: string, got: unknown): never {
  throw new InputError(`Cannot use ${source}: ${expected}, got ${JSON.stringify(got)}`);
}

function parseFields(json: string, source: string): Fields {
  let fields: unknown;
  try {
    fields = JSON.parse(json);
  } catch (error) {
    throw new InputError(`Cannot use ${source}: it is not JSON: ${(error as Error).message}`);
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new InputError(`Cannot use ${source}: it must hold a JSON object`);
  }
  return fields as Fields;
}

function count(fields: Fields, name: string, source: string, absent?: number): number {
  const value = fields[name] ?? absent;
  if (!Number.isSafeInteger(value) || (value as number) < 1) {
    fail(source, `\`${name}\` must be a whole number >= 1`, value);
  }
  return value as number;
}

function positive(fields: Fields, name: string, source: string, absent: number): number {
  const value = fields[name] ?? absent;
  if (!Number.isFinite(value) || (value as number) <= 0) {
    fail(source, `\`${name}\` must be a number > 0`, value);
  }
  return value as number;
}

function flag(fields: Fields, name: string, source: string, absent: boolean): boolean {
  const value = fields[name] ?? absent;
  if (typeof value !== "boolean") fail(source, `\`${name}\` must be true or false`, value);
  return value;
}
