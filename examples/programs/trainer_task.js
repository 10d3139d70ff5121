/**
 * What the trainer learns, and the model that learns it: in sequences that repeat themselves the next
 * token is the one of four places before it.
 *
 * @module
 */

import { matricesFrom, randomFrom } from "./numbers.js";

export const tokens = 12;
export const batch = 8;
export const N = 16;
export const width = 16;
export const heads = 2;

const period = 4, random = randomFrom(7), matrix = matricesFrom(random);

/** Its parts, all of which are learned; what begins with `bias` is a number for each distance. */
export const model = {
  table: matrix(tokens, width, 1),
  bias: matrix(heads, N, 0.01),
  ...{ q: matrix(width, width), k: matrix(width, width), v: matrix(width, width) },
  output: matrix(width, width),
  ...{ up: matrix(4 * width, width), down: matrix(width, 4 * width) },
  head: matrix(tokens, width),
};

/** Sequences, and the token behind each of theirs. */
export function draw() {
  const patterns = Array.from({ length: batch * period }, () => random() % tokens);
  const tokenAt = (row, ahead) =>
    patterns[Math.floor(row / N) * period + (row % N + ahead) % period];
  const rows = Array.from({ length: batch * N }, (_, row) => row);
  return {
    ids: rows.map((row) => tokenAt(row, 0)),
    targets: rows.map((row) => tokenAt(row, 1)),
  };
}
