/**
 * Rotary position embedding, there and back: a rotation's gradient is the rotation the other way.
 *
 * @module
 */

import type { LlamaConfig } from "./config.ts";

/** What rows are turned by: `theta^(-2i / D)` times the position, for pair `i` and `i + D / 2`. */
export class Rotary {
  readonly #context: number;
  readonly #headDim: number;
  readonly #cosines: Float32Array;
  readonly #sines: Float32Array;

  /** @param config The model's sizes. */
  constructor({ context, headDim, ropeTheta }: LlamaConfig) {
    const pairs = headDim / 2;
    const angles = Float64Array.from(
      { length: context * pairs },
      (_, at) => Math.floor(at / pairs) * ropeTheta ** (-(at % pairs) / pairs),
    );
    this.#context = context;
    this.#headDim = headDim;
    this.#cosines = Float32Array.from(angles, Math.cos);
    this.#sines = Float32Array.from(angles, Math.sin);
  }

  /**
   * Turns rows in place.
   *
   * @param x Rows of windows as long as the context, `[windows, context, heads, D]`.
   * @param heads Heads of a row.
   */
  turn(x: Float32Array, heads: number): void {
    this.#turn(x, heads, 1);
  }

  /** Turns rows, or gradients with respect to them, back in place. */
  turnBack(x: Float32Array, heads: number): void {
    this.#turn(x, heads, -1);
  }

  #turn(x: Float32Array, heads: number, direction: 1 | -1): void {
    const dim = this.#headDim, pairs = dim / 2, cosines = this.#cosines, sines = this.#sines;
    for (let begin = 0, head = 0; begin < x.length; begin += dim, head++) {
      const angle = (Math.floor(head / heads) % this.#context) * pairs;
      for (let i = 0; i < pairs; i++) {
        const cosine = cosines[angle + i], sine = direction * sines[angle + i];
        const a = x[begin + i], b = x[begin + pairs + i];
        x[begin + i] = a * cosine - b * sine;
        x[begin + pairs + i] = b * cosine + a * sine;
      }
    }
  }
}
