/**
 * Compares gradients with those that TensorFlow.js derives from its own operations.
 *
 * @module
 */

import type { Engine } from "@flashtile/attention";
import type * as tfjs from "@tensorflow/tfjs";
import { flashAttention, type TensorFlow } from "./attention.ts";
import { composedAttention } from "./composed.ts";

/**
 * Most that a gradient may differ, as a part of the largest one: 64 roundings of f32. Both sides
 * round, each in its own order.
 */
export const tolerance = 2 ** -18;

/** What is attended. */
export interface CheckedCall {
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly causal: boolean;
}

/** Calls that are checked. */
export const checkedCalls: readonly CheckedCall[] = [
  { heads: 4, queries: 100, keys: 100, dim: 32, causal: false },
  { heads: 4, queries: 100, keys: 100, dim: 32, causal: true },
  { heads: 2, queries: 37, keys: 90, dim: 20, causal: true },
];

/** How much a gradient differs. */
export interface Difference {
  /** Of what by what. */
  readonly name: string;
  /** The largest difference. */
  readonly difference: number;
  /** The largest gradient. */
  readonly largest: number;
}

type Attention = (q: tfjs.Tensor, k: tfjs.Tensor, v: tfjs.Tensor) => tfjs.Tensor;

/** Compares the result and the gradients of a loss that weighs it at random. */
export function compare(tf: TensorFlow, engine: Engine, call: CheckedCall): Difference[] {
  const { heads, queries, keys, dim, causal } = call, batch = 2;
  const random = (rows: number, seed: number) =>
    tf.randomNormal([batch, heads, rows, dim], 0, 1, "float32", seed);
  return tf.tidy(() => {
    const inputs = [random(queries, 1), random(keys, 2), random(keys, 3)];
    const weights = random(queries, 4);
    const results = (attend: Attention) => {
      const [q, k, v] = inputs;
      const gradients = tf.grads((q, k, v) => tf.sum(tf.mul(attend(q, k, v), weights)));
      return [attend(q, k, v), ...gradients(inputs)].map((tensor) => tensor.dataSync());
    };
    const ours = results((q, k, v) => flashAttention(tf, engine, q, k, v, { causal }));
    const theirs = results((q, k, v) => composedAttention(tf, q, k, v, { causal }));
    return ["out", "dq", "dk", "dv"].map((name, at) => ({
      name,
      difference: largest(ours[at].map((x, index) => x - theirs[at][index])),
      largest: largest(theirs[at]),
    }));
  });
}

/** Whether a difference is one of rounding. */
export function isRounding({ difference, largest }: Difference): boolean {
  return difference <= tolerance * largest; // Not so for NaN.
}

function largest(numbers: ArrayLike<number>): number {
  return Array.from(numbers).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}
