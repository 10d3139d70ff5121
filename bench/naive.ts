/**
 * What one writes without a library: the whole score matrix, three loops.
 *
 * @module
 */

import type { Tensor } from "../mod.ts";

/** Attention of contiguous `[H, N, D]` tensors, `scale = 1 / sqrt(D)`. */
export function naiveAttention(q: Tensor, k: Tensor, v: Tensor, causal: boolean): Float32Array {
  const [heads, queries, dim] = q.shape;
  const keys = k.shape[1], valueDim = v.shape[2];
  const scale = 1 / Math.sqrt(dim);
  const out = new Float32Array(heads * queries * valueDim);
  const scores = new Float32Array(queries * keys);
  for (let h = 0; h < heads; h++) {
    const Q = q.data.subarray(h * queries * dim);
    const K = k.data.subarray(h * keys * dim);
    const V = v.data.subarray(h * keys * valueDim);
    const O = out.subarray(h * queries * valueDim);
    for (let i = 0; i < queries; i++) {
      const end = causal ? i + 1 + keys - queries : keys;
      const row = scores.subarray(i * keys, i * keys + end);
      let max = -Infinity;
      for (let j = 0; j < end; j++) {
        let s = 0;
        for (let d = 0; d < dim; d++) s += Q[i * dim + d] * K[j * dim + d];
        row[j] = s * scale;
        if (row[j] > max) max = row[j];
      }
      let sum = 0;
      for (let j = 0; j < end; j++) sum += row[j] = Math.exp(row[j] - max);
      for (let j = 0; j < end; j++) {
        const weight = row[j] / sum;
        for (let d = 0; d < valueDim; d++) O[i * valueDim + d] += weight * V[j * valueDim + d];
      }
    }
  }
  return out;
}
