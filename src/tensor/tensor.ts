/**
 * Tensors as callers write them, and how one is read: data, shape, element strides and an offset.
 *
 * @module
 */

import {
  arrayKind,
  elementOf,
  everyones,
  HeldArray,
  isShared,
  kindOfArray,
  lengthOfArray,
  ownOf,
  readOf,
} from "./arrays.ts";
import {
  bytesPerElement,
  type DType,
  dtypes,
  type Elements,
  type HostData,
  isGpuBuffer,
  type StorageType,
  storedIn,
  type TensorData,
} from "./dtype.ts";
import { type NestedBooleans, type NestedNumbers, readNested } from "./nested.ts";

/**
 * A view of numbers: element `[i0, i1, ...]` is `data[offset + i0 * strides[0] + i1 * strides[1] + ...]`.
 *
 * Rank 4 is `[B, H, N, D]`, rank 3 `[H, N, D]`, rank 2 `[N, D]`; with `layout: "bnhd"` the head and
 * sequence axes change places.
 */
export interface Tensor<Data extends TensorData = Float32Array> {
  /**
   * The elements. A `Uint16Array` holds the bits of f16 or bf16, which `dtype` tells apart; a
   * `GPUBuffer` (usage `STORAGE`) needs `dtype` always.
   */
  readonly data: Data;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** How elements are stored; by default what the kind of `data` says. */
  readonly dtype?: DType | undefined;
  /** Elements from one index to the next, per axis; by default those of a contiguous tensor. */
  readonly strides?: readonly number[] | undefined;
  /** Element of `data` at which the tensor begins; 0 by default. */
  readonly offset?: number | undefined;
}

/** A tensor of any element type, wherever it is. */
export type AnyTensor = Tensor<TensorData>;

/** A tensor of any element type in an array. */
export type HostTensor = Tensor<HostData>;

/** A typed array of any kind, of any realm. */
export type TypedNumbers = ArrayBufferView & ArrayLike<number | bigint>;

/** A tensor in an array, for lists of numbers that are read on the CPU. */
export interface NumberTensor {
  /**
   * The numbers: a typed array of any kind. A `Uint16Array` holds the bits of f16 or bf16, as `dtype`
   * says.
   */
  readonly data: TypedNumbers;
  /** Extent of each axis: `[n]` unless an option says otherwise. */
  readonly shape: readonly number[];
  /** How floats are stored; by default what the kind of `data` says. */
  readonly dtype?: DType | undefined;
  /** Elements from one index to the next, per axis; by default those of a contiguous tensor. */
  readonly strides?: readonly number[] | undefined;
  /** Element of `data` at which the tensor begins; 0 by default. */
  readonly offset?: number | undefined;
}

/**
 * A short list of numbers, read before a call returns: an array, a typed array of any kind, or a tensor
 * in one. `BigInt64Array`s are taken too, where their numbers are exact as others.
 */
export type NumberList = ArrayLike<number | bigint> | NumberTensor;

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, extent) => size * extent, 1);
}

/** Element strides of a contiguous tensor, last axis fastest. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/**
 * Names the shape of a contiguous array, or reads arrays in arrays, whose shape is theirs.
 *
 * ```ts
 * import { attention, tensor } from "@flashtile/attention";
 *
 * const q = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]); // 8 heads, 16 queries, D = 64
 * const rows = tensor([[1, 0], [0, 1]]); // [2, 2], copied
 * const mask = tensor([[true, false], [true, true]]); // as the option `mask` takes it
 * const { out } = await attention(rows, rows, rows, { mask });
 * console.log(q.shape, out.shape); // [8, 16, 64] [2, 2]
 * ```
 *
 * @param data The elements, last axis fastest. Of a typed array the tensor is over that; numbers in plain arrays,
 * or in arrays in these, are copied as f32, booleans as bytes.
 * @param shape Extent of each axis; their product is the number of elements. Plain arrays have one by themselves.
 * @param dtype How elements are stored; needed for a `Uint16Array` alone.
 * @returns The tensor; of a `Uint8Array` and of booleans one of booleans, for masks.
 * @throws {TypeError} When an argument is of a wrong kind, or `dtype` does not fit `data`.
 * @throws {RangeError} When the shape names another number of elements than `data` has, or arrays in arrays are not
 * of one length.
 */
export function tensor<Data extends HostData>(
  data: Data,
  shape: readonly number[] | TypedNumbers,
  dtype?: DType,
): Tensor<Data>;
/** The same of numbers in plain arrays. */
export function tensor(
  data: NestedNumbers,
  shape?: readonly number[] | TypedNumbers,
  dtype?: "f32",
): Tensor;
/** The same of booleans: for masks. */
export function tensor(
  data: NestedBooleans | Uint8Array,
  shape?: readonly number[] | TypedNumbers,
  dtype?: "u8",
): BooleanTensor;
export function tensor(
  given: HostData | NestedNumbers | NestedBooleans | Uint8Array,
  shape?: readonly number[] | TypedNumbers,
  dtype?: DType | "u8",
): AnyTensor | BooleanTensor {
  const nested = Array.isArray(given) ? readNested(given, cannot) : undefined;
  const data = nested?.data ?? given as HostData | Uint8Array;
  const stored = storageOf(data, dtype);
  // Who gives the shape first gives what would be one.
  const isTurned = Array.isArray(given) && sizeOf(given as number[]) === lengthOfArray(shape);
  const hint = isTurned ? "; the elements come first, and their shape behind them" : "";
  const extents = nested && shape === undefined ? nested.shape : readExtents(shape!, hint);
  const { length } = new HeldArray(data);
  if (sizeOf(extents) !== length) {
    throw new RangeError(
      `${cannot}: shape [${extents}] names ${
        sizeOf(extents)
      } elements, \`data\` has ${length}${hint}`,
    );
  }
  return { data, shape: extents, dtype: stored } as AnyTensor | BooleanTensor;
}

const cannot = "Cannot make a tensor";

/** How elements are stored: as their array says, or where that does not, as is asked for. */
function storageOf(data: HostData | Uint8Array, dtype: DType | "u8" | undefined): DType | "u8" {
  const inherent = arrayKind(data) === "Uint8Array" ? "u8" : storedIn(data);
  if (inherent === undefined) {
    const kind = kindOfArray(data);
    throw new TypeError(
      `${cannot}: \`data\` must be a Float32Array, Float16Array or Uint16Array, arrays of numbers or ` +
        `booleans, or a Uint8Array of booleans, got ${kind ?? typeof data}` +
        (kind === undefined ? "" : "; write Float32Array.from(data)"),
    );
  }
  if (dtype !== undefined && dtype !== "u8") checkDType(dtype);
  const stored = inherent ?? dtype;
  if (stored === undefined || (inherent === null && (stored === "f32" || stored === "u8"))) {
    throw new TypeError(`${cannot}: a Uint16Array needs the dtype "f16" or "bf16"`);
  }
  if (dtype === undefined || dtype === stored) return stored;
  throw new TypeError(`${cannot}: \`data\` holds ${stored}, \`dtype\` says ${dtype}`);
}

/** A shape by itself, read once: each of its numbers by its index, so that a hole is seen. */
export function readExtents(shape: readonly number[] | TypedNumbers, hint = ""): number[] {
  const rank = lengthOfArray(shape), extents: number[] = [];
  for (let axis = 0; axis < (rank ?? 0); axis++) {
    const extent = elementOf(shape, axis) as number;
    if (!Number.isSafeInteger(extent) || extent < 0) break;
    extents.push(extent);
  }
  if (extents.length === rank) return extents;
  throw new TypeError(`${cannot}: \`shape\` must be an array of whole numbers >= 0${hint}`);
}

/** Checks an element type by itself. */
export function checkDType(dtype: DType): void {
  if (dtypes.includes(dtype)) return;
  throw new TypeError(
    `${cannot}: \`dtype\` must be one of ${dtypes.join(", ")}, got ${dtype}`,
  );
}

/** Elements as they were read: in an array, or in a buffer. */
export type ReadData = HeldArray<Elements> | GPUBuffer;

/** A tensor as it was read: nothing of it is read from the caller's objects again. */
export interface ReadTensor<Data extends ReadData = ReadData> {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly strides?: readonly number[];
  readonly offset?: number;
}

/** A tensor of rank 4 in the order `[B, H, N, D]`, whatever the caller's rank and layout. */
export interface View<Data extends ReadData = HeldArray<Elements>> {
  /** f32, or the bits of 16-bit elements; or a buffer of either. */
  readonly data: Data;
  readonly dtype: DType;
  readonly offset: number;
  readonly shape: Extents;
  readonly strides: Extents;
}

/** A view of elements wherever they are. */
export type AnyView = View | View<GPUBuffer>;

/** One number per axis of `[B, H, N, D]`. */
export type Extents = readonly [batch: number, heads: number, rows: number, columns: number];

/** Axes of a checked tensor in the order `[B, H, N, D]`; missing ones have extent 1, stride 0. */
export function viewOf(
  tensor: Tensor<HostData> | ReadTensor<HeldArray<Elements>>,
  layout: Layout,
): View;
export function viewOf(tensor: AnyTensor | ReadTensor, layout: Layout): AnyView;
export function viewOf(tensor: AnyTensor | ReadTensor, layout: Layout): AnyView {
  const { data, shape, dtype, strides, offset } = tensor;
  const arrange = (axes: readonly number[], missing: number): Extents => {
    const at = (axis: number) => axis < axes.length ? axes[axes.length - 1 - axis] : missing;
    // Rank 2 is [N, D] in both layouts.
    const swapped = layout === "bnhd" && axes.length > 2;
    return swapped ? [at(3), at(1), at(2), at(0)] : [at(3), at(2), at(1), at(0)];
  };
  const isRead = HeldArray.is(data) || isGpuBuffer(data);
  return {
    data: isRead ? data : new HeldArray<Elements>(data),
    dtype: (isRead ? undefined : storedIn(data)) ??
      ownOf(tensor, "dtype", dtype, everyones.dtype) ?? "f16",
    offset: ownOf(tensor, "offset", offset, everyones.offset) ?? 0,
    shape: arrange(shape, 1),
    strides: arrange(
      ownOf(tensor, "strides", strides, everyones.strides) ?? contiguousStrides(shape),
      0,
    ),
  } as AnyView;
}

/** Whether a view's elements are in an array. */
export function isOnHost(view: AnyView): view is View {
  return !isGpuBuffer(view.data);
}

/** First and last element of `data` that a tensor reaches; `undefined` when it is empty. */
export function reach(
  view: Pick<Reaching, "shape" | "strides" | "offset">,
): [number, number] | undefined {
  if (sizeOf(view.shape) === 0) return undefined;
  const span = view.shape.reduce((sum, extent, axis) => sum + (extent - 1) * view.strides[axis], 0);
  return [view.offset, view.offset + span];
}

/** What a view must say so that one can tell whether it shares elements with another. */
export interface Reaching {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  readonly data: HeldArray | GPUBuffer;
  readonly dtype: StorageType;
}

/** Whether two views may share an element: their reaches in the same memory intersect. */
export function mayOverlap(a: Reaching, b: Reaching): boolean {
  if (isGpuBuffer(a.data) || isGpuBuffer(b.data)) return a.data === b.data;
  // Buffers of one memory change as it grows; shared ones of others may be of one, too.
  const isOne = a.data.buffer === b.data.buffer ||
    (a.data.lender !== undefined && a.data.lender === b.data.lender);
  if (!isOne) return isShared(a.data.buffer) && isShared(b.data.buffer);
  const ours = bytesOf(a, a.data), theirs = bytesOf(b, b.data);
  return ours !== undefined && theirs !== undefined && ours[0] < theirs[1] && theirs[0] < ours[1];
}

/** Whether a view may share an element with one of others. */
export function mayOverlapAny(view: Reaching, others: readonly (Reaching | null)[]): boolean {
  return others.some((other) => other !== null && mayOverlap(view, other));
}

/** The bytes that a view reaches, from the first to before the last. */
function bytesOf(view: Reaching, data: HeldArray): [number, number] | undefined {
  const elements = reach(view), bytes = bytesPerElement(view.dtype);
  if (elements === undefined) return undefined;
  const first = data.byteOffset + Math.floor(elements[0] * bytes);
  return [first, data.byteOffset + Math.ceil((elements[1] + 1) * bytes)];
}

/** Copies every element from one view to another of the same shape and element type. */
export function copyView(from: View, to: View): void {
  const [batch, heads, rows, columns] = from.shape;
  const source = from.data.now(), target = to.data.now("`out`'s");
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let n = 0; n < rows; n++) {
        const first = from.offset + b * from.strides[0] + h * from.strides[1] +
          n * from.strides[2];
        const at = to.offset + b * to.strides[0] + h * to.strides[1] + n * to.strides[2];
        for (let d = 0; d < columns; d++) {
          target[at + d * to.strides[3]] = source[first + d * from.strides[3]];
        }
      }
    }
  }
}

/** Order of a tensor's axes: `"bhnd"` as PyTorch's, `"bnhd"` as FlashAttention's. */
export type Layout = "bhnd" | "bnhd";

/** How the booleans of a mask are stored: a byte each, or 32 in a word, the lowest bit first. */
export type BooleanDType = "u8" | "bit";

/**
 * A tensor of booleans. Strides and offset are in elements, whatever the storage: bit-packed rows need
 * not begin at a word.
 */
export interface BooleanTensor {
  /**
   * A `Uint8Array` holds a byte for each element, where anything but 0 is true; a `Uint32Array` bits,
   * element `e` being bit `e % 32` of word `floor(e / 32)`; a `GPUBuffer` either.
   */
  readonly data: Uint8Array | Uint32Array | GPUBuffer;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** How elements are stored; by default what the kind of `data` says, needed for a `GPUBuffer`. */
  readonly dtype?: BooleanDType | undefined;
  /** Elements from one index to the next, per axis; by default those of a contiguous tensor. */
  readonly strides?: readonly number[] | undefined;
  /** Element at which the tensor begins; 0 by default. */
  readonly offset?: number | undefined;
}

/**
 * Where the elements for `[B, Hq, Nq, Nk]` are of what is given for scores, a bias or a mask: with stride 0 along axes
 * that it has only one element of.
 */
export interface Broadcast {
  readonly shape: Extents;
  readonly strides: Extents;
  readonly offset: number;
}

/** A bias: f32. */
export interface BroadcastView extends Broadcast {
  readonly data: HeldArray<Float32Array> | GPUBuffer;
  readonly dtype: "f32";
}

/** A mask. */
export interface MaskView extends Broadcast {
  readonly data: HeldArray<Uint8Array | Uint32Array> | GPUBuffer;
  readonly dtype: BooleanDType;
}

/** How a checked tensor is read over all scores; leading axes may be missing. */
export function broadcastOf(
  tensor: Pick<Tensor, "shape" | "strides" | "offset">,
  extents: Extents,
): Broadcast {
  const { shape } = tensor, missing = 4 - shape.length;
  const strides = readOf(tensor, "strides") ?? contiguousStrides(shape);
  const stride = (axis: number) =>
    axis < missing || shape[axis - missing] === 1 ? 0 : strides[axis - missing];
  return {
    shape: extents,
    strides: [stride(0), stride(1), stride(2), stride(3)],
    offset: readOf(tensor, "offset") ?? 0,
  };
}
