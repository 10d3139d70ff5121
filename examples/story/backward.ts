/**
 * The way back: gradients of Q, K and V from that of O, with the weights remembered or made again.
 *
 * @module
 */

import { type Blocks, blocksOf, spans } from "./blocks.ts";
import type { Attended } from "./flash2.ts";
import { fill, Matrix, type Memory } from "./memory.ts";
import { type Inputs, scaleFor } from "./problem.ts";
import { mix, mixTransposed, scores } from "./products.ts";
import { addProduct, addTransposed, dot, scoresOf } from "./tiles.ts";

/** Gradients, N x d each. */
export interface Gradients {
  readonly dq: Matrix;
  readonly dk: Matrix;
  readonly dv: Matrix;
}

/** Remembering P, as the forward pass has left it (arXiv 2205.14135, algorithm 3). */
export function standardBackward(
  { q, k, v }: Inputs,
  { o, p }: { readonly o: Matrix; readonly p: Matrix },
  dO: Matrix,
  memory: Memory,
): Gradients {
  const blocks = blocksOf(memory.size, q.columns), scale = scaleFor(q.columns);
  const dv = mixTransposed("dV", p, dO, memory);
  const dP = scores("dP", dO, v, 1, memory);
  const delta = rowProducts(dO, o, blocks, memory);
  const dS = gradientOfScores(p, dP, delta, scale, blocks, memory);
  return { dq: mix("dQ", dS, k, memory), dk: mixTransposed("dK", dS, q, memory), dv };
}

/** `dS = P (dP - D)`, times the factor of the scores. */
function gradientOfScores(
  p: Matrix,
  dP: Matrix,
  delta: Matrix,
  scale: number,
  { outer, inner }: Blocks,
  memory: Memory,
): Matrix {
  const dS = new Matrix("dS", p.rows, p.columns);
  for (const i of spans(p.rows, outer)) {
    const di = memory.read(delta, i);
    for (const j of spans(p.columns, inner)) {
      const pij = memory.load(p, i, j), dPij = memory.load(dP, i, j), dSij = memory.make(dS, i, j);
      dSij.rows.forEach((row, at) =>
        row.set(pij.rows[at].map((x, c) => scale * x * (dPij.rows[at][c] - di[at])))
      );
      memory.store(dSij);
      memory.free(pij, dPij, dSij);
    }
  }
  return dS;
}

/** D: for each row the product of O and its gradient (arXiv 2307.08691, algorithm 2, line 4). */
function rowProducts(dO: Matrix, o: Matrix, { inner }: Blocks, memory: Memory): Matrix {
  const delta = new Matrix("D", o.rows, 1);
  for (const i of spans(o.rows, inner)) {
    const dOi = memory.load(dO, i), oi = memory.load(o, i);
    memory.write(Float64Array.from(oi.rows, (row, at) => dot(row, dOi.rows[at])), delta, i);
    memory.free(dOi, oi);
  }
  return delta;
}

/** Tiles that are in fast memory at a time: of K, V, dK and dV, and of Q, dO and dQ. */
export const backwardTiles = 7;

/**
 * Making P again from one number a row (arXiv 2307.08691, algorithm 2; in arXiv 2205.14135,
 * algorithm 4, these are two): keys outside, queries inside.
 */
export function flashBackward(
  { q, k, v }: Inputs,
  { o, lse }: Attended,
  dO: Matrix,
  memory: Memory,
): Gradients {
  const { rows: n, columns: d } = q, blocks = blocksOf(memory.size, d, backwardTiles);
  const [dq, dk, dv] = ["dQ", "dK", "dV"].map((name) => new Matrix(name, n, d));
  const delta = rowProducts(dO, o, blocks, memory), scale = scaleFor(d);
  fill(dq, 0, blocks.inner, memory);
  for (const j of spans(n, blocks.outer)) {
    const kj = memory.load(k, j), vj = memory.load(v, j);
    const dkj = memory.make(dk, j), dvj = memory.make(dv, j);
    for (const i of spans(n, blocks.inner)) {
      const qi = memory.load(q, i), dOi = memory.load(dO, i), dqi = memory.load(dq, i);
      const li = memory.read(lse, i), di = memory.read(delta, i);
      const p = scoresOf(qi, kj, scale).map((row, at) => row.map((s) => Math.exp(s - li[at])));
      const dS = scoresOf(dOi, vj, 1).map((row, at) =>
        row.map((dp, c) => scale * p[at][c] * (dp - di[at])) // line 14
      );
      addTransposed(dvj, p, dOi);
      addProduct(dqi, dS, kj);
      addTransposed(dkj, dS, qi);
      memory.store(dqi);
      memory.free(qi, dOi, dqi);
    }
    memory.store(dkj);
    memory.store(dvj);
    memory.free(kj, vj, dkj, dvj);
  }
  return { dq, dk, dv };
}
