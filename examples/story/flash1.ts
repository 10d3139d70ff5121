/**
 * FlashAttention (arXiv 2205.14135, algorithm 1): keys outside, queries inside.
 *
 * @module
 */

import { blocksOf, spans } from "./blocks.ts";
import { fill, Matrix, type Memory, type Tile } from "./memory.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import { follow } from "./softmax.ts";
import { addProduct, scaleRow, scoresOf } from "./tiles.ts";

/** A tile of keys stays while all queries pass by; their results come and go with them. */
export function flashAttention1({ q, k, v }: Inputs, memory: Memory): Matrix {
  const { rows: n, columns: d } = q, { outer, inner } = blocksOf(memory.size, d);
  const o = new Matrix("O", n, d), l = new Matrix("l", n, 1), m = new Matrix("m", n, 1);
  // Line 2: O = 0, l = 0 and m = -Infinity, in slow memory.
  fill(o, 0, inner, memory);
  memory.write(new Float64Array(n), l, l.all[0]);
  memory.write(new Float64Array(n).fill(-Infinity), m, m.all[0]);
  for (const j of spans(n, outer)) {
    const kj = memory.load(k, j), vj = memory.load(v, j);
    for (const i of spans(n, inner)) {
      const qi = memory.load(q, i), oi = memory.load(o, i);
      const li = memory.read(l, i), mi = memory.read(m, i);
      takeIn(oi, li, mi, scoresOf(qi, kj, scaleFor(d)), vj);
      memory.store(oi);
      memory.write(li, l, i);
      memory.write(mi, m, i);
      memory.free(qi, oi);
    }
    memory.free(kj, vj);
  }
  return o;
}

/** Lines 10 to 12: a mean of the keys so far becomes one of these too. */
function takeIn(
  oi: Tile,
  l: Float64Array,
  m: Float64Array,
  scores: readonly Float64Array[],
  vj: Tile,
): void {
  const weights = scores.map((row, at) => {
    const sumBefore = l[at], before = m[at];
    follow(m, l, at, row);
    scaleRow(oi.rows[at], sumBefore * Math.exp(before - m[at]) / l[at]);
    return row.map((x) => Math.exp(x - m[at]) / l[at]);
  });
  addProduct(oi, weights, vj);
}
