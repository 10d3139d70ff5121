/**
 * What the tests of training share: a tiny model, and numbers to begin with.
 *
 * @module
 */

import type { LlamaConfig } from "../../examples/train/config.ts";
import { createRandom } from "../../examples/llama/random.ts";
import type { Learned } from "../../examples/train/differentiable.ts";
import { createParameters, type Parameters } from "../../examples/train/parameters.ts";

/** A Llama with every part that a large one has, and no two sizes alike where they may differ. */
export const tiny: LlamaConfig = {
  hiddenSize: 6,
  intermediateSize: 10,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  vocabSize: 11,
  context: 5,
  normEpsilon: 1e-5,
  ropeTheta: 100,
  tiedEmbeddings: true,
};

/** Random numbers from -1 to 1. */
export function numbers(length: number, seed: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length }, () => 2 * random() - 1);
}

/** Parameters that are all random, gains too, with gradients of zero. */
export function randomParameters(config: LlamaConfig): Learned<Parameters> {
  const weight = createParameters(config);
  weight.all.set(numbers(weight.all.length, 8));
  return { weight, gradient: createParameters(config) };
}
