/**
 * The plain formula of the gradients in f32, every step rounded: the measure of our errors.
 *
 * What the forward pass has summed and what is summed again here are sums in opposite orders. In the
 * same order their errors are the same and cancel, as they do for nobody who computes the two passes
 * in different ways: of a row that sees one key, all gradients would be exact.
 *
 * @module
 */

import type { DType } from "@flashtile/attention";
import type { AddTo } from "../../src/reference/scores.ts";
import { traceScore } from "../../src/scores/graph.ts";
import type { CapturedArray } from "../../src/scores/kinds.ts";
import { broadcastReader } from "./meaning.ts";
import type { Cotangents, Gradients } from "./gradients.ts";
import {
  attendRow,
  dot,
  keyOf,
  productOf,
  type Row,
  type RowPlace,
  rowsOf,
  scoresOf,
  tanhOf,
} from "./naive.ts";
import { count, type Meaning, type Problem, shapesOf } from "./problem.ts";
import { rounded } from "./storage.ts";

const round = Math.fround;

/** Adds a multiple of a row to another. */
function addMultiple(sum: Float32Array, factor: number, x: Float32Array): void {
  for (let d = 0; d < sum.length; d++) sum[d] = round(sum[d] + round(factor * x[d]));
}

/** What a row's gradients are computed from. */
interface Given {
  readonly row: Row;
  /** The row with its sums of products the other way round. */
  readonly again: Row;
  readonly dOut: Float32Array;
  /** Of the row's result: the sum of its products with `dOut`, less `dLse`. */
  readonly delta: number;
  readonly lse: number;
}

/** Where what a row gives is added. */
interface RowGradients {
  readonly dq: Float32Array;
  /** Of the keys of its head, and of their values. */
  readonly dk: Float32Array;
  readonly dv: Float32Array;
  addBias(j: number, dS: number): void;
  addSink(dSink: number): void;
  readonly addTo: AddTo;
}

/** Each row from its last element to its first. */
function turned(rows: Float32Array, width: number): Float32Array {
  return rows.map((_, at) => rows[at - at % width + width - 1 - at % width]);
}

function differentiateRow({ row, again, dOut, delta, lse }: Given, into: RowGradients): void {
  const { q, k, scale, softcap } = row, D = q.length, Dv = dOut.length;
  const { sees, sink } = row.meaning, turnedOut = turned(dOut, Dv);
  scoresOf(again).forEach((s, j) => {
    if (!sees(j) || s === -Infinity) return;
    const p = round(Math.exp(round(s - lse)));
    addMultiple(keyOf(into.dv, Dv, j), p, dOut);
    const dS = round(p * round(dot(turnedOut, keyOf(again.v, Dv, j)) - delta));
    into.addBias(j, dS);
    const tanh = softcap ? tanhOf(again, j) : 0;
    const dChanged = round(dS * round(1 - round(tanh * tanh)));
    const dScore = row.meaning.through(j, productOf(again, j), dChanged, into.addTo);
    const dProduct = round(scale * round(dScore));
    addMultiple(into.dq, dProduct, keyOf(k, D, j));
    addMultiple(keyOf(into.dk, D, j), dProduct, q);
  });
  if (sink !== -Infinity) into.addSink(round(-round(Math.exp(round(sink - lse))) * delta));
}

/** Arrays of a score function that ask for gradients. */
function capturedOf({ scoreMod }: Meaning): readonly CapturedArray[] {
  return scoreMod ? traceScore(scoreMod).arrays.filter(({ grad }) => grad) : [];
}

/** What a row gives to which elements of the gradients. */
function partsOf({ sizes }: Problem, meaning: Meaning, all: Gradients<Float32Array>) {
  const { Nk, D, Dv } = sizes, { dBias, dSinks, dArrays } = all;
  const captured = capturedOf(meaning), begins = new Map<CapturedArray, number>();
  captured.reduce((begin, array) => {
    begins.set(array, begin);
    return begin + count(array.shape);
  }, 0);
  const biasAt = meaning.bias && broadcastReader({
    data: dBias!.map((_, index) => index),
    shape: meaning.bias.shape,
  });
  const add = (sums: Float32Array | undefined, at: number, term: number) => {
    if (sums !== undefined) sums[at] = round(sums[at] + term);
  };
  return (at: number, { b, h, i, keyHead }: RowPlace): RowGradients => ({
    dq: all.dq.subarray(at * D, (at + 1) * D),
    dk: all.dk.subarray(keyHead * Nk * D, (keyHead + 1) * Nk * D),
    dv: all.dv.subarray(keyHead * Nk * Dv, (keyHead + 1) * Nk * Dv),
    addBias: (j, dS) => biasAt && add(dBias, biasAt(b, h, i, j), dS),
    addSink: (dSink) => add(dSinks, h, dSink),
    addTo: (array, place, term) => add(dArrays, begins.get(array)! + place, term),
  });
}

/** Gradients of attention by the plain formula in f32, where `out` is stored in `dtype`. */
export function naiveAttentionBackward(
  problem: Problem,
  meaning: Meaning,
  { dOut, dLse }: Cotangents,
  dtype: DType = "f32",
): Gradients<Float32Array> {
  const { D, Dv } = problem.sizes, shapes = shapesOf(problem.sizes), { q, k, v } = problem;
  const captured = capturedOf(meaning);
  const all: Gradients<Float32Array> = {
    dq: new Float32Array(count(shapes.q)),
    dk: new Float32Array(count(shapes.k)),
    dv: new Float32Array(count(shapes.v)),
    ...(meaning.bias && { dBias: new Float32Array(count(meaning.bias.shape)) }),
    ...(meaning.sinks && { dSinks: new Float32Array(count(meaning.sinks.shape)) }),
    ...(captured.length > 0 && {
      dArrays: new Float32Array(captured.reduce((sum, { shape }) => sum + count(shape), 0)),
    }),
  };
  const again = { ...problem, q: turned(q, D), k: turned(k, D), v: turned(v, Dv) };
  const rowAt = rowsOf(problem, meaning), againAt = rowsOf(again, meaning);
  const parts = partsOf(problem, meaning, all);
  for (let at = 0; at < count(shapes.out.slice(0, 3)); at++) {
    const row = rowAt(at), out = new Float32Array(Dv), lse = attendRow(row, out);
    if (lse === -Infinity) continue;
    const given = dOut.subarray(at * Dv, (at + 1) * Dv);
    const delta = round(dot(given, rounded(out, dtype)) - (dLse?.[at] ?? 0));
    differentiateRow({ row, again: againAt(at), dOut: given, delta, lse }, parts(at, row));
  }
  return all;
}
