/**
 * FlashAttention-2 (arXiv 2307.08691, algorithm 1): queries outside, keys inside.
 *
 * @module
 */

import { blocksOf, spans } from "./blocks.ts";
import { Matrix, type Memory } from "./memory.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import { follow } from "./softmax.ts";
import { addProduct, scaleRow, scoresOf } from "./tiles.ts";

/** What is computed, and each row's log-sum-exp, which the way back needs. */
export interface Attended {
  readonly o: Matrix;
  readonly lse: Matrix;
}

/** A tile of results stays until it is finished, while all keys pass by; it is divided once. */
export function flashAttention2({ q, k, v }: Inputs, memory: Memory): Attended {
  const { rows: n, columns: d } = q, { outer, inner } = blocksOf(memory.size, d);
  const o = new Matrix("O", n, d), lse = new Matrix("L", n, 1);
  for (const i of spans(n, outer)) {
    const qi = memory.load(q, i), oi = memory.make(o, i);
    const m = new Float64Array(i.count).fill(-Infinity), l = new Float64Array(i.count);
    for (const j of spans(n, inner)) {
      const kj = memory.load(k, j), vj = memory.load(v, j);
      const weights = scoresOf(qi, kj, scaleFor(d)).map((row, at) => {
        const before = m[at];
        follow(m, l, at, row);
        scaleRow(oi.rows[at], Math.exp(before - m[at])); // line 10
        return row.map((x) => Math.exp(x - m[at]));
      });
      addProduct(oi, weights, vj);
      memory.free(kj, vj);
    }
    oi.rows.forEach((row, at) => scaleRow(row, 1 / l[at])); // line 12
    memory.store(oi);
    memory.write(l.map((sum, at) => m[at] + Math.log(sum)), lse, i); // line 13
    memory.free(qi, oi);
  }
  return { o, lse };
}
