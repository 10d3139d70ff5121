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
  "what intervals know of few keys, and of many not": {
    maskMod: ({ q, k }) => documents.at(k).lt(documents.at(k)).or(q.lt(9)),
  },
  "a mask by batch and head": { maskMod: ({ b, h, k }) => k.mod(4).ne(b.add(h).mod(4)) },
  "what is NaN where it is masked": {
    scoreMod: (score, { k }) => where(k.lt(9), score.mul(NaN), score),
    maskMod: ({ k }) => k.ge(9),
  },
  "an index beyond its array": {
    scoreMod: (score, { q, k }) => score.add(table.at(q.sub(9), k.mul(1000))),
  },
};

/** So many times the same, of what came out. */
export function repeated<T>(count: number, first: T, next: (before: T, at: number) => T): T {
  let last = first;
  for (let at = 0; at < count; at++) last = next(last, at);
  return last;
}

/** As deep and as entangled as functions may be, by what they are; their numbers are exact. */
export const deep: Readonly<Record<string, Meaning>> = {
  "4,000 operations in a row": {
    scoreMod: (score) => repeated(4000, score, (x) => x.neg()),
    maskMod: ({ q, k }) => repeated(4000, q, (x, at) => at % 2 ? x.add(1) : x.sub(1)).ge(k),
  },
  "2^60 ways to one number": {
    scoreMod: (score) => repeated(60, score.mul(2 ** -60), (x) => x.add(x)),
    maskMod: ({ q, k }) => repeated(60, q.ge(k), (c) => c.and(c)),
  },
  "a row that wraps around": { maskMod: ({ q, k }) => repeated(60, q, (x) => x.add(x)).le(k) },
  "1,300 conditions": {
    maskMod: ({ q, k }) => repeated(1300, q.ge(k), (c, at) => c.and(k.ne(at + 20))),
  },
  "1,300 cases, one within the other": {
    scoreMod: (score) => repeated(1300, score, (x, at) => x.max(score.mul(1 - at / 1024))),
  },
  "700 numbers at once": {
    scoreMod: (score, { k }) => {
      const all = Array.from({ length: 700 }, (_, at) => score.mul(at + 1).add(k.toF32()));
      return all.reverse().reduce((least, one) => least.min(one)).max(-4).min(score.add(2));
    },
  },
};

/** Several tiles, in every direction. */
export const large: Problem = randomProblem(
  sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 70, Nk: 301, D: 20, Dv: 22 }),
  1,
);

/** Little, for functions that take long. */
export const few: Problem = randomProblem(sizesOf({ Hq: 1, Nq: 9, Nk: 33, D: 8 }), 2);
