/**
 * Random calls of layers, what their integers are, and the plain formulas in f32 that budgets come from.
 *
 * @module
 */

import type { DType, Engine, HostData, Tensor } from "@flashtile/attention";
import type { Activation, LinearDType, LinearPrecision } from "@flashtile/attention/nn";
import { referenceActivation } from "@flashtile/attention/reference";
import { halfUlp } from "./budget.ts";
import { count } from "./problem.ts";
import { normals, type Random, seeded, whole } from "./random.ts";
import { placeOf, spread } from "./softmax.ts";
import { decode, halfUlpOf, rounded } from "./storage.ts";

/** One of some. */
export function oneOf<T>(random: Random, all: readonly T[]): T {
  return all[whole(random, 0, all.length - 1)];
}

/** The numbers of a tensor, last axis fastest. */
export function elementsOf(tensor: Tensor<HostData>): Float32Array {
  const { data, shape, dtype = "f32", offset = 0 } = tensor;
  const strides = tensor.strides ?? shape.map((_, axis) => count(shape.slice(axis + 1)));
  return Float32Array.from({ length: count(shape) }, (_, index) => {
    const bits = data[placeOf(index, shape, strides, offset)];
    return dtype === "f32" || !(data instanceof Uint16Array) ? bits : decode(bits, dtype);
  });
}

/** All activations. */
export const activations: readonly Activation[] = ["gelu", "gelu-tanh", "silu", "relu", "tanh"];

/** How weights are kept and products formed, together. */
export const forms: readonly (readonly [LinearDType, LinearPrecision])[] = [
  ["f32", "f32"],
  ["f16", "f32"],
  ["bf16", "f32"],
  ["int16", "f32"],
  ["int8", "f32"],
  ["int16", "int16"],
  ["int8", "int16"],
  ["int8", "int8"],
];

/** Those that an engine has: of integers a GPU has bytes that are widened. */
export function formsOf({ backend }: Pick<Engine, "backend">): typeof forms {
  if (backend !== "webgpu") return forms;
  return forms.filter(([dtype, precision]) => dtype !== "int16" && precision === "f32");
}

/** How often a random call is tried, of which most have a shader of their own on a GPU. */
export function triesOf({ backend }: Pick<Engine, "backend">, count: number): number {
  return backend === "webgpu" ? Math.ceil(count / 6) : count;
}

/** Numbers as a function of f32 gives them. */
const f = Math.fround;

/** To the nearest whole number, ties to even. */
function nearest(x: number): number {
  const low = Math.floor(x), rest = x - low;
  return rest === 0.5 ? low + (low & 1) : Math.round(x);
}

/** Numbers that integers stand for, and how far one of them is from the next at most. */
export interface Quantized {
  readonly numbers: Float64Array;
  readonly step: number;
}

/** A row as integers of 16 bits. */
function int16Of(row: Float32Array): Quantized {
  const most = row.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
  const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)) || 1e-30;
  const by = Math.min(32767 / most, 45800 / norm);
  return { numbers: Float64Array.from(row, (x) => nearest(x * by) / by), step: 1 / by };
}

/** Some numbers of a row at a time, 32 of them. */
function byBlocks(row: Float32Array, make: (block: Float32Array) => Quantized): Quantized {
  const numbers: number[] = [];
  let step = 0;
  for (let from = 0; from < row.length; from += 32) {
    const block = make(row.subarray(from, from + 32));
    numbers.push(...block.numbers);
    step = Math.max(step, block.step);
  }
  return { numbers: Float64Array.from(numbers), step };
}

/** Weights as bytes. */
function weightBytesOf(block: Float32Array): Quantized {
  const step = f(block.reduce((most, x) => Math.max(most, Math.abs(x)), f(1e-30)) / 127);
  return { numbers: Float64Array.from(block, (x) => nearest(f(x / step)) * step), step };
}

/** Rows as bytes of seven bits. */
function rowBytesOf(block: Float32Array): Quantized {
  const least = Math.min(...block), range = Math.max(f(Math.max(...block) - least), f(1e-30));
  const by = f(127 / range), step = f(range / 127);
  return {
    numbers: Float64Array.from(block, (x) => least + nearest(f(x - least) * by) * step),
    step,
  };
}

/** Rows of a matrix, each become others. */
function eachRow(
  numbers: Float32Array,
  columns: number,
  make: (row: Float32Array) => Quantized,
): Quantized {
  const all = new Float64Array(numbers.length);
  let step = 0;
  for (let at = 0; at < numbers.length; at += columns) {
    const row = make(numbers.subarray(at, at + columns));
    all.set(row.numbers, at);
    step = Math.max(step, row.step);
  }
  return { numbers: all, step };
}

/** What a weight is once it is packed. */
export function weightAs(weight: Float32Array, inputs: number, dtype: LinearDType): Quantized {
  if (dtype === "int16") return eachRow(weight, inputs, int16Of);
  if (dtype === "int8") return eachRow(weight, inputs, (row) => byBlocks(row, weightBytesOf));
  return { numbers: Float64Array.from(rounded(weight, dtype)), step: 0 };
}

/** What rows are once they are integers. */
export function rowsAs(x: Float32Array, inputs: number, precision: LinearPrecision): Quantized {
  if (precision === "int16") return eachRow(x, inputs, int16Of);
  if (precision === "int8") return eachRow(x, inputs, (row) => byBlocks(row, rowBytesOf));
  return { numbers: Float64Array.from(x), step: 0 };
}

/** erf, by what the oracle gives for gelu. */
function erf(x: number): number {
  if (x === 0) return 0;
  const y = x * Math.SQRT2, { out } = referenceActivation({ data: [y], shape: [1] }, "gelu");
  return 2 * out.data[0] / y - 1;
}

const plain: Readonly<Record<Activation, (x: number) => number>> = {
  gelu: (x) => f(f(x / 2) * f(1 + f(erf(f(x * f(Math.SQRT1_2)))))),
  "gelu-tanh"(x) {
    const cubic = f(f(0.044715) * f(f(x * x) * x)), z = f(f(Math.sqrt(2 / Math.PI)) * f(x + cubic));
    return f(f(x / 2) * f(1 + f(Math.tanh(z))));
  },
  silu: (x) => f(x / f(1 + f(Math.exp(-x)))),
  relu: (x) => Math.max(x, 0),
  tanh: (x) => f(Math.tanh(x)),
};

/** What becomes of a number by the plain formula in f32. */
export function naiveActivation(activation: Activation | undefined, x: number): number {
  return activation === undefined ? x : plain[activation](x);
}

/** What a linear layer is of, in numbers. */
export interface LinearNumbers {
  readonly x: ArrayLike<number>;
  readonly weight: ArrayLike<number>;
  readonly inputs: number;
  readonly outputs: number;
  readonly bias?: Float32Array;
  readonly residual?: Float32Array;
  readonly activation?: Activation;
}

/** A linear layer by the plain formula in f32. */
export function naiveLinear(
  { x, weight, inputs, outputs, bias, residual, activation }: LinearNumbers,
): number[] {
  return Array.from({ length: x.length / inputs * outputs }, (_, at) => {
    const row = Math.floor(at / outputs) * inputs, output = at % outputs;
    let sum = bias?.[output] ?? 0;
    for (let input = 0; input < inputs; input++) {
      sum = f(sum + f(x[row + input] * weight[output * inputs + input]));
    }
    return f(naiveActivation(activation, sum) + (residual?.[at] ?? 0));
  });
}

/**
 * A rounding of the largest of some numbers in a storage, and, of functions of them, two ULP; gelu is off by as much as
 * `tools/activations.ts` says, of numbers up to `size` that are multiplied by `factor`.
 */
export function bandOf(
  largest: number,
  dtype: DType,
  activation?: Activation,
  size = Infinity,
  factor = 1,
): number {
  const ofGelu = activation === "gelu" ? Math.min(2.6e-7, 5.5e-7 * size) * factor : 0;
  return halfUlp(largest) + halfUlpOf(dtype, largest) + (activation ? 4 * halfUlp(largest) : 0) +
    ofGelu;
}

/** Numbers that come out at least, or none: over a few the plain formula is exact by luck. */
const leastNumbers = 48;

/** A random shape with so many columns, and not many more rows than `most`, each of which gives `given` numbers. */
export function randomShape(
  random: Random,
  columns: number,
  most = 200,
  given = columns,
): number[] {
  const leading = [...random() < 0.3 ? [oneOf(random, [17, 33, 64, 131])] : []];
  while (leading.length < 3 && random() < 0.6) leading.unshift(whole(random, 1, 5));
  while (count(leading) > most) leading.shift();
  if (count(leading) * given < leastNumbers) leading.push(Math.ceil(leastNumbers / given));
  if (random() < 0.05) leading.push(0);
  return [...leading, columns];
}

/** How a tensor is stored. */
export function randomDType(random: Random): DType {
  return oneOf(random, ["f32", "f32", "f32", "f16", "bf16"] as const);
}

/** A tensor of random numbers in some storage, strides and memory. */
export function randomTensor(
  shape: readonly number[],
  random: Random,
  engine?: Engine,
  by = 1,
): Tensor<HostData> {
  const dtype = randomDType(random),
    made = spread(normals(count(shape), random, by), shape, dtype, random);
  // Buffers of a GPU are tried by tests/webgpu.
  if (engine === undefined || random() < 0.5 || engine.backend === "webgpu") return made;
  const memory = engine.tensor([made.data.length], dtype);
  const copy = (data: HostData) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  copy(memory.data).set(copy(made.data));
  return {
    ...made,
    get data() {
      return memory.data; // Anew each time: memory may grow.
    },
  };
}

/** A place for a result. */
export function randomOut(
  shape: readonly number[],
  random: Random,
  engine?: Engine,
): Tensor<HostData> {
  return randomTensor(shape, random, engine, 0);
}

export { seeded };
