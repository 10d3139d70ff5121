/**
 * Random calls of softmax and its logarithms, the plain formula in f32 that budgets come from, and how tensors of any
 * rank are written.
 *
 * @module
 */

import {
  type BooleanTensor,
  type DType,
  type HostData,
  logSoftmax,
  logSoftmaxWithGradient,
  logSumExp,
  logSumExpWithGradient,
  softmax,
  softmaxWithGradient,
  type Tensor,
} from "@flashtile/attention";
import * as oracle from "@flashtile/attention/reference";
import type { ReferenceArray, ReferenceTensor } from "@flashtile/attention/reference";
import { count } from "./problem.ts";
import { normals, type Random, seeded, shuffled, whole } from "./random.ts";
import { bitsIn, decode } from "./storage.ts";

/** The functions by name. */
export const functions = { softmax, logSoftmax, logSumExp };

/** Those with gradients. */
export const twins = {
  softmax: softmaxWithGradient,
  logSoftmax: logSoftmaxWithGradient,
  logSumExp: logSumExpWithGradient,
};

/** What they must give. */
export const oracles = {
  softmax: oracle.referenceSoftmax,
  logSoftmax: oracle.referenceLogSoftmax,
  logSumExp: oracle.referenceLogSumExp,
};

/** The gradients that they must give. */
export const backwardOracles = {
  softmax: oracle.referenceSoftmaxBackward,
  logSoftmax: oracle.referenceLogSoftmaxBackward,
  logSumExp: oracle.referenceLogSumExpBackward,
};

/** Which of the three. */
export type Name = keyof typeof functions;

/** All of them. */
export const names = Object.keys(functions) as Name[];

/** A random call. */
export interface SoftmaxCall {
  readonly x: Tensor<HostData>;
  readonly options: {
    readonly axis: number;
    readonly scale: number;
    readonly mask?: BooleanTensor;
  };
  readonly random: Random;
}

/** Numbers in a storage. */
export function stored(numbers: ArrayLike<number>, dtype: DType): HostData {
  return dtype === "f32" ? Float32Array.from(numbers) : bitsIn(numbers, dtype);
}

/** The numbers of a result. */
export function numbersOf({ data, dtype = "f32" }: Tensor<HostData>): Float32Array {
  return dtype === "f32"
    ? Float32Array.from(data)
    : Float32Array.from(data, (x) => decode(x, dtype));
}

/** A contiguous tensor's numbers in other strides, with some number in between. */
export function spread(
  numbers: ArrayLike<number>,
  shape: readonly number[],
  dtype: DType,
  random: Random,
): Tensor<HostData> {
  if (random() < 0.4) return { data: stored(numbers, dtype), shape, dtype };
  const strides = shape.map(() => 0), offset = whole(random, 0, 3);
  let unit = random() < 0.7 ? 1 : 2;
  for (const axis of random() < 0.5 ? shape.keys() : shuffled(shape.length, random)) {
    const own = random() < 0.5 ? shape.length - 1 - axis : axis;
    if (strides[own] !== 0) continue;
    strides[own] = unit;
    unit = unit * shape[own] + whole(random, 0, 2);
  }
  for (const [axis, stride] of strides.entries()) {
    if (stride !== 0) continue;
    strides[axis] = unit;
    unit *= shape[axis];
  }
  const all = new Float32Array(offset + unit + 1).fill(7);
  for (let index = 0; index < numbers.length; index++) {
    all[placeOf(index, shape, strides, offset)] = numbers[index];
  }
  return { data: stored(all, dtype), shape, dtype, strides, offset };
}

/** Where element `index` of a contiguous tensor is in another order. */
export function placeOf(
  index: number,
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
): number {
  let place = offset;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    place += index % shape[axis] * strides[axis];
    index = Math.floor(index / shape[axis]);
  }
  return place;
}

function maskOf(shape: readonly number[], random: Random): BooleanTensor {
  const ofMask = shape.map((n) => random() < 0.3 ? 1 : n).slice(whole(random, 0, shape.length - 1));
  const size = count(ofMask), seen = Array.from({ length: size }, () => random() < 0.7);
  if (random() < 0.5) return { data: Uint8Array.from(seen, Number), shape: ofMask };
  const words = new Uint32Array(Math.ceil((size + 40) / 32)), offset = whole(random, 0, 39);
  seen.forEach((one, at) => {
    if (one) words[(at + offset) >> 5] |= 1 << ((at + offset) & 31);
  });
  return { data: words, dtype: "bit", shape: ofMask, offset };
}

const extents = [1, 2, 3, 5, 16, 17, 31, 64, 100];

/** A random call. */
export function randomCall(seed: number): SoftmaxCall {
  const random = seeded(seed), rank = whole(random, 1, 5);
  const shape = Array.from({ length: rank }, () => whole(random, random() < 0.03 ? 0 : 1, 4));
  const axis = whole(random, -rank, rank - 1), along = axis < 0 ? axis + rank : axis;
  shape[along] = random() < 0.05 ? 4100 : extents[whole(random, 0, extents.length - 1)];
  const dtype = (["f32", "f32", "f16", "bf16"] as const)[whole(random, 0, 3)];
  const numbers = normals(count(shape), random, 3);
  for (let at = 0; at < numbers.length; at++) if (random() < 0.02) numbers[at] = -Infinity;
  const scale = [1, 1, 0.3, -0.7, 20][whole(random, 0, 4)];
  const mask = random() < 0.5 ? { mask: maskOf(shape, random) } : {};
  const finite = scale > 0 ? numbers : numbers.map((x) => Math.max(x, -9)); // -0.7 of -Infinity is Infinity.
  return { x: spread(finite, shape, dtype, random), options: { axis, scale, ...mask }, random };
}

/** Numbers as a function of f32 gives them. */
const f = Math.fround;

/** One row by the plain formula in f32. */
function naiveRow(row: readonly number[], name: Name): number[] {
  const m = row.reduce((a, b) => Math.max(a, b), -Infinity);
  if (m === -Infinity) return name === "softmax" ? row.map(() => 0) : row.map(() => -Infinity);
  const powers = row.map((x) => f(Math.exp(f(x - m))));
  const sum = powers.reduce((a, b) => f(a + b), 0), log = f(Math.log(sum));
  if (name === "logSumExp") return [f(m + log)];
  return name === "softmax" ? powers.map((p) => f(p / sum)) : row.map((x) => f(f(x - m) - log));
}

/** The rows of a call: the places of their elements, in the order of the tensor. */
function rowsOf({ x: { shape }, options: { axis } }: SoftmaxCall): number[][] {
  const along = axis < 0 ? axis + shape.length : axis, size = count(shape), rows: number[][] = [];
  const step = count(shape.slice(along + 1)), length = shape[along];
  for (let index = 0; index < size; index++) {
    if (Math.floor(index / step) % length !== 0) continue;
    rows.push(Array.from({ length }, (_, at) => index + at * step));
  }
  return rows;
}

/** A call by the plain formula in f32, last axis fastest. */
export function naive(call: SoftmaxCall, name: Name): number[] {
  const { x, options: { scale, mask } } = call, scores = scoresOf(x, f(scale), mask);
  const results = rowsOf(call).map((row) => naiveRow(row.map((place) => scores[place]), name));
  if (name === "logSumExp") {
    const empty = new Array<number>(exact(call, name).data.length).fill(-Infinity);
    return results.length === 0 ? empty : results.flat();
  }
  const out = new Array<number>(count(x.shape));
  rowsOf(call).forEach((row, at) => row.forEach((place, of) => out[place] = results[at][of]));
  return out;
}

/** Its gradients by the plain formulas in f32, from those by the result, in their order. */
export function naiveBackward(
  call: SoftmaxCall,
  name: Name,
  dOut: ArrayLike<number>,
): number[] {
  const { x, options: { scale, mask } } = call, scores = scoresOf(x, f(scale), mask);
  const dx = new Array<number>(count(x.shape));
  rowsOf(call).forEach((row, at) => {
    const own = row.map((place) => scores[place]), y = naiveRow(own, "softmax");
    const given = row.map((place, of) =>
      name === "logSumExp"
        ? dOut[at]
        : name === "logSoftmax" && own[of] === -Infinity
        ? 0
        : dOut[place]
    );
    const sum = given.reduce((sum, g, of) => f(sum + (name === "softmax" ? f(g * y[of]) : g)), 0);
    row.forEach((place, of) => {
      const [p, g] = [y[of], given[of]];
      const back = name === "softmax"
        ? f(p * f(g - sum))
        : name === "logSoftmax"
        ? f(g - f(p * sum))
        : f(p * g);
      dx[place] = f(f(scale) * back);
    });
  });
  return dx;
}

/** What is summed of, in f32; -Infinity where a mask says so. */
function scoresOf(x: Tensor<HostData>, scale: number, mask: BooleanTensor | undefined): number[] {
  const { shape, dtype = "f32" } = x, ones = shape.map(() => 1);
  const strides = x.strides ?? ones.map((_, axis) => count(shape.slice(axis + 1)));
  return Array.from({ length: count(shape) }, (_, index) => {
    const bits = x.data[placeOf(index, shape, strides, x.offset ?? 0)];
    const value = dtype === "f32" ? bits : decode(bits, dtype);
    return mask === undefined || isSeen(mask, index, shape) ? f(scale * value) : -Infinity;
  });
}

function isSeen(mask: BooleanTensor, index: number, shape: readonly number[]): boolean {
  const missing = shape.length - mask.shape.length;
  const strides = shape.map((_, axis) =>
    axis < missing || mask.shape[axis - missing] === 1
      ? 0
      : count(mask.shape.slice(axis - missing + 1))
  );
  const at = placeOf(index, shape, strides, mask.offset ?? 0), data = mask.data as Uint32Array;
  return mask.dtype === "bit" ? (data[at >> 5] >>> (at & 31) & 1) === 1 : data[at] !== 0;
}

/** What the oracle gives for a call. */
export function exact({ x, options }: SoftmaxCall, name: Name): ReferenceArray {
  return oracles[name](x as ReferenceTensor, options).out;
}
