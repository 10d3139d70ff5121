/**
 * The oracle's answer on a few rows, and how far a result is from it.
 *
 * @module
 */

import { referenceAttention } from "@flashtile/attention/reference";
import type { Problem } from "./problem.ts";
import { turn } from "./turn.ts";

/** Multiply-adds that the oracle may take for a length: a quarter of a second on a slow machine. */
const mostWork = 6e6;

/** So many rows are compared however long they take. */
const leastRows = 4;

/** A row of every head, as it should be. */
export interface ExpectedRow {
  readonly row: number;
  /** `[H, D]`, float64. */
  readonly out: Float64Array;
}

/** Rows to compare: all where that is quick, else some from the first to the last. */
export function chooseRows({ q }: Problem): number[] {
  const [heads, length, dim] = q.shape;
  const affordable = Math.floor(mostWork / (2 * heads * length * dim));
  const count = Math.min(length, Math.max(leastRows, affordable));
  const step = count > 1 ? (length - 1) / (count - 1) : 0;
  return Array.from({ length: count }, (_, index) => Math.round(index * step));
}

/** Computes the rows in float64, one in a turn of the event loop, so that the page stays awake. */
export async function expectRows(problem: Problem, signal: AbortSignal): Promise<ExpectedRow[]> {
  const expected: ExpectedRow[] = [];
  for (const row of chooseRows(problem)) {
    expected.push({ row, out: expectRow(problem, row) });
    await turn();
    signal.throwIfAborted();
  }
  return expected;
}

function expectRow({ q, k, v, causal }: Problem, row: number): Float64Array {
  const [heads, length, dim] = q.shape;
  const one = {
    data: q.data,
    shape: [heads, 1, dim],
    strides: [length * dim, dim, 1],
    offset: row * dim,
  };
  // The offset tells the oracle where its one query stands among the keys.
  return referenceAttention(one, k, v, { causal, offset: row }).out.data;
}

/** The greatest absolute difference between a result and the rows; NaN where it has one. */
export function greatestDifference(
  out: { readonly data: Float32Array; readonly shape: readonly number[] },
  expected: readonly ExpectedRow[],
): number {
  const [, length, dim] = out.shape;
  let greatest = 0;
  for (const { row, out: wanted } of expected) {
    for (let at = 0; at < wanted.length; at++) {
      const head = Math.floor(at / dim);
      const got = out.data[(head * length + row) * dim + at % dim];
      greatest = Math.max(greatest, Math.abs(got - wanted[at]));
    }
  }
  return greatest;
}
