/**
 * A small text encoder's weights, which are random: a row for each byte, and four matrices a layer,
 * `[outputs, inputs]`.
 *
 * @module
 */

import { matricesFrom, randomFrom } from "./numbers.js";

export const width = 32;
export const heads = 4;

const matrix = matricesFrom(randomFrom(1));

export const table = matrix(256, width);
export const layers = Array.from({ length: 2 }, () => ({
  qkv: matrix(3 * width, width),
  output: matrix(width, width),
  up: matrix(4 * width, width),
  down: matrix(width, 4 * width),
}));
