/**
 * The weights that training begins with.
 *
 * @module
 */

import type { LlamaConfig } from "./config.ts";
import type { Random } from "../llama/random.ts";
import type { Parameters } from "./parameters.ts";

/** Spread of the embeddings, as small as that of GPT-2: so all tokens are as likely at first. */
const EMBEDDING_SPREAD = 0.02;

/**
 * Draws the weights. A matrix keeps the size of what it multiplies, so its spread is
 * `1 / sqrt(inputs)`; those that write into the residual stream share the size among themselves, two
 * in each layer. Gains are 1.
 *
 * @param parameters Receives the weights.
 * @param config The model's sizes.
 * @param random Where they come from.
 */
export function initialize(
  { tensors }: Parameters,
  { layers }: LlamaConfig,
  random: Random,
): void {
  for (const { name, shape, data } of tensors) {
    if (shape.length === 1) data.fill(1);
    else fillNormal(data, spreadOf(name, shape[1], layers), random);
  }
}

function spreadOf(name: string, inputs: number, layers: number): number {
  if (/embed_tokens|lm_head/.test(name)) return EMBEDDING_SPREAD;
  const shares = /o_proj|down_proj/.test(name) ? 2 * layers : 1;
  return 1 / Math.sqrt(inputs * shares);
}

/**
 * Fills with numbers near the normal distribution: sums of four uniform ones. The logarithm and the
 * cosine of the exact way differ between JavaScript engines.
 */
function fillNormal(data: Float32Array, spread: number, random: Random): void {
  const scale = Math.sqrt(3) * spread;
  for (let i = 0; i < data.length; i++) {
    data[i] = (random() + random() + random() + random() - 2) * scale;
  }
}
