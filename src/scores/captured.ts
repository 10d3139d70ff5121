/**
 * Arrays that score and mask functions read.
 *
 * @module
 */

import { holdArray } from "../check/tensors.ts";
import { isExtent, kindOf, readOptions, readShort } from "../check/words.ts";
import { type HeldArray, kindOfArray, lengthOfArray } from "../tensor/arrays.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { CapturedArray, CapturedData, CapturedDType, Score, Whole } from "./kinds.ts";
import { gather } from "./tracer.ts";

/** Options of `captured()`. */
export interface CapturedOptions {
  /** Whether gradients with respect to it are wanted: of f32 alone. Default `false`. */
  readonly grad?: boolean | undefined;
  /** What a `GPUBuffer` holds; arrays say it themselves. */
  readonly dtype?: CapturedDType | undefined;
}

const cannot = "Cannot capture";

/** Axes at most. */
const mostAxes = 3;

const bytesPerElement = 4;

/** Where the elements of an array are. */
export let sourceOf: (array: CapturedArray) => HeldArray | GPUBuffer;

/** Whole numbers as their bits: no call computes with them in JavaScript. */
function elementsOf(data: Float32Array | Int32Array): Float32Array | Uint32Array {
  if (kindOfArray(data) === "Float32Array") return data as Float32Array;
  return new Uint32Array(data.buffer, data.byteOffset, data.length);
}

/** What makes one: nobody else may say what its data hold. */
const maker = Symbol();

/** An array that score and mask functions read by `at()`. Made by `captured()`. */
export class Captured<Element extends Score | Whole = Score | Whole> implements CapturedArray {
  /** The elements, the last axis fastest. They are read anew by each call. */
  readonly data: CapturedData;
  /** Extents of one to three axes, each at least 1. */
  readonly shape: readonly number[];
  /** How they are stored. */
  readonly dtype: CapturedDType;
  /** Whether gradients with respect to it are wanted. */
  readonly grad: boolean;
  /** The same elements, also where an engine's memory has grown since. */
  readonly #source: HeldArray | GPUBuffer;

  /** For `captured()` alone. */
  constructor(
    own: symbol,
    data: CapturedData,
    shape: readonly number[],
    dtype: CapturedDType,
    grad: boolean,
  ) {
    if (own !== maker) {
      throw new TypeError(`${cannot} by a constructor: write captured(data, shape)`);
    }
    this.data = data;
    this.shape = Object.freeze(shape);
    this.dtype = dtype;
    this.grad = grad;
    this.#source = isGpuBuffer(data) ? data : holdArray("data", elementsOf(data), cannot);
    Object.freeze(this);
  }

  static {
    sourceOf = (array) => (array as Captured).#source;
  }

  /**
   * An element, within a score or mask function. An index beyond an axis is taken for the nearest that there is.
   *
   * @param indices A whole number for each axis.
   * @throws {TypeError} When there are more or fewer than axes, or one is no whole number, and outside of such a function.
   */
  at(...indices: readonly (Whole | number)[]): Element {
    return gather(this, indices) as unknown as Element;
  }
}

function readShape(written: unknown): number[] {
  const shape = readShort(written);
  const isRight = shape !== undefined && shape.length >= 1 && shape.length <= mostAxes &&
    shape.every((extent) => isExtent(extent) && extent > 0);
  if (isRight) return shape as number[];
  const got = shape === undefined ? kindOf(written) : `[${shape.map(kindOf).join(", ")}]`;
  throw new RangeError(
    `${cannot}: \`shape\` must have one to three extents of at least 1, got ${got}`,
  );
}

function readDType(data: unknown, given: CapturedDType | undefined): CapturedDType {
  const kind = kindOfArray(data);
  const own = kind === "Float32Array" ? "f32" : kind === "Int32Array" ? "i32" : undefined;
  if (own === undefined && !isGpuBuffer(data)) {
    throw new TypeError(
      `${cannot}: \`data\` must be a Float32Array, Int32Array or GPUBuffer, got ${kindOf(data)}`,
    );
  }
  const dtype = given ?? own;
  if (dtype !== "f32" && dtype !== "i32") {
    throw new TypeError(
      `${cannot}: \`dtype\` of a GPUBuffer must be "f32" or "i32", got ${kindOf(given)}`,
    );
  }
  if (own === undefined || own === dtype) return dtype;
  throw new TypeError(
    `${cannot}: \`dtype\` must be ${kindOf(own)} of a ${kind}, got ${kindOf(dtype)}`,
  );
}

function checkLength(data: unknown, shape: readonly number[]): void {
  const length = isGpuBuffer(data)
    ? Math.floor(data.size / bytesPerElement)
    : lengthOfArray(data) as number;
  const needed = sizeOf(shape);
  if (length >= needed) return;
  throw new RangeError(
    `${cannot}: shape [${shape.join(", ")}] needs ${needed} elements, \`data\` has ${length}`,
  );
}

/**
 * Lets score and mask functions read an array: numbers of positions, documents, tables of biases.
 *
 * Its elements are read by each call anew, so that they may change between calls, and must stay while one runs. That they
 * change compiles nothing anew.
 *
 * ```ts
 * import { attention, captured, tensor } from "@flashtile/attention";
 *
 * const x = tensor(new Float32Array(2 * 6 * 4).fill(0.5), [2, 6, 4]);
 * const document = captured(Int32Array.of(0, 0, 0, 1, 1, 1), [6]);
 * const { out } = await attention(x, x, x, {
 *   maskMod: ({ q, k }) => document.at(q).eq(document.at(k)),
 * });
 * console.log(out.shape); // [2, 6, 4]
 * ```
 *
 * @param data The elements, the last axis fastest: scores in a `Float32Array`, whole numbers in an `Int32Array`, or either
 * in a `GPUBuffer`.
 * @param shape Extents of one to three axes.
 * @param options Whether it has a gradient; what a `GPUBuffer` holds.
 * @returns What has `at(i, j, k)`.
 * @throws {TypeError} When `data` is something else, or whole numbers are to have a gradient.
 * @throws {RangeError} When `data` is shorter than `shape` says, or that has no extents.
 */
export function captured(
  data: Float32Array,
  shape: readonly number[],
  options?: CapturedOptions & { readonly dtype?: "f32" | undefined },
): Captured<Score>;
/** The same of whole numbers, which have no gradient. */
export function captured(
  data: Int32Array,
  shape: readonly number[],
  options?: CapturedOptions & {
    readonly dtype?: "i32" | undefined;
    readonly grad?: false | undefined;
  },
): Captured<Whole>;
/** The same of a buffer on the GPU, which does not say what it holds. */
export function captured<DType extends CapturedDType>(
  data: GPUBuffer,
  shape: readonly number[],
  options: CapturedOptions & { readonly dtype: DType },
): Captured<DType extends "f32" ? Score : Whole>;
export function captured(
  data: CapturedData,
  shape: readonly number[],
  options: CapturedOptions = {},
): Captured {
  const { grad = false, dtype: given } = readOptions(options, ["grad", "dtype"], cannot);
  const dtype = readDType(data, given), extents = readShape(shape);
  checkLength(data, extents);
  if (typeof grad !== "boolean") {
    throw new TypeError(`${cannot}: \`grad\` must be true or false, got ${kindOf(grad)}`);
  }
  if (grad && dtype === "i32") {
    throw new TypeError(
      `${cannot}: whole numbers have no gradient, \`grad\` is for a Float32Array`,
    );
  }
  return new Captured(maker, data, extents, dtype, grad);
}
