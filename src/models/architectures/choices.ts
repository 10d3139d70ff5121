/**
 * What a config says of a model beside its tensors: sizes, activations, and what each layer sees and rotates.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { ropeOptions } from "../../operations/rope/config.ts";
import { readRope, type RopeOptions } from "../../operations/rope/options.ts";
import { planRotation } from "../../operations/rope/plan.ts";
import type { Activation, Architecture, LayerType } from "./architecture.ts";
import type { Config, Fields } from "./fields.ts";
import type { ModelSizes } from "./model.ts";

/** The row of a table of positions that a text's first token has. */
export function firstPositionOf(fields: Fields, { positionsBehindPad }: Architecture): number {
  return positionsBehindPad ? (fields.id("pad_token_id") ?? 1) + 1 : 0;
}

/** Sizes, by whichever names configs have for them. */
export function readSizes(fields: Fields, architecture: Architecture): ModelSizes {
  const width = fields.count(["hidden_size", "n_embd", "dim"]);
  const heads = fields.count(["num_attention_heads", "n_head", "n_heads"]);
  const kvHeads = fields.count(["num_key_value_heads"], heads);
  const headDim = fields.count(["head_dim"], width / heads);
  const positions = fields.count(["max_position_embeddings", "n_positions", "n_ctx"]);
  if (heads % kvHeads !== 0) {
    fields.problems.push(`\`num_key_value_heads\` must divide ${heads}, got ${kvHeads}`);
  }
  return {
    ...{ width, heads, kvHeads, headDim, positions },
    feedWidth: fields.count(["intermediate_size", "n_inner", "hidden_dim"], 4 * width),
    vocabulary: fields.count(["vocab_size"]),
    maxTokens: Math.min(
      positions - firstPositionOf(fields, architecture),
      architecture.mostTokens?.(fields) ?? Infinity,
    ),
  };
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

export function readActivation(fields: Fields, otherwise: Activation): Activation {
  const names = ["hidden_activation", "hidden_act", "activation_function", "activation"];
  const name = fields.given(...names);
  if (name === undefined) return otherwise;
  if (Object.hasOwn(activations, String(name))) return activations[String(name)];
  const known = Object.keys(activations).join(", ");
  fields.problems.push(`\`hidden_act\` must be one of ${known}, got ${kindOf(name)}`);
  return otherwise;
}

/** What each layer sees; none where the config is wrong, or has more layers than the file tensors. */
export function readLayerTypes(
  fields: Fields,
  { slides }: Architecture,
  tensors: number,
): LayerType[] {
  const count = fields.count(["num_hidden_layers", "n_layer", "n_layers"]);
  if (count > tensors) {
    fields.problems.push(`\`num_hidden_layers\` is ${count}, and the file has ${tensors} tensors`);
  }
  if (!(count <= tensors)) return [];
  const given = fields.given("layer_types");
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

/** Numbers of a head for which rotations are tried, before it is known that tensors have as many. */
const mostHeadDim = 2 ** 16;

/** What is told of rotations beside the config. */
export interface RopeChoices {
  /** Tokens of a text at most, which some depend on. */
  readonly length: number | undefined;
  readonly style: RopeOptions["style"];
  readonly headDim: number;
}

/** The rotation of a kind of layers. What `rope()` would refuse when it is called is refused now. */
export function readRotation(
  fields: Fields,
  architecture: Architecture,
  layerType: LayerType,
  { length, style, headDim }: RopeChoices,
): RopeOptions | undefined {
  if (!architecture.usesRope) return undefined;
  const dim = Math.min(headDim || 2, mostHeadDim);
  const row = { data: new Float32Array(dim), shape: [1, dim] };
  try {
    const config = ropeConfig(fields, architecture);
    const rope = { ...ropeOptions(config, { length, layerType }), ...(style && { style }) };
    planRotation(readRope(row, null, rope));
    return rope;
  } catch (error) {
    fields.problems.push((error as Error).message);
    return undefined;
  }
}
