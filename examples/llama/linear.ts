/**
 * Products with weight matrices, `y = x * W^T`.
 *
 * Tiles of the result are held in local variables, so that a number that was loaded serves several
 * products: 4 rows by 2 outputs need 6 loads for 8 products, and the sums still fit in the
 * registers of x86-64. Sums are formed in double precision, which is what JavaScript computes in:
 * rounding to f32 in between would cost time and accuracy.
 *
 * @module
 */

/** A weight matrix as Hugging Face stores it: `[outputs, inputs]`, last axis fastest. */
export interface Matrix {
  /** The elements. */
  readonly data: Float32Array;
  /** Rows: size of a result. */
  readonly outputs: number;
  /** Columns: size of an operand. */
  readonly inputs: number;
}

/**
 * Multiplies rows by a weight matrix.
 *
 * @param x The operands, `[rows, inputs]`.
 * @param rows Number of operands.
 * @param weight The matrix.
 * @param y Receives the results, `[rows, outputs]`.
 */
export function linear(x: Float32Array, rows: number, weight: Matrix, y: Float32Array): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) fourRows(x, row, weight, y);
  for (; row < rows; row++) oneRow(x, row, weight, y);
}

function fourRows(x: Float32Array, row: number, weight: Matrix, y: Float32Array): void {
  let output = 0;
  for (; output + 2 <= weight.outputs; output += 2) tile4x2(x, row, weight, output, y);
  for (; output < weight.outputs; output++) {
    for (let r = row; r < row + 4; r++) tile1x1(x, r, weight, output, y);
  }
}

function oneRow(x: Float32Array, row: number, weight: Matrix, y: Float32Array): void {
  let output = 0;
  for (; output + 4 <= weight.outputs; output += 4) tile1x4(x, row, weight, output, y);
  for (; output < weight.outputs; output++) tile1x1(x, row, weight, output, y);
}

/** 4 rows by 2 outputs. */
function tile4x2(
  x: Float32Array,
  row: number,
  { data, inputs, outputs }: Matrix,
  output: number,
  y: Float32Array,
): void {
  const x0 = row * inputs, x1 = x0 + inputs, x2 = x1 + inputs, x3 = x2 + inputs;
  const w0 = output * inputs, w1 = w0 + inputs;
  let s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0;
  for (let i = 0; i < inputs; i++) {
    const a = data[w0 + i], b = data[w1 + i];
    let value = x[x0 + i];
    s00 += value * a;
    s01 += value * b;
    value = x[x1 + i];
    s10 += value * a;
    s11 += value * b;
    value = x[x2 + i];
    s20 += value * a;
    s21 += value * b;
    value = x[x3 + i];
    s30 += value * a;
    s31 += value * b;
  }
  const y0 = row * outputs + output, y1 = y0 + outputs, y2 = y1 + outputs, y3 = y2 + outputs;
  y[y0] = s00;
  y[y0 + 1] = s01;
  y[y1] = s10;
  y[y1 + 1] = s11;
  y[y2] = s20;
  y[y2 + 1] = s21;
  y[y3] = s30;
  y[y3 + 1] = s31;
}

/** 1 row by 4 outputs: four independent sums, because one alone waits for each addition. */
function tile1x4(
  x: Float32Array,
  row: number,
  { data, inputs, outputs }: Matrix,
  output: number,
  y: Float32Array,
): void {
  const x0 = row * inputs;
  const w0 = output * inputs, w1 = w0 + inputs, w2 = w1 + inputs, w3 = w2 + inputs;
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (let i = 0; i < inputs; i++) {
    const value = x[x0 + i];
    s0 += value * data[w0 + i];
    s1 += value * data[w1 + i];
    s2 += value * data[w2 + i];
    s3 += value * data[w3 + i];
  }
  const y0 = row * outputs + output;
  y[y0] = s0;
  y[y0 + 1] = s1;
  y[y0 + 2] = s2;
  y[y0 + 3] = s3;
}

/** 1 row by 1 output: what the wider tiles leave over. */
function tile1x1(
  x: Float32Array,
  row: number,
  { data, inputs, outputs }: Matrix,
  output: number,
  y: Float32Array,
): void {
  const x0 = row * inputs, w0 = output * inputs;
  let sum = 0;
  for (let i = 0; i < inputs; i++) sum += x[x0 + i] * data[w0 + i];
  y[row * outputs + output] = sum;
}
