/**
 * Checks of tensors: each by itself, the inputs against each other, and the one to write into.
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
} from "../dtype.ts";
import type { Layout } from "../options.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  type Extents,
  reach,
  sizeOf,
  type Tensor,
  viewOf,
} from "../tensor.ts";
import { cannot, isExtent, kindOf } from "./words.ts";

/** Checks one tensor by itself: kinds, rank, extents, and that every element lies within `data`. */
export function checkTensor(
  name: string,
  value: unknown,
  doing = cannot,
): asserts value is AnyTensor {
  if (ArrayBuffer.isView(value)) {
    throw new TypeError(
      `${doing}: \`${name}\` is a bare ${kindOf(value)}, ` +
        `write { data: ${name}, shape: [B, H, N, D] } with its own numbers`,
    );
  }
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${doing}: \`${name}\` must be { data, shape }, got ${kindOf(value)}`);
  }
  const { data, shape, dtype } = value as Record<keyof Tensor, unknown>;
  const storage = checkData(name, data, dtype, doing);
  checkShape(name, shape, doing);
  checkLayout(
    name,
    value as AnyTensor,
    lengthOf(storage, (dtype ?? "f32") as DType),
    storage,
    doing,
  );
}

/** Checks strides and offset against a checked shape, and that `data` reaches so far. */
export function checkLayout(
  name: string,
  tensor: Pick<Tensor, "shape" | "strides" | "offset">,
  length: number,
  data: ArrayBufferView | GPUBuffer,
  doing = cannot,
): void {
  const { shape, strides, offset }: {
    shape: readonly number[];
    strides?: unknown;
    offset?: unknown;
  } = tensor;
  if (strides !== undefined) {
    if (!Array.isArray(strides) || !strides.every(isExtent)) {
      throw new TypeError(
        `${doing}: \`${name}.strides\` must be an array of whole numbers >= 0, got ${
          Array.isArray(strides) ? `[${strides}]` : kindOf(strides)
        }`,
      );
    }
    if (strides.length !== shape.length) {
      throw new RangeError(
        `${doing}: \`${name}.strides\` must have one number per axis of [${shape}], got [${strides}]`,
      );
    }
  }
  if (offset !== undefined && !isExtent(offset)) {
    throw new RangeError(
      `${doing}: \`${name}.offset\` must be a whole number >= 0, got ${kindOf(offset)}`,
    );
  }
  checkReach(name, tensor, length, data, doing);
}

function checkData(name: string, data: unknown, dtype: unknown, doing: string): TensorData {
  if (dtype !== undefined && !dtypes.includes(dtype as DType)) {
    throw new TypeError(
      `${doing}: \`${name}.dtype\` must be one of ${dtypes.join(", ")}, got ${kindOf(dtype)}`,
    );
  }
  if (isGpuBuffer(data)) return checkBuffer(name, data, dtype, dtypes, doing);
  if (!isHostData(data)) {
    throw new TypeError(
      `${doing}: \`${name}.data\` must be a Float32Array, Float16Array, Uint16Array or ` +
        `GPUBuffer, got ${kindOf(data)}`,
    );
  }
  const inherent = inherentDType(data);
  if (inherent === undefined && dtype !== "f16" && dtype !== "bf16") {
    throw new TypeError(
      `${doing}: \`${name}.data\` is a Uint16Array, so \`${name}.dtype\` must be "f16" or ` +
        `"bf16", got ${kindOf(dtype)}`,
    );
  }
  if (inherent !== undefined && dtype !== undefined && dtype !== inherent) {
    throw new TypeError(`${doing}: \`${name}\` has dtype ${dtype}, its data is a ${kindOf(data)}`);
  }
  return data;
}

/** `GPUBufferUsage.STORAGE`, which is no name where the GPU comes from a package. */
const storageUsage = 0x80;

/** Checks a buffer, which does not say how its elements are stored. */
export function checkBuffer(
  name: string,
  buffer: GPUBuffer,
  dtype: unknown,
  allowed: readonly string[] = dtypes,
  doing = cannot,
): GPUBuffer {
  if (dtype === undefined) {
    throw new TypeError(
      `${doing}: \`${name}.data\` is a GPUBuffer, so \`${name}.dtype\` must be one of ${
        allowed.join(", ")
      }`,
    );
  }
  if ((buffer.usage & storageUsage) === 0) {
    throw new TypeError(
      `${doing}: \`${name}.data\` must be a GPUBuffer made with GPUBufferUsage.STORAGE`,
    );
  }
  return buffer;
}

/** Elements that data can hold. */
function lengthOf(data: TensorData, dtype: DType): number {
  return isGpuBuffer(data) ? Math.floor(data.size / 4) * (4 / bytesPerElement(dtype)) : data.length;
}

function checkShape(
  name: string,
  shape: unknown,
  doing: string,
): asserts shape is readonly number[] {
  checkExtentsOf(name, shape, doing);
  if (shape.length < 2 || shape.length > 4) {
    throw new RangeError(
      `${doing}: \`${name}\` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], got [${shape}]`,
    );
  }
}

/** Checks a shape by itself, of whatever rank. */
export function checkExtentsOf(
  name: string,
  shape: unknown,
  doing = cannot,
): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) {
    throw new TypeError(`${doing}: \`${name}.shape\` must be an array, got ${kindOf(shape)}`);
  }
  if (!shape.every(isExtent)) {
    throw new RangeError(
      `${doing}: \`${name}.shape\` must hold whole numbers >= 0, got [${shape}]`,
    );
  }
}

function checkReach(
  name: string,
  tensor: Pick<Tensor, "shape" | "strides" | "offset">,
  length: number,
  data: ArrayBufferView | GPUBuffer,
  doing = cannot,
): void {
  const { shape, offset = 0, strides = contiguousStrides(shape) } = tensor;
  const needed = sizeOf(shape) === 0
    ? 0
    : 1 + offset + shape.reduce((sum, extent, axis) => sum + (extent - 1) * strides[axis], 0);
  if (needed <= length) return;
  throw new RangeError(
    `${doing}: \`${name}\` with shape [${shape}], strides [${strides}] and offset ${offset} ` +
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

/** Checks the queries of a call against a cache of these sizes. */
export function checkQueries(
  q: unknown,
  layout: Layout,
  [batch, kvHeads, headDim]: readonly [number, number, number],
): AnyView {
  checkTensor("q", q);
  const view = viewOf(q, layout), [ofBatch, heads, , dim] = view.shape;
  const wanted = [["B", ofBatch, batch], ["D", dim, headDim]] as const;
  const wrong = wanted.find(([, got, expected]) => got !== expected);
  if (wrong !== undefined) {
    const [axis, got, expected] = wrong;
    throw new RangeError(
      `${cannot}: \`q\` must have ${axis} = ${expected} as the cache has, got ${got}`,
    );
  }
  if (heads === 0 || heads % kvHeads !== 0) {
    throw new RangeError(
      `${cannot}: Hq must be a multiple of Hkv, got Hq = ${heads} in \`q\` and Hkv = ${kvHeads} ` +
        "in the cache",
    );
  }
  return view;
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
export function sharesElements(view: AnyView): boolean {
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
