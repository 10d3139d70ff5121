/**
 * The loss of a Llama by its formulas, in float64, and gradients by central differences: slow,
 * straight, and without a line of what it judges.
 *
 * @module
 */

import { assertLessOrEqual } from "@std/assert";
import type { LlamaConfig } from "../../examples/train/config.ts";
import type { NamedTensor } from "../../examples/train/safetensors_writer.ts";
import type { Windows } from "../../examples/train/windows.ts";

/** Numbers in double precision. */
export type Doubles = Float64Array;

/** `y = x W^T`. */
export function linear(x: Doubles, w: Doubles, inputs: number): Doubles {
  const outputs = w.length / inputs;
  return Float64Array.from({ length: x.length / inputs * outputs }, (_, at) => {
    const row = Math.floor(at / outputs) * inputs, output = (at % outputs) * inputs;
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += x[row + i] * w[output + i];
    return sum;
  });
}

/** `y = x gain / sqrt(mean(x^2) + epsilon)`. */
export function rmsNorm(x: Doubles, gain: Doubles, epsilon: number): Doubles {
  const width = gain.length;
  return x.map((value, at) => {
    const row = x.subarray(at - at % width, at - at % width + width);
    const mean = row.reduce((sum, element) => sum + element * element, 0) / width;
    return value * gain[at % width] / Math.sqrt(mean + epsilon);
  });
}

/** `y = silu(gate) up`. */
export function swiglu(gate: Doubles, up: Doubles): Doubles {
  return gate.map((x, at) => x / (1 + Math.exp(-x)) * up[at]);
}

/** Element `i` of a head's row is turned with element `i + D / 2`, or with `i - D / 2`. */
export function rotate(x: Doubles, heads: number, config: LlamaConfig): Doubles {
  const { headDim, context, ropeTheta } = config, pairs = headDim / 2;
  return x.map((value, at) => {
    const position = Math.floor(at / (heads * headDim)) % context;
    const i = at % headDim;
    const angle = position * ropeTheta ** (-(i % pairs) / pairs);
    const other = i < pairs ? -x[at + pairs] : x[at - pairs];
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** Causal attention of `Hq` query heads to `Hkv` heads of keys and values, within windows. */
export function attend(q: Doubles, k: Doubles, v: Doubles, config: LlamaConfig): Doubles {
  const { heads, kvHeads, headDim, context } = config;
  const out = new Float64Array(q.length);
  for (let at = 0; at < q.length; at += headDim) {
    const row = Math.floor(at / (heads * headDim)), head = at / headDim % heads;
    const shared = Math.floor(head / (heads / kvHeads));
    const keys = Array.from(
      { length: row % context + 1 },
      (_, back) => ((row - back) * kvHeads + shared) * headDim,
    );
    const terms = keys.map((key) => {
      let product = 0;
      for (let i = 0; i < headDim; i++) product += q[at + i] * k[key + i];
      return Math.exp(product / Math.sqrt(headDim));
    });
    const total = terms.reduce((sum, term) => sum + term);
    for (const [index, key] of keys.entries()) {
      for (let i = 0; i < headDim; i++) out[at + i] += terms[index] / total * v[key + i];
    }
  }
  return out;
}

/** Mean of `-log p(token)`. */
export function crossEntropy(logits: Doubles, tokens: Uint8Array): number {
  const vocab = logits.length / tokens.length;
  return [...tokens].reduce((sum, token, row) => {
    const all = logits.subarray(row * vocab, (row + 1) * vocab);
    const total = all.reduce((denominator, logit) => denominator + Math.exp(logit), 0);
    return sum + Math.log(total) - all[token];
  }, 0) / tokens.length;
}

/** A Llama's weights by their names. */
export type OracleWeights = ReadonlyMap<string, Doubles>;

/** Copies weights. */
export function doubled(tensors: readonly NamedTensor[]): OracleWeights {
  return new Map(tensors.map(({ name, data }) => [name, Float64Array.from(data)]));
}

/** The loss of windows. */
export function lossOf(
  weights: OracleWeights,
  config: LlamaConfig,
  { tokens, targets }: Windows,
): number {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, normEpsilon } = config;
  const weight = (name: string) => weights.get(`${name}.weight`)!;
  const embedding = weight("model.embed_tokens");
  const plus = (x: Doubles, y: Doubles) => x.map((value, at) => value + y[at]);
  let x = Float64Array.from(
    { length: tokens.length * hiddenSize },
    (_, at) => embedding[tokens[Math.floor(at / hiddenSize)] * hiddenSize + at % hiddenSize],
  );
  for (let layer = 0; layer < config.layers; layer++) {
    const of = (name: string) => weight(`model.layers.${layer}.${name}`);
    let normed = rmsNorm(x, of("input_layernorm"), normEpsilon);
    const [q, k, v] = ["q", "k", "v"].map((name) =>
      linear(normed, of(`self_attn.${name}_proj`), hiddenSize)
    );
    const turned = [rotate(q, heads, config), rotate(k, kvHeads, config)];
    const attended = attend(turned[0], turned[1], v, config);
    x = plus(x, linear(attended, of("self_attn.o_proj"), heads * headDim));
    normed = rmsNorm(x, of("post_attention_layernorm"), normEpsilon);
    const [gate, up] = ["gate", "up"].map((name) =>
      linear(normed, of(`mlp.${name}_proj`), hiddenSize)
    );
    x = plus(x, linear(swiglu(gate, up), of("mlp.down_proj"), intermediateSize));
  }
  const head = config.tiedEmbeddings ? embedding : weight("lm_head");
  const logits = linear(rmsNorm(x, weight("model.norm"), normEpsilon), head, hiddenSize);
  return crossEntropy(logits, targets);
}

/** Half the distance of central differences: the third derivative's share of it is 1e-10. */
const NUDGE = 1e-5;

/** The gradient of a number by what it is made of, which is changed and restored. */
export function gradientOf(compute: () => number, x: Doubles): Doubles {
  return Float64Array.from(x, (value, at) => {
    x[at] = value + NUDGE;
    const above = compute();
    x[at] = value - NUDGE;
    const below = compute();
    x[at] = value;
    return (above - below) / (2 * NUDGE);
  });
}

/**
 * What is left when a gradient was computed in f32: roundings of 2^-24 of the largest element, of
 * which some tens follow one another.
 */
const TOLERANCE = 32 * 2 ** -24;

/** Requires a gradient of f32 to be the one by differences. */
export function assertGradient(actual: Float32Array, expected: Doubles, name: string): void {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = expected.reduce(
    (most, value, at) => Math.max(most, Math.abs(value - actual[at])),
    actual.length === expected.length ? 0 : Infinity,
  );
  assertLessOrEqual(difference, TOLERANCE * largest, `${name}, largest ${largest}`);
}
