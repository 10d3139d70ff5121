/**
 * The library's layers on rows, there and back: what they give by weights is added to the gradients that are there.
 *
 * @module
 */

import { type Engine, type Tensor, tensor } from "@flashtile/attention";
import {
  embeddingWithGradient,
  gatedWithGradient,
  linearWithGradient,
  rmsNormWithGradient,
} from "@flashtile/attention/nn";
import { addInto, type Differentiable, type Learned } from "./differentiable.ts";
import type { Matrix } from "./weights.ts";

/** Gradients with respect to the two operands of SwiGLU's gate. */
export interface GateGradients {
  /** By what opens the gate. */
  readonly dGate: Float32Array;
  /** By what the gate lets pass. */
  readonly dUp: Float32Array;
}

/** The layers of a model, on its engine. */
export class Layers {
  readonly #engine: Engine;

  /** @param engine Computes; the caller closes it. */
  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Takes a row of a matrix for each token; back, gradients are added to the rows that were taken.
   *
   * @param tokens The tokens.
   * @param matrix A row for each token that there is.
   */
  async embed(
    tokens: Uint8Array,
    { weight, gradient }: Learned<Matrix>,
  ): Promise<Differentiable<void>> {
    const { out, backward } = await embeddingWithGradient(tokens, matrixOf(weight), this.#options);
    return {
      out: out.data,
      backward: async (dOut) => {
        const { dTable } = await backward(rowsOf(dOut, weight.inputs));
        learn(gradient.data, dTable);
      },
    };
  }

  /**
   * Multiplies rows by a weight matrix, `y = x W^T + residual`; back, `dx = dy W` and `dW += dy^T x`.
   *
   * @param x The operands, `[rows, inputs]`.
   * @param matrix The matrix.
   * @param residual Added to the result, if there is one; its gradient is `dy`.
   */
  async linear(
    x: Float32Array,
    { weight, gradient }: Learned<Matrix>,
    residual?: Float32Array,
  ): Promise<Differentiable> {
    const { inputs, outputs } = weight, more = residual && rowsOf(residual, outputs);
    const { out, backward } = await linearWithGradient(rowsOf(x, inputs), matrixOf(weight), {
      ...{ ...this.#options, residual: more },
    });
    return {
      out: out.data,
      backward: async (dOut) => {
        const { dx, dWeight } = await backward(rowsOf(dOut, outputs));
        learn(gradient.data, dWeight);
        return dx.data;
      },
    };
  }

  /**
   * RMSNorm, `y = x gain / sqrt(mean(x^2) + epsilon)`.
   *
   * @param x The rows, `[rows, gain.length]`.
   * @param gain A factor for each column.
   * @param epsilon Added to the mean square.
   */
  async rmsNorm(
    x: Float32Array,
    { weight, gradient }: Learned<Float32Array>,
    epsilon: number,
  ): Promise<Differentiable> {
    const width = weight.length, gain = tensor(weight, [width]);
    const { out, backward } = await rmsNormWithGradient(rowsOf(x, width), gain, {
      ...{ ...this.#options, eps: epsilon },
    });
    return {
      out: out.data,
      backward: async (dOut) => {
        const { dx, dWeight } = await backward(rowsOf(dOut, width));
        learn(gradient, dWeight);
        return dx.data;
      },
    };
  }

  /**
   * The gate of SwiGLU, `y = silu(gate) up`.
   *
   * @param gate What opens the gate.
   * @param up What the gate lets pass.
   */
  async swiglu(gate: Float32Array, up: Float32Array): Promise<Differentiable<GateGradients>> {
    const width = gate.length, ofBoth = [gate, up].map((rows) => rowsOf(rows, width));
    const { out, backward } = await gatedWithGradient(ofBoth[0], ofBoth[1], this.#options);
    return {
      out: out.data,
      backward: async (dOut) => {
        const { dGate, dUp } = await backward(rowsOf(dOut, width));
        return { dGate: dGate.data, dUp: dUp.data };
      },
    };
  }

  get #options(): { readonly engine: Engine } {
    return { engine: this.#engine };
  }
}

/** Views numbers as rows. */
function rowsOf(data: Float32Array, width: number): Tensor {
  return tensor(data, [data.length / width, width]);
}

function matrixOf({ data, outputs, inputs }: Matrix): Tensor {
  return tensor(data, [outputs, inputs]);
}

/** Adds gradients to those that are there. */
function learn(gradient: Float32Array, { data }: Tensor): void {
  addInto(gradient, data);
}
