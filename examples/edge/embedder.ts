/**
 * Texts as vectors: the mean of a Llama's last layer, of length 1.
 *
 * @module
 */

import type { Engine } from "@flashtile/attention";
import type { LlamaConfig } from "../llama/config.ts";
import { Llama } from "../llama/model.ts";
import type { LlamaWeights } from "../llama/weights.ts";

/**
 * Makes vectors of texts. Calls may overlap: each has a model of its own while it runs. A queue would
 * be simpler, but workerd lets no request wait for another's promise.
 */
export class Embedder {
  /** The model's sizes. */
  readonly config: LlamaConfig;
  readonly #weights: LlamaWeights;
  readonly #engine: Engine;
  /**
   * A model is weights, which all share, and 2 MB of scratch memory, which are one call's alone. One
   * waits for the next call: calls overlap seldom, and what a worker holds must not depend on that.
   */
  #idle: Llama | undefined;

  /**
   * @param config The model's sizes.
   * @param weights Its weights.
   * @param engine Does its attention.
   */
  constructor(config: LlamaConfig, weights: LlamaWeights, engine: Engine) {
    this.config = config;
    this.#weights = weights;
    this.#engine = engine;
  }

  /** The engine's backend, in words. */
  get reason(): string {
    return this.#engine.reason;
  }

  /** Linear memory that the engine has. */
  get memoryBytes(): number {
    return this.#engine.memoryBytes;
  }

  /**
   * Embeds a text by itself, so that its vector does not depend on others.
   *
   * @param bytes The text in UTF-8, 1 byte to as many as the context has.
   * @returns A vector of length 1, `[hidden]`.
   */
  async embed(bytes: Uint8Array): Promise<Float32Array> {
    const model = this.#idle ?? new Llama(this.config, this.#weights, this.#engine);
    this.#idle = undefined;
    try {
      using caches = model.createCaches({ sequences: 1 });
      const [states] = await model.states([bytes], caches);
      return normalize(sumOfRows(states, this.config.hiddenSize));
    } finally {
      this.#idle = model;
    }
  }
}

/** The cosine of the angle between two vectors of length 1. */
export function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, at) => sum + x * b[at], 0);
}

/** The sum has the mean's direction, which is all that is kept. */
function sumOfRows(rows: Float32Array, width: number): Float64Array {
  const sum = new Float64Array(width);
  for (let at = 0; at < rows.length; at++) sum[at % width] += rows[at];
  return sum;
}

function normalize(vector: Float64Array): Float32Array {
  const length = Math.hypot(...vector);
  return Float32Array.from(vector, (x) => x / length);
}
