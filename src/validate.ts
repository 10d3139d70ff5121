/**
 * Every check of what callers pass, and its message: the name, what is expected, what came. All of
 * them run before anything is allocated.
 *
 * @module
 */

import {
  bytesPerElement,
  type DType,
  dtypes,
  inherentDType,
  isGpuBuffer,
  isHostData,
  type TensorData,
} from "./dtype.ts";
import { type AttentionOptions, executedOptions, type Layout, pendingOptions } from "./options.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  type Extents,
  reach,
  sizeOf,
  type Tensor,
  viewOf,
} from "./tensor.ts";

/** What the messages of a call begin with. */
const cannot = "Cannot attend";

/** What a value is, in a message. */
function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "object" || typeof value === "function") {
    return value.constructor?.name ?? typeof value;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isExtent(value: unknown): value is number {
  return isWhole(value) && value >= 0;
}

/** Checks that `value` is an object whose keys are all known. */
export function checkKeys(value: object, known: readonly string[], doing: string): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    throw new TypeError(`${doing}: unknown option \`${key}\`, known are ${known.join(", ")}`);
  }
}

/** Checks one tensor by itself: kinds, rank, extents, and that every element lies within `data`. */
export function checkTensor(name: string, value: unknown): asserts value is AnyTensor {
  if (ArrayBuffer.isView(value)) {
    throw new TypeError(
      `${cannot}: \`${name}\` is a bare ${kindOf(value)}, ` +
        `write { data: ${name}, shape: [B, H, N, D] } with its own numbers`,
    );
  }
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${cannot}: \`${name}\` must be { data, shape }, got ${kindOf(value)}`);
  }
  const { data, shape, dtype, strides, offset } = value as Record<keyof Tensor, unknown>;
  const storage = checkData(name, data, dtype);
  checkShape(name, shape);
  if (strides !== undefined) {
    if (!Array.isArray(strides) || !strides.every(isExtent)) {
      throw new TypeError(
        `${cannot}: \`${name}.strides\` must be an array of whole numbers >= 0, got ${
          Array.isArray(strides) ? `[${strides}]` : kindOf(strides)
        }`,
      );
    }
    if (strides.length !== shape.length) {
      throw new RangeError(
        `${cannot}: \`${name}.strides\` must have one number per axis of [${shape}], got [${strides}]`,
      );
    }
  }
  if (offset !== undefined && !isExtent(offset)) {
    throw new RangeError(
      `${cannot}: \`${name}.offset\` must be a whole number >= 0, got ${kindOf(offset)}`,
    );
  }
  checkReach(name, storage, value as AnyTensor);
}

function checkData(name: string, data: unknown, dtype: unknown): TensorData {
  if (dtype !== undefined && !dtypes.includes(dtype as DType)) {
    throw new TypeError(
      `${cannot}: \`${name}.dtype\` must be one of ${dtypes.join(", ")}, got ${kindOf(dtype)}`,
    );
  }
  if (isGpuBuffer(data)) return checkBuffer(name, data, dtype);
  if (!isHostData(data)) {
    throw new TypeError(
      `${cannot}: \`${name}.data\` must be a Float32Array, Float16Array, Uint16Array or ` +
        `GPUBuffer, got ${kindOf(data)}`,
    );
  }
  const inherent = inherentDType(data);
  if (inherent === undefined && dtype !== "f16" && dtype !== "bf16") {
    throw new TypeError(
      `${cannot}: \`${name}.data\` is a Uint16Array, so \`${name}.dtype\` must be "f16" or ` +
        `"bf16", got ${kindOf(dtype)}`,
    );
  }
  if (inherent !== undefined && dtype !== undefined && dtype !== inherent) {
    throw new TypeError(`${cannot}: \`${name}\` has dtype ${dtype}, its data is a ${kindOf(data)}`);
  }
  return data;
}

/** `GPUBufferUsage.STORAGE`, which is no name where the GPU comes from a package. */
const storageUsage = 0x80;

function checkBuffer(name: string, buffer: GPUBuffer, dtype: unknown): GPUBuffer {
  if (dtype === undefined) {
    throw new TypeError(
      `${cannot}: \`${name}.data\` is a GPUBuffer, so \`${name}.dtype\` must be one of ${
        dtypes.join(", ")
      }`,
    );
  }
  if ((buffer.usage & storageUsage) === 0) {
    throw new TypeError(
      `${cannot}: \`${name}.data\` must be a GPUBuffer made with GPUBufferUsage.STORAGE`,
    );
  }
  return buffer;
}

/** Elements that data can hold. */
function lengthOf(data: TensorData, dtype: DType): number {
  return isGpuBuffer(data) ? Math.floor(data.size / 4) * (4 / bytesPerElement(dtype)) : data.length;
}

function checkShape(name: string, shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) {
    throw new TypeError(`${cannot}: \`${name}.shape\` must be an array, got ${kindOf(shape)}`);
  }
  if (shape.length < 2 || shape.length > 4) {
    throw new RangeError(
      `${cannot}: \`${name}\` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], got [${shape}]`,
    );
  }
  if (!shape.every(isExtent)) {
    throw new RangeError(
      `${cannot}: \`${name}.shape\` must hold whole numbers >= 0, got [${shape}]`,
    );
  }
}

function checkReach(name: string, data: TensorData, tensor: AnyTensor): void {
  const { shape, offset = 0, strides = contiguousStrides(shape) } = tensor;
  const needed = sizeOf(shape) === 0
    ? 0
    : 1 + offset + shape.reduce((sum, extent, axis) => sum + (extent - 1) * strides[axis], 0);
  const length = lengthOf(data, tensor.dtype ?? "f32");
  if (needed <= length) return;
  throw new RangeError(
    `${cannot}: \`${name}\` with shape [${shape}], strides [${strides}] and offset ${offset} ` +
      `needs ${needed} elements, \`data\` has ${length}` +
      (!isGpuBuffer(data) && data.buffer.byteLength === 0
        ? ": its buffer is detached, read `tensor.data` again"
        : ""),
  );
}

/** The three inputs as views, and what their shapes agree on. */
export interface Inputs {
  readonly q: AnyView;
  readonly k: AnyView;
  readonly v: AnyView;
  /** Rank of `q` as the caller wrote it; the result has the same. */
  readonly rank: number;
}

/** Checks the inputs one by one, then against each other. */
export function checkInputs(q: unknown, k: unknown, v: unknown, layout: Layout): Inputs {
  checkTensor("q", q);
  checkTensor("k", k);
  checkTensor("v", v);
  const rank = q.shape.length;
  for (const [name, tensor] of [["k", k], ["v", v]] as const) {
    if (tensor.shape.length === rank) continue;
    throw new RangeError(
      `${cannot}: \`${name}\` must have rank ${rank} as \`q\` has, got [${tensor.shape}]`,
    );
  }
  const views = { q: viewOf(q, layout), k: viewOf(k, layout), v: viewOf(v, layout) };
  checkAgreement(views.q.shape, views.k.shape, views.v.shape);
  return { ...views, rank };
}

function checkAgreement(q: Extents, k: Extents, v: Extents): void {
  const same = (name: string, axis: string, got: number, expected: number, as: string) => {
    if (got === expected) return;
    throw new RangeError(
      `${cannot}: \`${name}\` must have ${axis} = ${expected} as \`${as}\` has, got ${got}`,
    );
  };
  const atLeastOne = (name: string, axis: string, got: number) => {
    if (got > 0) return;
    throw new RangeError(`${cannot}: \`${name}\` must have ${axis} of at least 1, got ${got}`);
  };
  same("k", "B", k[0], q[0], "q");
  same("v", "B", v[0], q[0], "q");
  atLeastOne("q", "Hq", q[1]);
  atLeastOne("k", "Hkv", k[1]);
  same("v", "Hkv", v[1], k[1], "k");
  if (q[1] % k[1] !== 0) {
    throw new RangeError(
      `${cannot}: Hq must be a multiple of Hkv, got Hq = ${q[1]} in \`q\` and Hkv = ${
        k[1]
      } in \`k\``,
    );
  }
  same("v", "Nk", v[2], k[2], "k");
  atLeastOne("q", "D", q[3]);
  same("k", "D", k[3], q[3], "q");
  atLeastOne("v", "Dv", v[3]);
}

/** Checks the options by themselves: names and kinds. */
export function checkOptions(options: unknown): asserts options is AttentionOptions {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${cannot}: options must be an object, got ${kindOf(options)}`);
  }
  checkKeys(options, [...executedOptions, ...pendingOptions], cannot);
  const given = options as Record<keyof AttentionOptions, unknown>;
  for (const name of pendingOptions) {
    if (given[name] === undefined) continue;
    throw new Error(`${cannot}: option \`${name}\` is not supported yet`);
  }
  checkOneOf("causal", given.causal, [true, false, "bottom-right", "top-left"]);
  checkOneOf("layout", given.layout, ["bhnd", "bnhd"]);
  checkOneOf("lse", given.lse, [true, false]);
  checkWindow(given.window);
  if (given.scale !== undefined) {
    if (typeof given.scale !== "number") {
      throw new TypeError(`${cannot}: \`scale\` must be a number, got ${kindOf(given.scale)}`);
    }
    // As the kernels use it: in f32, with the exponential's log2(e) in it.
    if (!Number.isFinite(Math.fround(given.scale * Math.LOG2E))) {
      throw new RangeError(`${cannot}: \`scale\` must be finite in f32, got ${given.scale}`);
    }
  }
  if (given.onProgress !== undefined && typeof given.onProgress !== "function") {
    throw new TypeError(
      `${cannot}: \`onProgress\` must be a function, got ${kindOf(given.onProgress)}`,
    );
  }
  checkSignal(given.signal);
  const { encoder } = given;
  if (
    encoder !== undefined &&
    typeof (encoder as GPUCommandEncoder | null)?.beginComputePass !== "function"
  ) {
    throw new TypeError(
      `${cannot}: \`encoder\` must be a GPUCommandEncoder, got ${kindOf(encoder)}`,
    );
  }
}

function checkOneOf(name: string, value: unknown, allowed: readonly unknown[]): void {
  if (value === undefined || allowed.includes(value)) return;
  throw new TypeError(
    `${cannot}: \`${name}\` must be one of ${allowed.map(kindOf).join(", ")}, got ${kindOf(value)}`,
  );
}

function checkSignal(signal: unknown): void {
  // By shape, not by class: signals also come from polyfills and other realms.
  if (signal === undefined) return;
  if (typeof (signal as AbortSignal | null)?.aborted === "boolean") return;
  throw new TypeError(`${cannot}: \`signal\` must be an AbortSignal, got ${kindOf(signal)}`);
}

/** One offset per batch: given ones checked, or `fallback` for all. */
export function checkOffsets(offset: unknown, batch: number, fallback: number): readonly number[] {
  if (offset === undefined) return new Array<number>(batch).fill(fallback);
  const one = typeof offset === "number";
  if (!one && !(Array.isArray(offset) && offset.every((value) => typeof value === "number"))) {
    throw new TypeError(
      `${cannot}: \`offset\` must be a number or one per batch, got ${kindOf(offset)}`,
    );
  }
  const offsets = one ? new Array<number>(batch).fill(offset) : offset;
  if (!offsets.every(isWhole)) {
    throw new RangeError(`${cannot}: \`offset\` must be whole, got ${offset}`);
  }
  if (offsets.length !== batch) {
    throw new RangeError(
      `${cannot}: \`offset\` must have one number per batch, B = ${batch}, got ${offsets.length}`,
    );
  }
  return offsets;
}

/** How many keys of each batch count, or `null` for all. */
export function checkLengths(
  lengths: unknown,
  batch: number,
  keys: number,
): readonly number[] | null {
  if (lengths === undefined) return null;
  const { length } = Object(lengths) as ArrayLike<number>;
  if (typeof lengths !== "object" || lengths === null || !isWhole(length)) {
    throw new TypeError(
      `${cannot}: \`kvLengths\` must be an array of one number per batch, got ${kindOf(lengths)}`,
    );
  }
  if (length !== batch) {
    throw new RangeError(
      `${cannot}: \`kvLengths\` must have one number per batch, B = ${batch}, got ${length}`,
    );
  }
  const given = Array.from(lengths as ArrayLike<number>);
  const wrong = given.findIndex((count) => !isExtent(count) || count > keys);
  if (wrong < 0) return given;
  throw new RangeError(
    `${cannot}: \`kvLengths\` must be whole numbers from 0 to Nk = ${keys}, got ${
      kindOf(given[wrong])
    }`,
  );
}

function checkWindow(window: unknown): void {
  if (window === undefined) return;
  const isSide = (side: unknown) => side === null || side === Infinity || isWhole(side);
  if (!Array.isArray(window) || window.length !== 2 || !window.every(isSide)) {
    throw new TypeError(
      `${cannot}: \`window\` must be [left, right] of whole numbers or null, got ${
        Array.isArray(window) ? `[${window.map(kindOf)}]` : kindOf(window)
      }`,
    );
  }
  if (window.every((side) => side === null || side >= 0)) return;
  throw new RangeError(`${cannot}: \`window\` must not be negative, got [${window.map(kindOf)}]`);
}

/** Checks the tensor to write into: its shape, and that no two of its elements are one. */
export function checkOut(value: unknown, shape: readonly number[], layout: Layout): AnyView {
  checkTensor("out", value);
  if (value.shape.length !== shape.length || value.shape.some((n, axis) => n !== shape[axis])) {
    throw new RangeError(
      `${cannot}: \`out\` must have shape [${shape}], got [${value.shape}]`,
    );
  }
  const view = viewOf(value, layout);
  if (sharesElements(view)) {
    throw new RangeError(
      `${cannot}: \`out\` with strides [${value.strides}] may write an element twice, ` +
        "each stride must step past all that the smaller ones reach",
    );
  }
  return view;
}

/**
 * Whether two indices name one element. Axes ordered by stride, each must step past all that the
 * smaller ones reach: every slice and transpose of a dense array passes.
 */
function sharesElements(view: AnyView): boolean {
  if (reach(view) === undefined) return false;
  const axes = view.shape
    .map((extent, axis) => ({ extent, stride: view.strides[axis] }))
    .filter(({ extent }) => extent > 1)
    .sort((a, b) => a.stride - b.stride);
  let span = 0;
  for (const { extent, stride } of axes) {
    if (stride <= span) return true;
    span += (extent - 1) * stride;
  }
  return false;
}
