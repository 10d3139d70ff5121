/**
 * Score and mask functions of every kind, and a problem of several tiles for them.
 *
 * @module
 */

import { captured, where } from "@flashtile/attention";
import { type Meaning, type Problem, randomProblem, sizesOf } from "./problem.ts";
import { normals, seeded } from "./random.ts";

/** Scores by head and distance. */
export const table = captured(normals(4 * 400, seeded(1)), [4, 400]);
const documents = captured(Int32Array.from({ length: 301 }, (_, at) => Math.floor(at / 53)), [301]);

/** Functions that have something of their own, by what it is. */
export const functions: Readonly<Record<string, Meaning>> = {
  "a table by head and distance": {
    scoreMod: (score, { h, q, k }) => score.add(table.at(h, q.sub(k).add(310))),
  },
  "a function of each side": {
    scoreMod: (score, { q, k }) =>
      score.mul(q.toF32().mul(0.01).add(0.5)).sub(k.toF32().mul(0.02).tanh()),
  },
  "a function of the query alone": { scoreMod: (_, { q }) => q.toF32().mul(0.1) },
  "a number": { scoreMod: () => 3 },
  "a captured number": { scoreMod: () => table.at(2, 5) },
  "a score that is given back": { scoreMod: (score) => score },
  "documents, causal": {
    maskMod: ({ q, k }) => q.ge(k).and(documents.at(q).eq(documents.at(k))),
  },
  "a window, by comparisons of real numbers": {
    maskMod: ({ q, k }) => q.sub(k).toF32().abs().lt(40.5),
  },
  "-Infinity, which masks also behind a cap": {
    scoreMod: (score, { q, k }) => where(q.add(k).mod(3).eq(1), -Infinity, score),
    softcap: 2,
  },
  "options beside them": {
    scoreMod: (score, { h }) => score.mul(h.add(1).toF32()),
    maskMod: ({ k }) => k.mod(7).ne(0),
    causal: true,
    window: [200, 0],
    bias: { data: normals(4 * 301, seeded(2)), shape: [4, 1, 301] },
    sinks: { data: Float32Array.of(1, -1, 0.5, 2), shape: [4] },
    scale: 0.5,
  },
  "a mask of none": { maskMod: () => false },
  "a mask of all": { maskMod: () => true },
  "rows that see nothing": { maskMod: ({ q, k }) => q.mod(3).eq(0).and(k.gt(q)) },
  "a mask by batch and head": { maskMod: ({ b, h, k }) => k.mod(4).ne(b.add(h).mod(4)) },
  "what is NaN where it is masked": {
    scoreMod: (score, { k }) => where(k.lt(9), score.mul(NaN), score),
    maskMod: ({ k }) => k.ge(9),
  },
  "an index beyond its array": {
    scoreMod: (score, { q, k }) => score.add(table.at(q.sub(9), k.mul(1000))),
  },
};

/** Several tiles, in every direction. */
export const large: Problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 70, Nk: 301, D: 20, Dv: 22 }),
  1,
);
