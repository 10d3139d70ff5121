/**
 * The parts of a Llama that work on one row, or on one number, at a time, there and back.
 *
 * @module
 */

import { gateSilu, rmsNorm as normalize } from "../llama/layers.ts";
import type { Matrix } from "../llama/linear.ts";
import type { Differentiable, Learned } from "./differentiable.ts";

/**
 * Takes a row of a matrix for each token; back, gradients are added to the rows that were taken.
 *
 * @param tokens The tokens.
 * @param matrix A row for each token that there is.
 */
export function embed(
  tokens: Uint8Array,
  { weight, gradient }: Learned<Matrix>,
): Differentiable<void> {
  const width = weight.inputs;
  const out = new Float32Array(tokens.length * width);
  for (const [row, token] of tokens.entries()) {
    out.set(weight.data.subarray(token * width, (token + 1) * width), row * width);
  }
  const backward = (dOut: Float32Array): void => {
    for (const [row, token] of tokens.entries()) {
      const from = row * width, to = token * width;
      for (let i = 0; i < width; i++) gradient.data[to + i] += dOut[from + i];
    }
  };
  return { out, backward };
}

/**
 * RMSNorm, `y = x f g` with `f = 1 / sqrt(mean(x^2) + epsilon)`. Each `x` is also part of `f`, hence
 * the second term of `dx = f (g dy - x f^2 mean(x g dy))`; `dg += sum(x f dy)` over the rows.
 *
 * @param x The rows, `[rows, gain.length]`.
 * @param rows Number of rows.
 * @param gain A factor for each column.
 * @param epsilon Added to the mean square.
 */
export function rmsNorm(
  x: Float32Array,
  rows: number,
  { weight: gain, gradient: dGain }: Learned<Float32Array>,
  epsilon: number,
): Differentiable {
  const width = gain.length;
  const out = new Float32Array(rows * width);
  normalize(x, rows, gain, epsilon, out);
  const backward = (dOut: Float32Array): Float32Array => {
    const dx = new Float32Array(rows * width);
    for (let begin = 0; begin < dx.length; begin += width) {
      let squares = 0, products = 0;
      for (let i = 0; i < width; i++) {
        const value = x[begin + i];
        squares += value * value;
        products += value * gain[i] * dOut[begin + i];
      }
      const factor = 1 / Math.sqrt(squares / width + epsilon);
      const shared = factor * factor * products / width;
      for (let i = 0; i < width; i++) {
        const value = x[begin + i], dy = dOut[begin + i];
        dx[begin + i] = factor * (gain[i] * dy - value * shared);
        dGain[i] += value * factor * dy;
      }
    }
    return dx;
  };
  return { out, backward };
}

/** Gradients with respect to the two operands of SwiGLU's gate. */
export interface GateGradients {
  /** By what opens the gate. */
  readonly dGate: Float32Array;
  /** By what the gate lets pass. */
  readonly dUp: Float32Array;
}

/**
 * The gate of SwiGLU, `y = silu(gate) up` with `silu(x) = x s`, `s = 1 / (1 + exp(-x))`. Its slope is
 * `silu'(x) = s (1 + x (1 - s))`.
 *
 * @param gate What opens the gate.
 * @param up What the gate lets pass.
 */
export function swiglu(gate: Float32Array, up: Float32Array): Differentiable<GateGradients> {
  const out = gate.slice();
  gateSilu(out, up, out.length);
  const backward = (dOut: Float32Array): GateGradients => {
    const dGate = new Float32Array(out.length), dUp = new Float32Array(out.length);
    for (let i = 0; i < out.length; i++) {
      const x = gate[i], dy = dOut[i];
      const sigmoid = 1 / (1 + Math.exp(-x));
      dGate[i] = dy * up[i] * sigmoid * (1 + x * (1 - sigmoid));
      dUp[i] = dy * x * sigmoid;
    }
    return { dGate, dUp };
  };
  return { out, backward };
}
