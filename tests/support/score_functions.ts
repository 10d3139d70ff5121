/**
 * Functions of the vectors `tests/vectors/scores.json`, results and gradients of PyTorch's `flex_attention` made by
 * `tests/vectors/generate_scores.py`: each as people write it for this library.
 *
 * @module
 */

import { type Captured, captured } from "../../src/scores/captured.ts";
import type { Score, ScoreFunctions, Whole } from "../../src/scores/kinds.ts";
import { where } from "../../src/scores/where.ts";
import vectors from "../vectors/scores.json" with { type: "json" };
import { bytesOf, type Encoded, floatsOf } from "./encoded.ts";
import type { Problem } from "./problem.ts";

interface Typed extends Encoded {
  readonly dtype: string;
}

interface RawCase {
  readonly name: string;
  readonly inputs: string;
  readonly captures: Readonly<Record<string, Typed>>;
  readonly dCaptures: Readonly<Record<string, Encoded>>;
}

/** A tensor of the file. */
export interface VectorTensor {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: number[];
}

/** Arrays by their names. */
type Arrays = Readonly<Record<string, Captured>>;

type Table = Captured<Score>;
type List = Captured<Whole>;

/** A function of each case, by its name. */
const functions: Readonly<Record<string, (arrays: Arrays) => ScoreFunctions>> = {
  "alibi": ({ slope }) => ({
    scoreMod: (score, { h, q, k }) => score.add((slope as Table).at(h).mul(k.sub(q).toF32())),
  }),
  "softcap": () => ({ scoreMod: (score) => score.div(1.5).tanh().mul(1.5) }),
  "relative table": ({ table }) => ({
    scoreMod: (score, { h, q, k }) => score.add((table as Table).at(h, q.sub(k).add(47))),
  }),
  "buckets (T5)": ({ bias, bucket }) => ({
    scoreMod: (score, { h, q, k }) =>
      score.add((bias as Table).at((bucket as List).at(q.sub(k).add(47)), h)),
  }),
  "nested gather (graph distances)": ({ bias, distance }) => ({
    scoreMod: (score, { b, h, q, k }) =>
      score.add((bias as Table).at(h, (distance as List).at(b, q, k))),
  }),
  "log of one plus exp": () => ({ scoreMod: (score) => score.exp().add(1).log() }),
  "log-n scale": () => ({
    scoreMod: (score, { q }) => score.mul(q.add(2).toF32().log()).div(Math.log(48)),
  }),
  "temperature per head": ({ t }) => ({
    scoreMod: (score, { h }) => score.mul((t as Table).at(h)),
  }),
  "gate": ({ gate }) => ({
    scoreMod: (score, { b, q }) => score.mul((gate as Table).at(b, q).sigmoid()),
  }),
  "clamp, minimum, maximum, absolute, sign": () => ({
    scoreMod: (score) =>
      score.clamp(-0.5, 0.7).add(score.abs().mul(0.25)).sub(score.neg().mul(0.125)),
  }),
  "where by distance": () => ({
    scoreMod: (score, { q, k }) => where(q.sub(k).gt(5), score.mul(0.5), score),
  }),
  "square root and division": () => ({
    scoreMod: (score, { q, k }) => score.div(q.sub(k).abs().toF32().add(1).sqrt()),
  }),
  "causal": () => ({ maskMod: ({ q, k }) => q.ge(k) }),
  "window": () => ({ maskMod: ({ q, k }) => q.sub(k).abs().le(5) }),
  "dilated": () => ({ maskMod: ({ q, k }) => q.ge(k).and(q.sub(k).mod(3).eq(0)) }),
  "mod of negative numbers": () => ({ maskMod: ({ q, k }) => k.sub(q).mod(4).eq(1) }),
  "prefix": ({ prefix }) => ({
    maskMod: ({ b, q, k }) => k.lt((prefix as List).at(b)).or(q.ge(k)),
  }),
  "documents": ({ doc }) => ({
    maskMod: ({ q, k }) => (doc as List).at(q).eq((doc as List).at(k)),
  }),
  "documents, causal, ALiBi, softcap, grouped": ({ slope, doc }) => ({
    scoreMod: (score, { h, q, k }) =>
      score.div(1.5).tanh().mul(1.5).add((slope as Table).at(h).mul(k.sub(q).toF32())),
    maskMod: ({ q, k }) => (doc as List).at(q).eq((doc as List).at(k)).and(q.ge(k)),
  }),
  "neighbourhood 2-D": () => ({
    maskMod: ({ q, k }) =>
      q.floorDiv(8).sub(k.floorDiv(8)).abs().le(1).and(q.mod(8).sub(k.mod(8)).abs().le(2)),
  }),
  "block diffusion": () => ({
    maskMod: ({ q, k }) => {
      const own = q.floorDiv(12), other = k.floorDiv(12);
      return own.eq(other).or(own.gt(other).and(k.mod(2).eq(0)));
    },
  }),
  "draft tree": ({ ancestor }) => ({
    maskMod: ({ q, k }) => (ancestor as List).at(q, k).eq(1),
  }),
  "lengths, with rows that see nothing": ({ length }) => ({
    maskMod: ({ b, q, k }) => k.lt((length as List).at(b)).and(q.lt((length as List).at(b))),
  }),
  "shifted windows (Swin)": ({ table, region }) => ({
    scoreMod: (score, { h, q, k }) =>
      score.add((table as Table).at(h, q.mod(12).sub(k.mod(12)).add(11))),
    maskMod: ({ q, k }) =>
      q.floorDiv(12).eq(k.floorDiv(12)).and((region as List).at(q).eq((region as List).at(k))),
  }),
  "by head and batch": () => ({
    scoreMod: (score, { b, h }) => where(h.eq(1).or(b.eq(1)), score.add(1), score.mul(0.5)),
    maskMod: ({ h, q, k }) => h.eq(2).and(k.gt(q)).not(),
  }),
  "more keys than queries": ({ w }) => ({
    scoreMod: (score, { k }) => score.add((w as Table).at(k)),
    maskMod: ({ q, k }) => k.sub(q).le(16),
  }),
};

function tensorOf(encoded: Encoded): VectorTensor {
  return { data: floatsOf(encoded), shape: encoded.shape };
}

/** A case: its inputs, its function, what comes out, and gradients from `dOut`. */
export interface ScoreCase {
  readonly name: string;
  readonly inputs: Readonly<Record<"q" | "k" | "v" | "dOut", VectorTensor>>;
  readonly functions: ScoreFunctions;
  readonly results: Readonly<Record<"out" | "lse" | "dq" | "dk" | "dv", VectorTensor>>;
  /** Gradients by arrays that ask for them. */
  readonly dCaptured: ReadonlyMap<Captured, VectorTensor>;
}

/** The problem of a case. */
export function problemOfCase({ inputs: { q, k, v } }: ScoreCase): Problem {
  const [B, Hq, Nq, D] = q.shape, [, Hkv, Nk, Dv] = v.shape;
  return { sizes: { B, Hq, Hkv, Nq, Nk, D, Dv }, ...{ q: q.data, k: k.data, v: v.data } };
}

function capturedOf(encoded: Typed, grad: boolean): Captured {
  if (encoded.dtype === "float32") return captured(floatsOf(encoded), encoded.shape, { grad });
  return captured(new Int32Array(bytesOf(encoded).buffer), encoded.shape);
}

function mapped<From, To>(
  from: Readonly<Record<string, From>>,
  to: (one: From, name: string) => To,
) {
  return Object.fromEntries(Object.entries(from).map(([name, one]) => [name, to(one, name)]));
}

function readCase(raw: RawCase): ScoreCase {
  const { name, dCaptures } = raw, results = raw as unknown as Record<string, Encoded>;
  const inputs = (vectors.inputs as Record<string, Record<string, Encoded>>)[raw.inputs];
  const arrays = mapped(raw.captures, (one, own) => capturedOf(one, own in dCaptures));
  return {
    name,
    inputs: mapped(inputs, tensorOf) as ScoreCase["inputs"],
    functions: functions[name](arrays),
    results: mapped(
      Object.fromEntries(["out", "lse", "dq", "dk", "dv"].map((own) => [own, results[own]])),
      tensorOf,
    ) as ScoreCase["results"],
    dCaptured: new Map(Object.entries(dCaptures).map(([own, d]) => [arrays[own], tensorOf(d)])),
  };
}

/** Names of the cases, and what reads one. */
export const scoreCases = (vectors.cases as unknown as RawCase[]).map((raw) => ({
  name: raw.name,
  read: () => readCase(raw),
}));
