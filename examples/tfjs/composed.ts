/**
 * Attention of TensorFlow.js's own operations, which it differentiates itself: what FlashTile's is
 * compared with.
 *
 * @module
 */

import type * as tfjs from "@tensorflow/tfjs";
import type { TensorFlow } from "./attention.ts";

/** The plain formula. With `causal`, the last query sees all keys. */
export function composedAttention(
  tf: TensorFlow,
  q: tfjs.Tensor,
  k: tfjs.Tensor,
  v: tfjs.Tensor,
  { causal = false }: { readonly causal?: boolean } = {},
): tfjs.Tensor {
  const [queries, dim] = q.shape.slice(-2), keys = k.shape.at(-2)!;
  const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(dim));
  const seen = causal ? tf.add(scores, causalMask(tf, queries, keys)) : scores;
  return tf.matMul(tf.softmax(seen), v);
}

/** 0 where a key is seen, `-Infinity` where it is not. */
function causalMask(tf: TensorFlow, queries: number, keys: number): tfjs.Tensor {
  const mask = Float32Array.from({ length: queries * keys }, (_, at) => {
    const row = Math.floor(at / keys);
    return at % keys <= row + keys - queries ? 0 : -Infinity;
  });
  return tf.tensor(mask, [queries, keys]);
}
