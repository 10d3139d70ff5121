/**
 * Choosing the next token from its logits.
 *
 * @module
 */

import { createRandom } from "./random.ts";

/** How tokens are chosen. */
export interface SampleOptions {
  /** Divides the logits; 0 takes the likeliest token always. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens are drawn from. */
  readonly topK: number;
  /** Start of the random numbers; the same seed gives the same text. */
  readonly seed: number;
}

/** Chooses a token from the logits of all. */
export type Sampler = (logits: Float32Array) => number;

/** Makes a sampler; it has its own random numbers. */
export function createSampler({ temperature, topK, seed }: SampleOptions): Sampler {
  if (temperature === 0) return likeliest;
  const random = createRandom(seed);
  return (logits) => draw(logits, temperature, topK, random());
}

/** The token with the greatest logit; the first of them when several are equal. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) {
    if (logits[token] > logits[best]) best = token;
  }
  return best;
}

/**
 * Draws from the softmax over the `topK` likeliest tokens.
 *
 * @param point Where to cut the distribution, in `[0, 1)`.
 */
function draw(logits: Float32Array, temperature: number, topK: number, point: number): number {
  const tokens = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]).slice(0, topK);
  const greatest = logits[tokens[0]];
  const weights = tokens.map((token) => Math.exp((logits[token] - greatest) / temperature));
  let rest = point * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [rank, token] of tokens.entries()) {
    rest -= weights[rank];
    if (rest < 0) return token;
  }
  return tokens[0];
}
