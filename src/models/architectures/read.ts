/**
 * Reads a model from its config and what its files have: which architecture it is, its sizes and choices, and
 * where its tensors are. All that is wrong is told in one error.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import type { OpenedWeights } from "../files/open.ts";
import type { Architecture } from "./architecture.ts";
import { firstPositionOf, readActivation, readLayerTypes, readSizes } from "./choices.ts";
import { Claims } from "./claims.ts";
import { encoders } from "./encoders.ts";
import { type Config, Fields } from "./fields.ts";
import type { LayerPlan, ModelPlan, ModelSizes } from "./model.ts";
import { Tensors } from "./tensors.ts";

const cannot = "Cannot read the model";

type Architectures = Readonly<Record<string, Architecture>>;

/** Those of decoders, which who embeds seldom needs. */
async function loadDecoders(): Promise<Architectures> {
  return (await import("./decoders.ts")).decoders;
}

/** What is asked of a model beside its files. */
export interface ReadOptions {
  /** Whether states are wanted and no logits, also of a decoder. */
  readonly withoutHead?: boolean;
  /** Tokens that texts will have at most, which the rotations `dynamic` and `longrope` depend on. */
  readonly length?: number;
}

/** Fields that make another model of any architecture. */
const foreignFields = [
  ...["num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size"],
  ...["quantization_config", "attention_chunk_size"],
];

/** What a file says of its model, or what is given. */
async function configOf(given: unknown, file: OpenedWeights): Promise<Config> {
  if ("metadata" in file) return await (await import("./gguf_config.ts")).ggufConfig(file);
  if ("config" in file) return file.config;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(
      `${cannot}: \`config\` must be the parsed config.json of the model, got ${kindOf(given)}`,
    );
  }
  const { text_config: inner } = given as Config; // Where there are other models beside.
  return (typeof inner === "object" && inner !== null ? inner : given) as Config;
}

async function architectureOf({ model_type: type }: Config): Promise<[string, Architecture]> {
  const find = (all: Architectures) =>
    typeof type === "string" && Object.hasOwn(all, type) ? all[type] : undefined;
  const encoder = find(encoders);
  if (encoder !== undefined) return [type as string, encoder];
  const decoders = await loadDecoders(), decoder = find(decoders);
  if (decoder !== undefined) return [type as string, decoder];
  const known = Object.keys({ ...encoders, ...decoders }).join(", ");
  throw new RangeError(`${cannot}: \`model_type\` must be one of ${known}, got ${kindOf(type)}`);
}

/** An architecture as a format has it: its names, and what its writers have changed. */
function inFormat(architecture: Architecture, format: OpenedWeights["format"]) {
  const { names, gguf, ggufStyle } = architecture;
  if (format === "safetensors") return { architecture, names };
  if (format === "llama2.c") return { architecture, names, style: "interleaved" } as const;
  // What norms add to their weights has been added.
  return {
    architecture: { ...architecture, normOffset: undefined },
    names: gguf,
    style: ggufStyle,
  };
}

type InFormat = ReturnType<typeof inFormat>;

/** What of a config is of another model. */
function refusals(fields: Fields, { refuses }: Architecture): string[] {
  const foreign = foreignFields.filter((name) => fields.given(name) ?? 0);
  return [...foreign.map((name) => `\`${name}\``), refuses?.(fields) || []].flat()
    .map((what) => `${what} is not supported`);
}

/** Throws all that is wrong. */
function check(type: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new RangeError(`${cannot} (${type}): ${[...new Set(problems)].join("; ")}`);
}

/** What each layer sees and how it rotates. */
async function layerChoices(
  fields: Fields,
  { architecture, style }: Pick<InFormat, "architecture" | "style">,
  { headDim, length, tensors }: { headDim: number; length: number | undefined; tensors: number },
): Promise<Pick<LayerPlan, "window" | "rope">[]> {
  const types = readLayerTypes(fields, architecture, tensors), { rotates, window } = architecture;
  const ropes = new Map<string, LayerPlan["rope"]>();
  if (architecture.usesRope) {
    const { readRotation } = await import("./rotation.ts"), asked = { headDim, length, style };
    for (const type of new Set(types)) {
      ropes.set(type, readRotation(fields, architecture, type, asked));
    }
  }
  return types.map((type, at) => {
    const seen = type === "sliding_attention" ? window?.(fields) : undefined;
    const rope = rotates?.(at, fields) ?? true ? ropes.get(type) : undefined;
    return { ...(seen && { window: seen }), ...(rope && { rope }) };
  });
}

/** What is in front of the layers. */
function readEmbedding(
  tensors: Tensors,
  fields: Fields,
  { architecture, names, sizes }: {
    readonly architecture: Architecture;
    readonly names: NonNullable<InFormat["names"]>;
    readonly sizes: ModelSizes;
  },
): ModelPlan["embedding"] {
  const { width, vocabulary, positions } = sizes, { types } = names;
  const kinds = types === undefined ? 0 : fields.count(["type_vocab_size"], 2);
  return {
    tokens: tensors.matrix(names.embedding, vocabulary, width)!,
    scale: architecture.scalesEmbedding ? Math.sqrt(width) : 1,
    positions: tensors.matrix(names.positions, positions, width),
    firstPosition: firstPositionOf(fields, architecture),
    types: tensors.matrix(types, kinds, width),
    norm: tensors.norm(names.embeddingNorm),
  };
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
  { withoutHead = false, length }: ReadOptions = {},
): Promise<ModelPlan> {
  const config = await configOf(given, file), [type, known] = await architectureOf(config);
  const { architecture, names, style } = inFormat(known, file.format);
  if (names === undefined) {
    throw new RangeError(`${cannot} (${type}): GGUF files of this architecture cannot be read`);
  }
  const fields = new Fields(config), sizes = readSizes(fields, architecture);
  const { block, norm, isGated, kind } = architecture, { headDim } = sizes;
  check(type, [...refusals(fields, architecture), ...fields.problems]);
  const isCausal = kind === "decoder" && !fields.isTrue("use_bidirectional_attention");
  const tensors = new Tensors({ fields, architecture, names, sizes }, new Claims(file.entries));
  const embedding = readEmbedding(tensors, fields, { architecture, names, sizes });
  const asked = { headDim, length, tensors: file.entries.size };
  const layers = (await layerChoices(fields, { architecture, style }, asked))
    .map((choices, at) => ({ ...choices, ...tensors.layer(at) }));
  const buckets = fields.count(["relative_attention_num_buckets"], 32);
  const epsNames = ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"];
  const plan: ModelPlan = {
    ...{ ...sizes, architecture: type, isCausal, block, norm, isGated, embedding, layers },
    normOffset: architecture.normOffset ?? 0,
    eps: fields.positive(epsNames, architecture.eps),
    activation: readActivation(fields, architecture.activation),
    scale: fields.positive(["query_pre_attn_scalar"], headDim) ** -0.5,
    softcap: fields.optional("attn_logit_softcapping"),
    relative: tensors.matrix(names.relative, buckets, sizes.heads),
    finalNorm: tensors.norm(names.finalNorm),
    ...(isCausal && !withoutHead && { head: tensors.head(embedding.tokens) }),
    logitSoftcap: fields.optional("final_logit_softcapping"),
    begin: fields.id("bos_token_id"),
    ends: fields.ids("eos_token_id"),
    pad: fields.id("pad_token_id"),
  };
  check(type, fields.problems);
  check(type, tensors.problems());
  return plan;
}
