/**
 * Files of models that are made for a config: what an architecture asks for, with small numbers.
 *
 * @module
 */

import { readModel } from "../../src/models/architectures/read.ts";
import { type OpenedWeights, openWeights } from "../../src/models/files/open.ts";
import { errorOf } from "./errors.ts";
import { safetensors } from "./model_files.ts";
import { normals, type Random } from "./random.ts";

/** A config of a Llama with two layers. */
export const llamaConfig = {
  model_type: "llama",
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 6,
  vocab_size: 5,
  max_position_embeddings: 16,
  rms_norm_eps: 1e-6,
  bos_token_id: 1,
  eos_token_id: [2, 3],
};

/** Tensors by their names: shapes. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** Those of that config. */
export function llamaShapes(prefix = "model."): Shapes {
  const layer = (at: number) => {
    const own = (name: string) => `${prefix}layers.${at}.${name}.weight`;
    return {
      [own("input_layernorm")]: [8],
      [own("self_attn.q_proj")]: [8, 8],
      [own("self_attn.k_proj")]: [4, 8],
      [own("self_attn.v_proj")]: [4, 8],
      [own("self_attn.o_proj")]: [8, 8],
      [own("post_attention_layernorm")]: [8],
      [own("mlp.gate_proj")]: [6, 8],
      [own("mlp.up_proj")]: [6, 8],
      [own("mlp.down_proj")]: [8, 6],
    };
  };
  return {
    ...{ [`${prefix}embed_tokens.weight`]: [5, 8], [`${prefix}norm.weight`]: [8] },
    ...{ ...layer(0), ...layer(1), "lm_head.weight": [5, 8] },
  };
}

/** A file of such tensors, of one type. */
export async function fileOf(shapes: Shapes, dtype = "BF16", bytes = 2): Promise<OpenedWeights> {
  let at = 0;
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const begin = at;
    at += bytes * shape.reduce((a, b) => a * b, 1);
    return [name, { dtype, shape, data_offsets: [begin, at] }];
  });
  return await openWeights(safetensors(Object.fromEntries(entries), new Uint8Array(at)));
}

/** What reading a model is refused with. */
export async function refusalOf(config: object | undefined, shapes: Shapes): Promise<Error> {
  const file = await fileOf(shapes);
  return await errorOf(() => readModel(config, file)) as Error;
}

/** Bytes of a file of such tensors in f32, with random numbers: those of norms near 1. */
export function randomFile(shapes: Shapes, random: Random): Uint8Array<ArrayBuffer> {
  let at = 0;
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1), begin = at;
    at += 4 * count;
    return { name, shape, count, begin };
  });
  const data = new Float32Array(at / 4);
  for (const { shape, count, begin } of entries) {
    const isNorm = shape.length === 1, spread = isNorm ? 0.1 : 0.4;
    data.set(normals(count, random, spread).map((one) => one + Number(isNorm)), begin / 4);
  }
  const head = Object.fromEntries(entries.map(({ name, shape, count, begin }) => [
    name,
    { dtype: "F32", shape, data_offsets: [begin, begin + 4 * count] },
  ]));
  return safetensors(head, new Uint8Array(data.buffer));
}

/** What a Llama with two layers and random numbers is loaded from. */
export function randomLlama(random: Random, config: object = {}): {
  config: object;
  weights: Uint8Array<ArrayBuffer>;
} {
  return { config: { ...llamaConfig, ...config }, weights: randomFile(llamaShapes(), random) };
}
