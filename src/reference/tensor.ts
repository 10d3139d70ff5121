/**
 * Tensors as the oracle reads and writes them: any strides in, contiguous float64 out.
 *
 * @module
 */

import type { BooleanTensor, NumberList } from "../tensor/tensor.ts";

/** A tensor of the oracle's input: as `Tensor`, and float64 is kept as it is. */
export interface ReferenceTensor {
  /** The elements; indexed by strides and offset. */
  readonly data: ArrayLike<number>;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** Elements from one index to the next, per axis. */
  readonly strides?: readonly number[] | undefined;
  /** Element at which the tensor begins. */
  readonly offset?: number | undefined;
  /** `"f16"` or `"bf16"` where a `Uint16Array` holds their bits. */
  readonly dtype?: string | undefined;
}

/** A tensor of the oracle's result, contiguous. */
export interface ReferenceArray {
  /** The elements, last axis fastest. */
  readonly data: Float64Array<ArrayBuffer>;
  /** Extent of each axis. */
  readonly shape: readonly number[];
}

/** Reads one element by its indices. */
export type Read = (b: number, h: number, n: number, d: number) => number;

/** A tensor by the axes `[B, H, N, D]`. */
export interface Axes {
  readonly extents: readonly number[];
  readonly read: Read;
}

/** The number that 16 bits of f16 stand for. */
function decodeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** The number that 16 bits of bf16 stand for: the upper half of an f32. */
function decodeBf16(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
}

/** Kind of an array, of whatever realm. */
const kindOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

/** The elements as numbers; a `Uint32Array` holds bits. */
function numbersOf(tensor: ReferenceTensor | BooleanTensor): ArrayLike<number> {
  const data = tensor.data as ArrayLike<number>;
  if (kindOf.call(data) === "Uint32Array") {
    return Uint8Array.from({ length: data.length * 32 }, (_, e) => data[e >> 5] >>> (e & 31) & 1);
  }
  if (kindOf.call(data) !== "Uint16Array") return data;
  const decode = (tensor as ReferenceTensor).dtype === "bf16" ? decodeBf16 : decodeF16;
  return Float64Array.from(data, decode);
}

/** A short list of numbers as a tensor of numbers: an array is one of one axis. */
export function listOf(list: NumberList): ReferenceTensor {
  if (!("data" in list)) return { data: Array.from(list, Number), shape: [list.length] };
  const { data, shape, strides, offset, dtype } = list;
  // Of floats whose bits it holds; a `Float16Array` gives the numbers itself.
  const isBits = dtype !== undefined && kindOf.call(data) === "Uint16Array";
  const decode = !isBits ? Number : dtype === "bf16" ? decodeBf16 : decodeF16;
  return { data: Array.from(data, (one) => decode(Number(one))), shape, strides, offset };
}

/** Reads a short list by its index. */
export function listReader(list: NumberList): (index: number) => number {
  const { read } = axesOf(listOf(list));
  return (index) => read(0, 0, 0, index);
}

/**
 * Elements from one index to the next by each of `rank` axes: 0 by those in front that a tensor lacks,
 * and by those of extent 1, whose indices are all the same.
 */
function stepsOf({ shape, strides }: ReferenceTensor | BooleanTensor, rank: number): number[] {
  const dense = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const steps = shape.map((extent, axis) => extent === 1 ? 0 : (strides ?? dense)[axis]);
  return [...Array(rank - shape.length).fill(0), ...steps];
}

/** Tensors with fewer than four axes have 1 in front; a broadcast axis has stride 0. */
export function axesOf(tensor: ReferenceTensor | BooleanTensor, bnhd = false): Axes {
  const { shape, offset = 0 } = tensor;
  const data = numbersOf(tensor), steps = stepsOf(tensor, 4);
  const extents = [...Array(4 - shape.length).fill(1), ...shape];
  if (bnhd && shape.length > 2) {
    [extents[1], extents[2]] = [extents[2], extents[1]];
    [steps[1], steps[2]] = [steps[2], steps[1]];
  }
  const read: Read = (b, h, n, d) =>
    data[offset + b * steps[0] + h * steps[1] + n * steps[2] + d * steps[3]];
  return { extents, read };
}

/** A tensor of zeros, to which numbers are added by their indices. */
export interface Sums extends ReferenceArray {
  add(b: number, h: number, n: number, d: number, term: number): void;
}

/** Makes one. Indices of an axis of extent 1 are all the same: terms are summed over it. */
export function zeros(shape: readonly number[], bnhd = false): Sums {
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
  const place = axesOf({ data: data.map((_, index) => index), shape }, bnhd).read;
  return { data, shape, add: (b, h, n, d, term) => data[place(b, h, n, d)] += term };
}

/** A row by its batch, its head and its place. */
export type RowIndex = readonly [b: number, h: number, n: number];

/** Takes one row after the other, of as many batches, heads and rows. */
export function forEachRow([B, H, N]: readonly number[], take: (row: RowIndex) => void): void {
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let n = 0; n < N; n++) take([b, h, n]);
    }
  }
}

/** The shape of a tensor `[B, H, N, D]` of any rank and layout with another number of rows. */
export function withRows(shape: readonly number[], rows: number, bnhd: boolean): number[] {
  const axis = bnhd && shape.length > 2 ? shape.length - 3 : shape.length - 2;
  return shape.map((extent, at) => at === axis ? rows : extent);
}

/** Gives an element by the number of its line and by its place in that. */
export type ReadLine = (line: number, at: number) => number;

/**
 * Reads a tensor of any rank, broadcast to a shape, as lines along one of the shape's axes. Lines are
 * numbered by the indices of the other axes, the last fastest.
 */
export function linesOf(
  tensor: ReferenceTensor | BooleanTensor,
  shape: readonly number[],
  axis: number,
): ReadLine {
  const data = numbersOf(tensor), { offset = 0 } = tensor, steps = stepsOf(tensor, shape.length);
  return (line, at) => {
    let place = offset + at * steps[axis];
    for (let other = shape.length - 1; other >= 0; other--) {
      if (other === axis) continue;
      place += line % shape[other] * steps[other];
      line = Math.floor(line / shape[other]);
    }
    return data[place];
  };
}
