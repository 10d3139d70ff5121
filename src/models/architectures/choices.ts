/**
 * What a config says of a model beside its tensors: sizes, activations, and what each layer sees.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import type { Activation, Architecture, LayerType } from "./architecture.ts";
import type { Fields } from "./fields.ts";
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
