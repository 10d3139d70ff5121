/**
 * The vectors: inputs and PyTorch float64 results and gradients, made by `tests/vectors/generate.py`.
 *
 * @module
 */

import vectors from "../vectors/attention.json" with { type: "json" };
import { bytesOf, type Encoded, floatsOf } from "./encoded.ts";
import { eachGradient, type Gradients } from "./gradients.ts";
import type { Meaning, Problem } from "./problem.ts";

type RawOptions = Record<string, unknown>;

interface RawCase extends Gradients<Encoded> {
  readonly name: string;
  readonly options: RawOptions;
  readonly q: Encoded;
  readonly k: Encoded;
  readonly v: Encoded;
  readonly out: Encoded;
  readonly lse: Encoded;
  readonly dOut: Encoded;
}

/** The arrays of a case. */
export interface VectorArrays {
  readonly problem: Problem;
  readonly options: Meaning;
  readonly out: Float32Array;
  readonly lse: Float32Array;
  readonly dOut: Float32Array;
  /** By autograd, from `dOut`. */
  readonly gradients: Gradients<Float32Array>;
}

/** A case of the file. */
export interface VectorCase {
  readonly name: string;
  /** Names of all its options. */
  readonly asks: readonly string[];
  /** Decodes its arrays. */
  read(): VectorArrays;
}

function isEncoded(value: unknown): value is Encoded {
  return typeof value === "object" && value !== null && "b64" in value;
}

function optionsOf(raw: RawOptions): Meaning {
  return Object.fromEntries(
    Object.entries(raw).map(([name, value]) => {
      if (!isEncoded(value)) return [name, value];
      const data = name === "mask" ? bytesOf(value) : floatsOf(value);
      return [name, { data, shape: value.shape }];
    }),
  );
}

function problemOf({ q, k, v }: RawCase): Problem {
  const [B, Hq, Nq, D] = q.shape;
  const [, Hkv, Nk, Dv] = v.shape;
  return {
    sizes: { B, Hq, Hkv, Nq, Nk, D, Dv },
    q: floatsOf(q),
    k: floatsOf(k),
    v: floatsOf(v),
  };
}

function caseOf(raw: RawCase): VectorCase {
  return {
    name: raw.name,
    asks: Object.keys(raw.options),
    read: () => ({
      problem: problemOf(raw),
      options: optionsOf(raw.options),
      out: floatsOf(raw.out),
      lse: floatsOf(raw.lse),
      dOut: floatsOf(raw.dOut),
      gradients: eachGradient(raw, floatsOf),
    }),
  };
}

/** Every case of the file. */
export const vectorCases: readonly VectorCase[] = (vectors.cases as unknown as RawCase[])
  .map(caseOf);
