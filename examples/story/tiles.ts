/**
 * Arithmetic between tiles, in fast memory: nothing here is counted.
 *
 * @module
 */

import type { Tile } from "./memory.ts";

type Rows = readonly Float64Array[];

/** A sum of products. */
export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += a[at] * b[at];
  return sum;
}

/** `into += factor * row`. */
export function addRow(into: Float64Array, factor: number, row: Float64Array): void {
  for (let at = 0; at < row.length; at++) into[at] += factor * row[at];
}

/** `into *= factor`. */
export function scaleRow(into: Float64Array, factor: number): void {
  for (let at = 0; at < into.length; at++) into[at] *= factor;
}

/** `a bᵀ`, times `scale`: a score for each row of `a` and each row of `b`. */
export function scoresOf(a: Tile, b: Tile, scale: number): Float64Array[] {
  return a.rows.map((row) => Float64Array.from(b.rows, (other) => scale * dot(row, other)));
}

/** `into += weights x`. */
export function addProduct(into: Tile, weights: Rows, x: Tile): void {
  into.rows.forEach((row, i) => x.rows.forEach((other, j) => addRow(row, weights[i][j], other)));
}

/** `into += weightsᵀ x`. */
export function addTransposed(into: Tile, weights: Rows, x: Tile): void {
  into.rows.forEach((row, j) => x.rows.forEach((other, i) => addRow(row, weights[i][j], other)));
}

/** The greatest number of a row. */
export function greatest(row: Float64Array): number {
  return row.reduce((a, b) => Math.max(a, b), -Infinity);
}

/** The sum of a row. */
export function sum(row: Float64Array): number {
  return row.reduce((a, b) => a + b, 0);
}
