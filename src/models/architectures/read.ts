/**
 * Reads a model from its config and what its files have: which architecture it is, its sizes and choices, and
 * where its tensors are. All that is wrong is told in one error.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { ropeOptions } from "../../operations/rope/config.ts";
import { readRope, type RopeOptions } from "../../operations/rope/options.ts";
import { planRotation } from "../../operations/rope/plan.ts";
import type { OpenedWeights } from "../files/open.ts";
import type { TensorEntry } from "../files/weights.ts";
import type { Activation, Architecture, Bias, Names } from "./architecture.ts";
import { Claims } from "./claims.ts";
import { decoders } from "./decoders.ts";
import { encoders } from "./encoders.ts";
import { type Config, Fields } from "./fields.ts";
import { ggufConfig } from "./gguf_config.ts";
import type { LayerPlan, LinearTensors, ModelPlan, ModelSizes } from "./model.ts";

const cannot = "Cannot read the model";

const architectures: Readonly<Record<string, Architecture>> = { ...encoders, ...decoders };

/** Architectures that can be read. */
export const knownArchitectures: readonly string[] = Object.keys(architectures);

/** What is asked of a model beside its files. */
export interface ReadOptions {
  /** Whether states are wanted and no logits, also of a decoder. */
  readonly withoutHead?: boolean;
  /** Tokens that texts will have at most, which some rotations depend on. */
  readonly length?: number;
}

/** Activations by the names that configs have. */
const activations: Readonly<Record<string, Activation>> = {
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_fast: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  silu: "silu",
  swish: "silu",
  swiglu: "silu",
  relu: "relu",
};

/** Fields that make another model of any architecture. */
const foreignFields = [
  ...["num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size"],
  ...["quantization_config", "rotary_scaling_factor", "attention_chunk_size"],
];

/** The config of the text model where there are others beside it. */
function textConfig(config: Config): Config {
  const { text_config: inner } = config;
  return typeof inner === "object" && inner !== null ? inner as Config : config;
}

function architectureOf(config: Config): [string, Architecture] {
  const type = config.model_type;
  if (typeof type === "string" && Object.hasOwn(architectures, type)) {
    return [type, architectures[type]];
  }
  throw new RangeError(
    `${cannot}: \`model_type\` must be one of ${knownArchitectures.join(", ")}, got ${
      kindOf(type)
    }`,
  );
}

function readSizes(fields: Fields, { positionsBehindPad }: Architecture): ModelSizes {
  const width = fields.count(["hidden_size", "n_embd", "dim"]);
  const heads = fields.count(["num_attention_heads", "n_head", "n_heads"]);
  const kvHeads = fields.count(["num_key_value_heads"], heads);
  const headDim = fields.count(["head_dim"], width / heads);
  const rows = fields.count(["max_position_embeddings", "n_positions", "n_ctx"]);
  if (heads % kvHeads !== 0) {
    fields.problems.push(`\`num_key_value_heads\` must divide ${heads}, got ${kvHeads}`);
  }
  return {
    ...{ width, heads, kvHeads, headDim },
    feedWidth: fields.count(["intermediate_size", "n_inner", "hidden_dim"], 4 * width),
    vocabulary: fields.count(["vocab_size"]),
    maxTokens: positionsBehindPad ? rows - firstPositionOf(fields, true) : rows,
  };
}

function firstPositionOf(fields: Fields, isBehindPad: boolean | undefined): number {
  return isBehindPad ? (fields.id("pad_token_id") ?? 1) + 1 : 0;
}

function readActivation(fields: Fields, otherwise: Activation): Activation {
  const names = ["hidden_activation", "hidden_act", "activation_function", "activation"];
  const name = fields.given(...names);
  if (name === undefined) return otherwise;
  if (Object.hasOwn(activations, String(name))) return activations[String(name)];
  const known = Object.keys(activations).join(", ");
  fields.problems.push(`\`hidden_act\` must be one of ${known}, got ${kindOf(name)}`);
  return otherwise;
}

/** Kinds of layers that are known. */
type LayerType = "full_attention" | "sliding_attention";

function layerTypesOf(fields: Fields, architecture: Architecture, count: number): LayerType[] {
  const given = fields.given("layer_types"), { slides } = architecture;
  if (given === undefined) {
    return Array.from(
      { length: count },
      (_, layer) => slides?.(layer, fields) ? "sliding_attention" : "full_attention",
    );
  }
  const isRight = Array.isArray(given) && given.length === count &&
    given.every((type) => type === "full_attention" || type === "sliding_attention");
  if (isRight) return given as LayerType[];
  const other = Array.isArray(given) ? [...new Set(given)].join(", ") : kindOf(given);
  fields.problems.push(
    `\`layer_types\` must be full_attention or sliding_attention for ${count} layers, got ${other}`,
  );
  return [];
}

/** A config with the base that its architecture has where it says none. */
function ropeConfig({ config }: Fields, { theta }: Architecture): Config {
  const base = config.rope_theta ?? config.rotary_emb_base;
  const part = config.partial_rotary_factor ?? config.rotary_emb_fraction;
  const known = { ...config, partial_rotary_factor: part };
  if (typeof theta !== "object") return { ...known, rope_theta: base ?? theta };
  const full = base ?? config.global_rope_theta ?? theta.full_attention;
  // ModernBERT's `null` is the base of the other layers.
  const { local_rope_theta: local = theta.sliding_attention } = config;
  return {
    ...{ ...known, rope_theta: full },
    rope_local_base_freq: config.rope_local_base_freq ?? local ?? full,
  };
}

function isOn(fields: Fields, bias: Bias | undefined): boolean {
  return typeof bias === "string" ? fields.isTrue(bias) : bias ?? false;
}

/** What an architecture becomes with a config and a file. */
class Reader {
  readonly #sizes: ModelSizes;
  readonly #prefix: string;

  constructor(
    readonly fields: Fields,
    readonly architecture: Architecture,
    readonly names: Names,
    readonly claims: Claims,
    readonly style: RopeOptions["style"],
  ) {
    this.#sizes = readSizes(fields, architecture);
    const { prefixes, embedding } = names;
    this.#prefix = prefixes.find((one) => claims.has(`${one}${embedding}.weight`)) ?? prefixes[0];
  }

  get sizes(): ModelSizes {
    return this.#sizes;
  }

  #isOn(part: keyof Architecture["biases"]): boolean {
    return isOn(this.fields, this.architecture.biases[part]);
  }

  matrix(name: string | undefined, rows: number, columns: number): TensorEntry | undefined {
    return name && this.claims.matrix(`${this.#prefix}${name}`, [rows, columns]) || undefined;
  }

  norm(name: string | undefined, width = this.#sizes.width) {
    return name === undefined
      ? undefined
      : this.claims.norm(`${this.#prefix}${name}`, width, this.#isOn("norm"));
  }

  /** Linear layers that are one or several, whose outputs are told for each. */
  linears(
    part: "qkv" | "output" | "feed" | "down",
    [names, inputs, each]: readonly [readonly string[], inputs: number, each: readonly number[]],
  ): LinearTensors[] {
    const layout = this.architecture.isInOut ? "in-out" : "out-in";
    const outputs = names.length === 1 ? [each.reduce((a, b) => a + b)] : each;
    return names.map((name, at) =>
      this.claims.linear(
        `${this.#prefix}${name}`,
        { outputs: outputs[at], inputs, layout },
        this.#isOn(part),
      )
    );
  }

  layer(at: number, type: LayerType, rope: RopeOptions | undefined): LayerPlan {
    const { width, heads, kvHeads, headDim, feedWidth } = this.#sizes;
    const { names, architecture: { isGated, lacksFirstNorm, rotates, window } } = this;
    const { layers } = names, prefix = names.layer.replace("{}", `${at}`);
    const own = (name: string | undefined) => name === undefined ? undefined : `${prefix}${name}`;
    const seen = type === "sliding_attention" ? window?.(this.fields) : undefined;
    const [queryNorm, keyNorm] = layers.headNorms ?? [];
    const kv = kvHeads * headDim, feeds = isGated ? [feedWidth, feedWidth] : [feedWidth];
    const linears = (
      part: "qkv" | "output" | "feed" | "down",
      names: readonly string[],
      inputs: number,
      each: readonly number[],
    ) => this.linears(part, [names.map((name) => own(name)!), inputs, each]);
    const [output] = linears("output", [layers.output], heads * headDim, [width]);
    const [down] = linears("down", [layers.down], feedWidth, [width]);
    return {
      ...(seen && { window: seen }),
      ...(rope && (rotates?.(at, this.fields) ?? true) && { rope }),
      attentionNorm: this.norm(lacksFirstNorm && at === 0 ? undefined : own(layers.attentionNorm)),
      qkv: linears("qkv", layers.qkv, width, [heads * headDim, kv, kv]),
      queryNorm: this.norm(own(queryNorm), headDim),
      keyNorm: this.norm(own(keyNorm), headDim),
      output,
      attentionAfter: this.norm(own(layers.attentionAfter)),
      feedNorm: this.norm(own(layers.feedNorm))!,
      feed: linears("feed", layers.feed, width, feeds),
      down,
      feedAfter: this.norm(own(layers.feedAfter)),
    };
  }

  /** Of logits: a matrix of its own, or the embedding's. */
  head(tokens: TensorEntry): LinearTensors {
    const { width, vocabulary } = this.#sizes, { heads = [] } = this.names;
    const shape = { outputs: vocabulary, inputs: width, layout: "out-in" } as const;
    const { isTied = false } = this.architecture;
    if (this.fields.given("tie_word_embeddings") ?? isTied) return { ...shape, weight: tokens };
    const name = heads.find((one) => this.claims.has(`${one}.weight`)) ?? heads[0];
    return this.claims.linear(name, shape, false);
  }

  isIgnored(name: string): boolean {
    const { ignored, heads = [] } = this.names;
    return ignored.test(name) || heads.some((head) => name === `${head}.weight`);
  }
}

/** Numbers of a head for which rotations are tried, before it is known that tensors have as many. */
const mostHeadDim = 2 ** 16;

/** Rotations by the kinds of layers. */
function ropesOf(reader: Reader, length: number | undefined) {
  const config = ropeConfig(reader.fields, reader.architecture), { style } = reader;
  const dim = Math.min(reader.sizes.headDim || 2, mostHeadDim);
  const row = { data: new Float32Array(dim), shape: [1, dim] };
  const of = (layerType: LayerType) => {
    try {
      const rope = { ...ropeOptions(config, { length, layerType }), ...(style && { style }) };
      planRotation(readRope(row, null, rope)); // What `rope()` would refuse is refused now.
      return rope;
    } catch (error) {
      reader.fields.problems.push((error as Error).message);
      return undefined;
    }
  };
  return { full_attention: of("full_attention"), sliding_attention: of("sliding_attention") };
}

/** Reads a model; what is wrong is in `reader` and told by who asks. */
function planOf(reader: Reader, type: string, { withoutHead, length }: ReadOptions): ModelPlan {
  const { fields, architecture, names, sizes } = reader, { width, vocabulary, headDim } = sizes;
  const { block, norm, normOffset, isGated, eps, usesRope, kind } = architecture;
  const count = fields.count(["num_hidden_layers", "n_layer", "n_layers"]);
  const types = layerTypesOf(fields, architecture, count <= reader.claims.size ? count : 0);
  if (count > reader.claims.size) {
    fields.problems.push(
      `\`num_hidden_layers\` is ${count}, and the file has ${reader.claims.size} tensors`,
    );
  }
  const ropes = usesRope ? ropesOf(reader, length) : undefined;
  const tokens = reader.matrix(names.embedding, vocabulary, width)!;
  const firstPosition = firstPositionOf(fields, architecture.positionsBehindPad);
  const buckets = fields.count(["relative_attention_num_buckets"], 32);
  const isDecoder = kind === "decoder" && !fields.isTrue("use_bidirectional_attention");
  const hasHead = kind === "decoder" && !withoutHead && isDecoder;
  return {
    ...sizes,
    ...{ architecture: type, isCausal: isDecoder, block, norm, isGated },
    normOffset: normOffset ?? 0,
    eps: fields.positive(["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"], eps),
    activation: readActivation(fields, architecture.activation),
    scale: fields.positive(["query_pre_attn_scalar"], headDim) ** -0.5,
    softcap: fields.optional("attn_logit_softcapping"),
    embedding: {
      tokens,
      scale: architecture.scalesEmbedding ? Math.sqrt(width) : 1,
      positions: reader.matrix(names.positions, sizes.maxTokens + firstPosition, width),
      firstPosition,
      types: reader.matrix(
        names.types,
        names.types ? fields.count(["type_vocab_size"], 2) : 0,
        width,
      ),
      norm: reader.norm(names.embeddingNorm),
    },
    relative: reader.matrix(names.relative, buckets, sizes.heads),
    layers: types.map((type, at) => reader.layer(at, type, ropes?.[type])),
    finalNorm: reader.norm(names.finalNorm),
    ...(hasHead && { head: reader.head(tokens) }),
    logitSoftcap: fields.optional("final_logit_softcapping"),
    begin: fields.id("bos_token_id"),
    ends: fields.ids("eos_token_id"),
    pad: fields.id("pad_token_id"),
  };
}

/** What of a config is of another model. */
function refusals(fields: Fields, { refuses }: Architecture): string[] {
  const foreign = foreignFields.filter((name) => fields.given(name) ?? 0).map((name) =>
    `\`${name}\``
  );
  return [...foreign, refuses?.(fields) || []].flat().map((what) => `${what} is not supported`);
}

/** Tells all that is wrong. */
function check(type: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new RangeError(`${cannot} (${type}): ${[...new Set(problems)].join("; ")}`);
}

/**
 * Reads a model: from a parsed `config.json`, or from what a GGUF or llama2.c file says of itself.
 *
 * @param given The config; not needed where the file has one.
 * @param file The opened weights, of which no number is read but a GGUF file's factors of rotation.
 * @throws {TypeError} When there is no config.
 * @throws {RangeError} When the architecture is unknown, fields are wrong or mean what is not supported,
 * tensors are missing, have other shapes or are of another model: all of it in one error.
 */
export async function readModel(
  given: object | undefined,
  file: OpenedWeights,
  options: ReadOptions = {},
): Promise<ModelPlan> {
  const config = "metadata" in file
    ? await ggufConfig(file)
    : "config" in file
    ? file.config
    : given;
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new TypeError(
      `${cannot}: \`config\` must be the parsed config.json of the model, got ${kindOf(config)}`,
    );
  }
  const text = textConfig(config as Config), [type, architecture] = architectureOf(text);
  const names = file.format === "gguf" ? architecture.gguf : architecture.names;
  if (names === undefined) {
    throw new RangeError(`${cannot} (${type}): GGUF files of this architecture cannot be read`);
  }
  const fields = new Fields(text), claims = new Claims(file.entries);
  // GGUF files have added it.
  const own = file.format === "gguf" ? { ...architecture, normOffset: undefined } : architecture;
  const style = file.format === "gguf"
    ? architecture.ggufStyle
    : file.format === "llama2.c"
    ? "interleaved"
    : undefined;
  const reader = new Reader(fields, own, names, claims, style);
  check(type, [...refusals(fields, architecture), ...fields.problems]);
  const plan = planOf(reader, type, options);
  check(type, fields.problems);
  check(type, claims.problems((name) => reader.isIgnored(name)));
  return plan;
}
