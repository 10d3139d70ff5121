/**
 * Products with weight matrices, there and back. Both gradients are products of the same kind, once
 * their operands are transposed: transposing takes a hundredth of the time of the product, and one
 * tight loop serves all three.
 *
 * @module
 */

import { addInto } from "../llama/layers.ts";
import { linear as multiply, type Matrix } from "../llama/linear.ts";
import type { Differentiable, Learned } from "./differentiable.ts";

/**
 * Multiplies rows by a weight matrix, `y = x W^T`; back, `dx = dy W` and `dW += dy^T x`.
 *
 * @param x The operands, `[rows, inputs]`.
 * @param rows Number of operands.
 * @param matrix The matrix.
 */
export function linear(
  x: Float32Array,
  rows: number,
  { weight, gradient }: Learned<Matrix>,
): Differentiable {
  const { inputs, outputs } = weight;
  const out = new Float32Array(rows * outputs);
  multiply(x, rows, weight, out);
  const backward = (dOut: Float32Array): Float32Array => {
    const xColumns = { data: transpose(x, rows, inputs), outputs: inputs, inputs: rows };
    const dWeight = new Float32Array(outputs * inputs);
    multiply(transpose(dOut, rows, outputs), outputs, xColumns, dWeight);
    addInto(gradient.data, dWeight, dWeight.length);

    const columns = transpose(weight.data, outputs, inputs);
    const dx = new Float32Array(rows * inputs);
    multiply(dOut, rows, { data: columns, outputs: inputs, inputs: outputs }, dx);
    return dx;
  };
  return { out, backward };
}

/** Rows that are transposed side by side, so that what is written shares cache lines. */
const STRIP = 8;

/**
 * Transposes a matrix.
 *
 * @param x The matrix, `[rows, columns]`.
 * @param rows Its rows.
 * @param columns Its columns.
 * @returns The matrix, `[columns, rows]`.
 */
export function transpose(x: Float32Array, rows: number, columns: number): Float32Array {
  const transposed = new Float32Array(rows * columns);
  for (let begin = 0; begin < rows; begin += STRIP) {
    const end = Math.min(rows, begin + STRIP);
    for (let column = 0; column < columns; column++) {
      for (let row = begin; row < end; row++) {
        transposed[column * rows + row] = x[row * columns + column];
      }
    }
  }
  return transposed;
}
