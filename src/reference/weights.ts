/**
 * The oracle of `attentionWeights()`.
 *
 * @module
 */

import type { WeightsOptions } from "../operations/weights/options.ts";
import type { NumberList } from "../tensor/tensor.ts";
import { callOf } from "./call.ts";
import { attendRow } from "./forward.ts";
import { listReader, type ReferenceArray, type ReferenceTensor } from "./tensor.ts";

/** Indices that are asked for: all where no list is given. */
function indicesOf(list: NumberList | undefined, all: number): number[] {
  const count = list === undefined ? all : "data" in list ? list.shape[0] : list.length;
  const read = list === undefined ? (at: number) => at : listReader(list);
  return Array.from({ length: count }, (_, at) => read(at));
}

/**
 * The weights of attention by the direct formula in float64: every option of `attentionWeights()`, tensors in
 * arrays.
 *
 * ```ts
 * import { referenceAttentionWeights } from "@flashtile/attention/reference";
 *
 * const x = { data: [1, 0, 0, 1], shape: [2, 2] };
 * const { data, shape } = referenceAttentionWeights(x, x, { scale: 1, rows: [0] });
 * console.log(shape, data); // [1, 2], [e / (e + 1), 1 / (e + 1)]
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param options As those of `attentionWeights()`; `lse` and what is about memory and time are ignored.
 * @returns Weights, `[B, heads, rows, Nk]` in the rank of `q`; with `keySums` their sums over rows,
 * `[B, heads, Nk]`. Inputs are not checked.
 */
export function referenceAttentionWeights(
  q: ReferenceTensor,
  k: ReferenceTensor,
  options: WeightsOptions = {},
): ReferenceArray {
  const { rows: givenRows, heads: givenHeads, lse: _, keySums = false, ...meaning } = options;
  const call = callOf(q, k, k, meaning), { B, Hq, Nq, Nk } = call;
  const rows = indicesOf(givenRows, Nq), heads = indicesOf(givenHeads, Hq);
  const places = keySums === "kv" ? call.keyHead(Hq - 1) + 1 : heads.length;
  const perHead = keySums ? Nk : rows.length * Nk;
  const data = new Float64Array(B * places * perHead);
  for (let b = 0; b < B; b++) {
    for (const [at, h] of heads.entries()) {
      const first = (b * places + (keySums === "kv" ? call.keyHead(h) : at)) * perHead;
      for (const [row, i] of rows.entries()) {
        const { scores, weights } = attendRow(call, b, h, i);
        const to = first + (keySums ? 0 : row * Nk);
        for (let j = 0; j < Nk; j++) if (scores[j] !== -Infinity) data[to + j] += weights[j];
      }
    }
  }
  const shape = [...[B, places].slice(4 - q.shape.length), ...keySums ? [] : [rows.length], Nk];
  return { data, shape };
}
