/**
 * Gradients of layers by their plain formulas: in float64 they are what must come out, and with every step rounded to f32
 * what budgets come from.
 *
 * @module
 */

import type { Engine, Tensor } from "@flashtile/attention";
import type { Activation } from "@flashtile/attention/nn";
import { referenceActivation } from "@flashtile/attention/reference";
import { assertWithinBudget, halfUlp, measure } from "./budget.ts";
import { elementsOf } from "./layers.ts";
import { count } from "./problem.ts";
import { normals, type Random } from "./random.ts";
import { spread } from "./softmax.ts";

/** What becomes of each step's number. */
export type Rounding = (x: number) => number;

/** Numbers of any kind. */
export type Numbers = ArrayLike<number>;

/** Gradients by name. */
export type Gradients = Readonly<Record<string, Float64Array>>;

/** Keeps all. */
export const exactly: Rounding = (x) => x;

/** As f32 has it. */
export const plainly: Rounding = Math.fround;

/** The normal distribution, by what the oracle gives for gelu. */
function normal(x: number): number {
  return x === 0 ? 0.5 : referenceActivation({ data: [x], shape: [1] }, "gelu").out.data[0] / x;
}

const root = Math.sqrt(2 / Math.PI), cubic = 0.044715;

const slopes: Readonly<Record<Activation, (x: number, r: Rounding) => number>> = {
  gelu: (x, r) =>
    r(r(normal(x)) + r(x * r(r(Math.exp(r(-r(x * x) / 2))) * r(1 / Math.sqrt(2 * Math.PI))))),
  "gelu-tanh"(x, r) {
    const square = r(x * x), t = r(Math.tanh(r(r(root) * r(x + r(r(cubic) * r(square * x))))));
    const inner = r(r(root) * r(1 + r(r(3 * cubic) * square)));
    return r(r(0.5 * r(1 + t)) + r(r(0.5 * x) * r(r(1 - r(t * t)) * inner)));
  },
  silu(x, r) {
    const s = r(1 / r(1 + r(Math.exp(-x))));
    return r(s * r(1 + r(x * r(1 - s))));
  },
  relu: (x) => x > 0 ? 1 : 0,
  tanh(x, r) {
    const t = r(Math.tanh(x));
    return r(1 - r(t * t));
  },
};

/** The derivative of an activation; 1 of none. */
export function slopeAt(activation: Activation | undefined, x: number, r = exactly): number {
  return activation === undefined ? 1 : slopes[activation](x, r);
}

/** An activation in float64. */
export function activationAt(activation: Activation | undefined, x: number): number {
  if (activation === undefined) return x;
  return referenceActivation({ data: [x], shape: [1] }, activation).out.data[0];
}

/** A linear layer in numbers: `weight` is `[outputs, inputs]`. */
export interface LinearCall {
  readonly x: Numbers;
  readonly weight: Numbers;
  readonly inputs: number;
  readonly outputs: number;
  readonly bias?: Numbers | undefined;
  readonly residual?: Numbers | undefined;
  readonly activation?: Activation | undefined;
}

/** What goes into the activation. */
function innerOf({ x, weight, inputs, outputs, bias }: LinearCall, r: Rounding): Float64Array {
  return Float64Array.from({ length: x.length / inputs * outputs }, (_, at) => {
    const row = Math.floor(at / outputs) * inputs, output = at % outputs;
    let sum = bias?.[output] ?? 0;
    for (let i = 0; i < inputs; i++) sum = r(sum + r(x[row + i] * weight[output * inputs + i]));
    return sum;
  });
}

/** A linear layer in float64. */
export function linearOf(call: LinearCall): Float64Array {
  return innerOf(call, exactly).map((z, at) =>
    activationAt(call.activation, z) + (call.residual?.[at] ?? 0)
  );
}

/** Its gradients. */
export function linearGradientsOf(call: LinearCall, dOut: Numbers, r = exactly): Gradients {
  const { x, weight, inputs, outputs, activation } = call, rows = x.length / inputs;
  const d = innerOf(call, r).map((z, at) => r(dOut[at] * slopeAt(activation, z, r)));
  const dx = new Float64Array(x.length), dWeight = new Float64Array(weight.length);
  const dBias = new Float64Array(outputs);
  for (let row = 0; row < rows; row++) {
    for (let output = 0; output < outputs; output++) {
      const own = d[row * outputs + output];
      dBias[output] = r(dBias[output] + own);
      for (let i = 0; i < inputs; i++) {
        const at = row * inputs + i, of = output * inputs + i;
        dx[at] = r(dx[at] + r(own * weight[of]));
        dWeight[of] = r(dWeight[of] + r(own * x[at]));
      }
    }
  }
  return { dx, dWeight, dBias, dResidual: Float64Array.from(dOut) };
}

/** A norm in numbers. */
export interface NormCall {
  readonly x: Numbers;
  readonly width: number;
  readonly weight?: Numbers | undefined;
  readonly bias?: Numbers | undefined;
  readonly eps: number;
  readonly offset: number;
  readonly isCentred: boolean;
}

/** A row without its mean, and one over its root. */
function normed({ x, width, eps, isCentred }: NormCall, from: number, r: Rounding) {
  const row = Array.from({ length: width }, (_, at) => x[from + at]);
  const mean = isCentred ? r(row.reduce((sum, n) => r(sum + n), 0) / width) : 0;
  const centred = row.map((n) => r(n - mean));
  const squares = centred.reduce((sum, n) => r(sum + r(n * n)), 0);
  return { centred, factor: r(1 / r(Math.sqrt(r(r(squares / width) + r(eps))))) };
}

/** A norm in float64. */
export function normOf(call: NormCall): Float64Array {
  const { x, width, weight, bias, offset } = call, out = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += width) {
    const { centred, factor } = normed(call, from, exactly);
    for (let at = 0; at < width; at++) {
      out[from + at] = centred[at] * factor * ((weight?.[at] ?? 1) + offset) + (bias?.[at] ?? 0);
    }
  }
  return out;
}

/** Its gradients. */
export function normGradientsOf(
  call: NormCall,
  dOut: Numbers,
  dSum?: Numbers,
  r = exactly,
): Gradients {
  const { x, width, weight, offset, isCentred } = call, dx = new Float64Array(x.length);
  const dWeight = new Float64Array(width), dBias = new Float64Array(width);
  for (let from = 0; from < x.length; from += width) {
    const { centred, factor } = normed(call, from, r), h = centred.map((n) => r(n * factor));
    const g = h.map((_, at) => r(dOut[from + at] * r((weight?.[at] ?? 1) + r(offset))));
    const product = r(g.reduce((sum, n, at) => r(sum + r(n * h[at])), 0) / width);
    const mean = isCentred ? r(g.reduce((sum, n) => r(sum + n), 0) / width) : 0;
    for (let at = 0; at < width; at++) {
      const own = r(factor * r(r(g[at] - mean) - r(h[at] * product)));
      dx[from + at] = r(own + (dSum?.[from + at] ?? 0));
      dWeight[at] = r(dWeight[at] + r(dOut[from + at] * h[at]));
      dBias[at] = r(dBias[at] + dOut[from + at]);
    }
  }
  return { dx, dWeight, dBias, dResidual: dx };
}

/** A gradient by central differences, of float64. */
export function differencesOf(loss: () => number, x: Float64Array): Float64Array {
  const nudge = 1e-5;
  return x.map((value, at) => {
    x[at] = value + nudge;
    const above = loss();
    x[at] = value - nudge;
    const below = loss();
    x[at] = value;
    return (above - below) / (2 * nudge);
  });
}

/**
 * Asserts gradients to be within twice the plain formula's errors, and two roundings of the largest sum of magnitudes that one
 * is of.
 */
export function assertGradients(
  got: Readonly<Record<string, unknown>>,
  plain: Gradients,
  exact: Gradients,
  sizes: Readonly<Record<string, number>> = {},
): void {
  for (const name of Object.keys(got)) {
    const numbers = elementsOf(got[name] as Tensor<Float32Array>);
    const errors = measure(numbers, plain[name], exact[name]);
    const band = halfUlp(errors.largest) + (sizes[name] ?? 4 * errors.largest) * 2 ** -23;
    assertWithinBudget(name, errors, band);
  }
}

/** A tensor of f32 in some strides and memory. */
export function floatTensor(
  shape: readonly number[],
  random: Random,
  engine?: Engine,
  by = 1,
): Tensor<Float32Array> {
  const made = spread(normals(count(shape), random, by), shape, "f32", random) as Tensor<
    Float32Array
  >;
  if (engine === undefined || random() < 0.5) return made;
  const memory = engine.tensor([made.data.length]);
  memory.data.set(made.data);
  return {
    ...made,
    get data() {
      return memory.data; // Anew each time: memory may grow.
    },
  };
}
