/**
 * Random calls of convolutions, what they must give, and the plain formula in f32 that budgets come from.
 *
 * @module
 */

import type { DType, HostData, Layout, Tensor } from "@flashtile/attention";
import {
  dynamicConvolution,
  dynamicConvolutionWithGradient,
  lightweightConvolution,
  lightweightConvolutionWithGradient,
} from "@flashtile/attention/linear";
import { retrieve } from "./arrangement.ts";
import { halfUlp } from "./budget.ts";
import { relatives } from "./family.ts";
import { count, type Extents, written } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";
import { spread } from "./softmax.ts";
import { halfUlpOf, numbersIn } from "./storage.ts";

/** The functions by name. */
export const functions = { lightweightConvolution, dynamicConvolution };

/** Those with gradients. */
export const twins = {
  lightweightConvolution: lightweightConvolutionWithGradient,
  dynamicConvolution: dynamicConvolutionWithGradient,
};

/** Which of the two. */
export type Name = keyof typeof functions;

/** Both. */
export const names = Object.keys(functions) as Name[];

/** A random call. */
export interface ConvolutionCall {
  readonly name: Name;
  /** `[B, H, N, D]`, and taps. */
  readonly extents: Extents;
  readonly width: number;
  readonly v: Tensor<HostData>;
  readonly weights: Tensor<HostData>;
  readonly options: { readonly causal: boolean; readonly layout: Layout };
  readonly rank: number;
  readonly random: Random;
}

const columns = [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 20, 63, 64, 65, 72, 130];
const lengths = [1, 2, 3, 5, 8, 17, 63, 64, 65, 67, 130, 300, 700];
const widths = [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 63, 127];
const dtypes: readonly DType[] = ["f32", "f32", "f16", "bf16"];

/** Products of a call at most: the oracle does some 10 million a second. */
const mostWork = 150_000;

export function oneOf<T>(random: Random, all: readonly T[]): T {
  return all[whole(random, 0, all.length - 1)];
}

/** Sizes of a call that the oracle has done soon. */
function drawSizes(random: Random, rank: number): { extents: Extents; width: number } {
  for (;;) {
    const B = rank < 4 ? 1 : whole(random, random() < 0.05 ? 0 : 1, 2);
    const H = rank < 3 ? 1 : whole(random, 1, 3), width = oneOf(random, widths);
    const N = random() < 0.03 ? 0 : oneOf(random, lengths), D = oneOf(random, columns);
    if (B * H * N * D * width <= mostWork) return { extents: [B, H, N, D], width };
  }
}

/** A tensor of random numbers, written with a rank and a layout. */
export function randomTensor(
  random: Random,
  axes: Extents,
  { rank, layout }: { readonly rank: number; readonly layout: Layout },
  dtype: DType,
): Tensor<HostData> {
  return spread(normals(count(axes), random), written(axes, rank, layout), dtype, random);
}

/** A random call. */
export function randomCall(seed: number, only?: { readonly causal: boolean }): ConvolutionCall {
  const random = seeded(seed), rank = whole(random, 2, 4), name = oneOf(random, names);
  const layout = oneOf<Layout>(random, ["bhnd", "bnhd"]);
  const { extents: [B, H, N, D], width } = drawSizes(random, rank);
  const causal = width % 2 === 0 || (only?.causal ?? random() < 0.5);
  const v = randomTensor(random, [B, H, N, D], { rank, layout }, oneOf(random, dtypes));
  const ofWeights = oneOf(random, dtypes);
  const weights = name === "dynamicConvolution"
    ? randomTensor(random, [B, H, N, width], { rank, layout }, ofWeights)
    : spread(normals(H * width, random), [H, width], ofWeights, random);
  if (random() < 0.1) maskSome(weights, random);
  const options = { causal, layout };
  return { name, extents: [B, H, N, D], width, v, weights, options, rank, random };
}

/** Some weights become -Infinity: of no tap, or of all of a row. */
function maskSome({ data, dtype }: Tensor<HostData>, random: Random): void {
  const infinity = dtype === "f16" ? 0xfc00 : dtype === "bf16" ? 0xff80 : -Infinity;
  const share = oneOf(random, [0.2, 0.9]);
  data.forEach((_, at) => random() < share && (data[at] = infinity));
}

/** Numbers of a tensor by row of each head, as float32 has them. */
export function denseOf(
  { data, dtype, ...rest }: Tensor<HostData>,
  axes: Extents,
  layout: Layout,
): Float32Array {
  return retrieve({ ...rest, data: numbersIn(data, dtype) }, axes, layout);
}

/** Weights as numbers `[B, H, N, W]`, or `[H, W]`. */
export function denseWeights(call: ConvolutionCall, weights = call.weights): Float32Array {
  const { name, extents: [B, H, N], width, options: { layout } } = call;
  return name === "dynamicConvolution"
    ? denseOf(weights, [B, H, N, width], layout)
    : denseOf(weights, [1, 1, H, width], "bhnd");
}

/** The call in contiguous tensors of rank 4, as the oracle takes it. */
function plainly(call: ConvolutionCall) {
  const { name, extents, width, v, options: { layout } } = call, [B, H, N] = extents;
  const ofWeights = name === "dynamicConvolution" ? [B, H, N, width] : [H, width];
  return {
    v: { data: denseOf(v, extents, layout), shape: extents },
    weights: { data: denseWeights(call), shape: ofWeights },
  };
}

/** What it must give, `[B, H, N, D]`. */
export function exact(call: ConvolutionCall): ArrayLike<number> {
  return relatives[call.name].forward(plainly(call), { causal: call.options.causal }).out.data;
}

/** Gradients by name. */
export interface Gradients {
  readonly dv: ArrayLike<number>;
  readonly dWeights: ArrayLike<number>;
}

/** The gradients that it must have, by that with respect to its result. */
export function exactGradients(call: ConvolutionCall, dOut: Float32Array): Gradients {
  const given = { data: dOut, shape: call.extents }, { causal } = call.options;
  const { dv, dWeights } = relatives[call.name].backward(plainly(call), given, { causal });
  return { dv: dv.data, dWeights: dWeights.data };
}

const f = Math.fround;

/** Softmax of a row in f32. */
function tapsOf(row: Float32Array): Float32Array {
  const m = row.reduce((a, b) => Math.max(a, b), -Infinity);
  if (m === -Infinity) return new Float32Array(row.length);
  const powers = row.map((w) => Math.exp(f(w - m))), sum = powers.reduce((a, b) => f(a + b), 0);
  return powers.map((p) => p / sum);
}

/** Each row of a call, by its number over all heads: its taps, and the row that each is on, -1 beyond the ends. */
function* rowsOf(call: ConvolutionCall, weights: Float32Array) {
  const { name, extents: [B, H, N], width: W, options: { causal } } = call;
  const lead = causal ? W - 1 : (W - 1) / 2;
  for (let row = 0; row < B * H * N; row++) {
    const i = row % N, at = name === "dynamicConvolution" ? row : Math.floor(row / N) % H;
    const on = Array.from({ length: W }, (_, t) => {
      const n = i + t - lead;
      return n >= 0 && n < N ? row - i + n : -1;
    });
    yield { row, at, taps: tapsOf(weights.subarray(at * W, at * W + W)), on };
  }
}

/**
 * What a budget may have besides: a rounding of the largest number, and of the largest term of the sums that they are
 * what an exponential may be off by, two ULP, and a rounding each of a product and of a division. The plain formula may
 * be exact by luck.
 */
export function bandOf(
  numbers: ArrayLike<number>,
  { largest: term }: Plain,
  dtype: DType = "f32",
): number {
  const largest = Array.from(numbers).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const ofTerm = 6 * halfUlp(term);
  return halfUlpOf(dtype, largest) + halfUlp(largest) + ofTerm;
}

/** Numbers of the plain formula, and the largest term of the sums that they are. */
export interface Plain {
  readonly numbers: Float32Array;
  readonly largest: number;
}

/** Sums that remember their largest term. */
class Sums implements Plain {
  readonly numbers: Float32Array;
  largest = 0;

  constructor(length: number) {
    this.numbers = new Float32Array(length);
  }

  add(at: number, term: number): void {
    this.numbers[at] = f(this.numbers[at] + term);
    this.note(term);
  }

  /** A term of a sum that is a factor of terms of this one. */
  note(term: number): void {
    this.largest = Math.max(this.largest, Math.abs(term));
  }
}

/** A call by the plain formula in f32. */
export function naive(call: ConvolutionCall): Plain {
  const { v, weights } = plainly(call), D = call.extents[3], out = new Sums(v.data.length);
  for (const { row, taps, on } of rowsOf(call, weights.data)) {
    on.forEach((n, t) => {
      for (let d = 0; n >= 0 && d < D; d++) out.add(row * D + d, f(taps[t] * v.data[n * D + d]));
    });
  }
  return out;
}

/** Its gradients likewise. */
export function naiveGradients(
  call: ConvolutionCall,
  dOut: Float32Array,
): Readonly<Record<keyof Gradients, Plain>> {
  const { v, weights } = plainly(call), { width: W, extents: [, , , D] } = call;
  const dv = new Sums(v.data.length), dWeights = new Sums(weights.data.length);
  for (const { row, at, taps, on } of rowsOf(call, weights.data)) {
    const g = dOut.subarray(row * D, row * D + D);
    const dTaps = on.map((n, t) => {
      let sum = 0;
      for (let d = 0; n >= 0 && d < D; d++) {
        const product = f(g[d] * v.data[n * D + d]);
        dv.add(n * D + d, f(taps[t] * g[d]));
        dWeights.note(taps[t] * product);
        sum = f(sum + product);
      }
      return sum;
    });
    const mean = dTaps.reduce((sum, d, t) => f(sum + f(taps[t] * d)), 0);
    dTaps.forEach((d, t) => dWeights.add(at * W + t, f(taps[t] * f(d - mean))));
  }
  return { dv, dWeights };
}
