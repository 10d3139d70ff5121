/**
 * AdamW: steps along the mean gradient, each weight's divided by the root of its mean square.
 *
 * @module
 */

import type { Learned } from "./differentiable.ts";
import type { NamedTensor } from "./safetensors_writer.ts";
import type { Parameters } from "./parameters.ts";

/** Share of the old mean that stays in the new one. */
const MEAN = 0.9;

/** Share of the old mean square that stays in the new one; lower than for long trainings. */
const SQUARE = 0.99;

const EPSILON = 1e-8;

/** Share of a matrix that is taken away by a step of size 1. */
const DECAY = 0.1;

/** What it remembers. */
export interface Moments {
  /** Steps that were taken. */
  readonly steps: number;
  /** A running mean of each weight's gradients, and of their squares. */
  readonly means: Float32Array;
  readonly squares: Float32Array;
}

/** AdamW (Loshchilov and Hutter, arXiv 1711.05101) with its memory of the gradients. */
export class AdamW {
  readonly #weight: Parameters;
  readonly #gradient: Parameters;
  readonly #means: Float32Array;
  readonly #squares: Float32Array;
  #steps: number;

  /**
   * @param parameters The weights, and the gradients with respect to them.
   * @param from What another one remembered, which this one goes on from.
   */
  constructor({ weight, gradient }: Learned<Parameters>, from?: Moments) {
    this.#weight = weight;
    this.#gradient = gradient;
    this.#means = from?.means.slice() ?? new Float32Array(weight.all.length);
    this.#squares = from?.squares.slice() ?? new Float32Array(weight.all.length);
    this.#steps = from?.steps ?? 0;
  }

  /** What it remembers: arrays that the next step changes. */
  get moments(): Moments {
    return { steps: this.#steps, means: this.#means, squares: this.#squares };
  }

  /**
   * Takes a step, and clears the gradients.
   *
   * @param rate Size of the step.
   */
  step(rate: number): void {
    this.#steps++;
    for (const tensor of this.#weight.tensors) if (isMatrix(tensor)) shrink(tensor, rate * DECAY);
    this.#descend(rate);
    this.#gradient.all.fill(0);
  }

  /** Both means began as zero: dividing by the share that they have seen undoes that. */
  #descend(rate: number): void {
    const weights = this.#weight.all, gradients = this.#gradient.all;
    const means = this.#means, squares = this.#squares;
    const meanSeen = 1 - MEAN ** this.#steps, squareSeen = 1 - SQUARE ** this.#steps;
    for (let i = 0; i < weights.length; i++) {
      const gradient = gradients[i];
      const mean = means[i] = MEAN * means[i] + (1 - MEAN) * gradient;
      const square = squares[i] = SQUARE * squares[i] + (1 - SQUARE) * gradient * gradient;
      weights[i] -= rate * (mean / meanSeen) / (Math.sqrt(square / squareSeen) + EPSILON);
    }
  }
}

/** Gains of norms have their place around 1: they do not decay. */
function isMatrix({ shape }: NamedTensor): boolean {
  return shape.length === 2;
}

function shrink({ data }: NamedTensor, share: number): void {
  for (let i = 0; i < data.length; i++) data[i] *= 1 - share;
}

/**
 * Scales gradients down to a length, all by the same factor.
 *
 * @param gradients The gradients of all weights.
 * @param longest The length that longer ones are cut to.
 * @returns The length that they had.
 */
export function clip(gradients: Float32Array, longest: number): number {
  let squares = 0;
  for (let i = 0; i < gradients.length; i++) squares += gradients[i] * gradients[i];
  const length = Math.sqrt(squares);
  if (length > longest) {
    const factor = longest / length;
    for (let i = 0; i < gradients.length; i++) gradients[i] *= factor;
  }
  return length;
}
