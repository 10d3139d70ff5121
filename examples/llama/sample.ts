/**
 * Choosing the next token from its logits.
 *
 * @module
 */

import { sampleSync } from "@flashtile/attention/nn";
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

/** Makes a sampler, which draws each token by a seed of its own. */
export function createSampler({ temperature, topK, seed }: SampleOptions): Sampler {
  const random = createRandom(seed);
  return (data) => {
    const options = { temperature, topK, seed: Math.floor(random() * 2 ** 32) };
    return sampleSync({ data, shape: [data.length] }, options)[0];
  };
}
