/**
 * Attention in tiles, twice over the keys: scores are never written, but computed a second time.
 *
 * @module
 */

import { blocksOf, spans } from "./blocks.ts";
import { Matrix, type Memory } from "./memory.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import { follow } from "./softmax.ts";
import { addProduct, scoresOf } from "./tiles.ts";

/** The first visit of the keys finds each row's maximum and sum, the second adds up the values. */
export function tiledAttention({ q, k, v }: Inputs, memory: Memory): Matrix {
  const { rows: n, columns: d } = q, o = new Matrix("O", n, d), scale = scaleFor(d);
  const { outer, inner } = blocksOf(memory.size, d);
  for (const i of spans(n, outer)) {
    const qi = memory.load(q, i), oi = memory.make(o, i);
    const m = new Float64Array(i.count).fill(-Infinity), l = new Float64Array(i.count);
    for (const j of spans(n, inner)) {
      const kj = memory.load(k, j);
      scoresOf(qi, kj, scale).forEach((row, at) => follow(m, l, at, row));
      memory.free(kj);
    }
    for (const j of spans(n, inner)) {
      const kj = memory.load(k, j), vj = memory.load(v, j);
      const weigh = (row: Float64Array, at: number) => row.map((x) => Math.exp(x - m[at]) / l[at]);
      addProduct(oi, scoresOf(qi, kj, scale).map(weigh), vj);
      memory.free(kj, vj);
    }
    memory.store(oi);
    memory.free(qi, oi);
  }
  return o;
}
