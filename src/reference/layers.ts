/**
 * The oracles of the layers between attention calls.
 *
 * @module
 */

import type { NumberList } from "../tensor/tensor.ts";
import type { Activation } from "../operations/nn/options.ts";
import { refuseUnknown } from "./call.ts";
import type { ReferenceOutput } from "./softmax.ts";
import { linesOf, listOf, listReader, type ReadLine, type ReferenceTensor } from "./tensor.ts";

/** Options of `referenceLinear()`. */
export interface ReferenceLinearOptions {
  /** `[outputs]`. */
  readonly bias?: ReferenceTensor | undefined;
  /** What becomes of each number. */
  readonly activation?: Activation | undefined;
  /** In the shape of the result. */
  readonly residual?: ReferenceTensor | undefined;
}

/** Options of `referenceLayerNorm()` and `referenceRmsNorm()`. */
export interface ReferenceNormOptions {
  /** `[width]`; ones by default. */
  readonly weight?: ReferenceTensor | undefined;
  /** `[width]`; zeros by default. */
  readonly bias?: ReferenceTensor | undefined;
  /** Added to the mean of squares; 1e-5 by default. */
  readonly eps?: number | undefined;
  /** Added to the weight. */
  readonly offset?: number | undefined;
  /** Added to `x` before. */
  readonly residual?: ReferenceTensor | undefined;
}

/** `1 - erf(x)` for x >= 0: its series near 0, else its continued fraction (Abramowitz and Stegun, 7.1.6 and 7.1.14). */
function tailOf(x: number): number {
  if (x > 27) return 0;
  if (x < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * sum; n++) sum += term *= 2 * x * x / (2 * n + 1);
    return 1 - 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
  }
  let fraction = 0;
  for (let n = 80; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** x times the share of the normal distribution below x. */
function gelu(x: number): number {
  const tail = tailOf(Math.abs(x) * Math.SQRT1_2) / 2;
  return x > 0 ? x * (1 - tail) : x * tail;
}

/** x sigmoid(y). */
function gatedBy(x: number, y: number): number {
  return y >= 0 ? x / (1 + Math.exp(-y)) : x * Math.exp(y) / (1 + Math.exp(y));
}

const activations: Readonly<Record<Activation, (x: number) => number>> = {
  gelu,
  // (1 + tanh(y)) / 2 is sigmoid(2 y).
  "gelu-tanh": (x) => gatedBy(x, 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)),
  silu: (x) => gatedBy(x, x),
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
};

/** What becomes of a number; -Infinity has the limit. */
function act(activation: Activation | undefined, x: number): number {
  if (activation === undefined) return x;
  return x === -Infinity && activation !== "tanh" ? 0 : activations[activation](x);
}

/** A tensor made of rows, by their number. */
function rowsOf(
  shape: readonly number[],
  row: (line: number) => ArrayLike<number>,
): ReferenceOutput {
  const columns = shape.at(-1)!, data = new Float64Array(shape.reduce((a, b) => a * b, 1));
  for (let line = 0; line * columns < data.length; line++) data.set(row(line), line * columns);
  return { out: { data, shape } };
}

/** Reads a tensor by its rows. */
function readRows(tensor: ReferenceTensor, shape = tensor.shape): ReadLine {
  return linesOf(tensor, shape, shape.length - 1);
}

/** Reads a row of numbers; `otherwise` where there is none. */
function readRow(tensor: ReferenceTensor | undefined, otherwise: number): (at: number) => number {
  if (tensor === undefined) return () => otherwise;
  const read = readRows(tensor);
  return (at) => read(0, at);
}

/**
 * `activation(x W^T + bias) + residual` by the direct formula.
 *
 * @param x `[..., inputs]`.
 * @param weight `[outputs, inputs]`.
 * @param options Bias, activation and residual.
 * @returns `out`, `[..., outputs]`.
 */
export function referenceLinear(
  x: ReferenceTensor,
  weight: ReferenceTensor,
  options: ReferenceLinearOptions = {},
): ReferenceOutput {
  refuseUnknown(options, ["bias", "activation", "residual", "precision", "out", "signal"]);
  const { activation, residual } = options, [outputs, inputs] = weight.shape;
  const shape = [...x.shape.slice(0, -1), outputs];
  const readX = readRows(x), readW = readRows(weight), bias = readRow(options.bias, 0);
  const added = residual && readRows(residual);
  return rowsOf(shape, (line) =>
    Float64Array.from({ length: outputs }, (_, output) => {
      let sum = bias(output);
      for (let input = 0; input < inputs; input++) sum += readX(line, input) * readW(output, input);
      return act(activation, sum) + (added?.(line, output) ?? 0);
    }));
}

/** What a norm is of: `x + residual`. */
function summed(x: ReferenceTensor, { residual }: ReferenceNormOptions): ReadLine {
  const read = readRows(x), added = residual && readRows(residual);
  return (line, at) => read(line, at) + (added?.(line, at) ?? 0);
}

function norm(
  x: ReferenceTensor,
  options: ReferenceNormOptions,
  isCentred: boolean,
): ReferenceOutput {
  const { eps = 1e-5, offset = 0 } = options, width = x.shape.at(-1)!, read = summed(x, options);
  const weight = readRow(options.weight, 1), bias = readRow(options.bias, 0);
  return rowsOf(x.shape, (line) => {
    const row = Float64Array.from({ length: width }, (_, at) => read(line, at));
    const mean = isCentred ? row.reduce((sum, n) => sum + n, 0) / width : 0;
    const square = row.reduce((sum, n) => sum + (n - mean) ** 2, 0) / width;
    return row.map((n, at) =>
      (n - mean) / Math.sqrt(square + eps) * (weight(at) + offset) + bias(at)
    );
  });
}

/**
 * Layer norm of rows by the direct formula.
 *
 * @param x `[..., width]`.
 * @param options Weight, bias, eps and residual.
 * @returns `out` in the shape of `x`.
 */
export function referenceLayerNorm(
  x: ReferenceTensor,
  options: ReferenceNormOptions = {},
): ReferenceOutput {
  refuseUnknown(options, ["weight", "bias", "eps", "residual"]);
  return norm(x, options, true);
}

/**
 * Norm of rows by their root mean square, by the direct formula.
 *
 * @param x `[..., width]`.
 * @param options Weight, offset, eps and residual.
 * @returns `out` in the shape of `x`.
 */
export function referenceRmsNorm(
  x: ReferenceTensor,
  options: ReferenceNormOptions = {},
): ReferenceOutput {
  refuseUnknown(options, ["weight", "offset", "eps", "residual"]);
  return norm(x, options, false);
}

/**
 * A function of each number of `x`, times those of `up` where they are given.
 *
 * @param x Any shape.
 * @param activation Which function.
 * @param up The same shape.
 * @returns `out` in the shape of `x`.
 */
export function referenceActivation(
  x: ReferenceTensor,
  activation: Activation,
  up?: ReferenceTensor,
): ReferenceOutput {
  const read = readRows(x), factor = up && readRows(up), width = x.shape.at(-1)!;
  return rowsOf(x.shape, (line) =>
    Float64Array.from(
      { length: width },
      (_, at) => act(activation, read(line, at)) * (factor?.(line, at) ?? 1),
    ));
}

/**
 * The mean of each packed sequence's rows; 0 of none.
 *
 * @param x `[rows, width]`.
 * @param cuSeqlens From 0 to the number of rows.
 * @returns `out`, `[sequences, width]`.
 */
export function referenceMeanRows(x: ReferenceTensor, cuSeqlens: NumberList): ReferenceOutput {
  const read = readRows(x), bound = listReader(cuSeqlens), [sequences] = listOf(cuSeqlens).shape;
  const width = x.shape.at(-1)!;
  return rowsOf(
    [sequences - 1, width],
    (sequence) =>
      Float64Array.from({ length: width }, (_, at) => {
        const from = bound(sequence), to = bound(sequence + 1);
        let sum = 0;
        for (let row = from; row < to; row++) sum += read(row, at);
        return sum / Math.max(1, to - from);
      }),
  );
}
