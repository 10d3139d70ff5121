/**
 * Tensors are read: each by itself, the inputs against each other, and the one to write into. What is
 * checked is what is used, and nothing is read from the caller's objects again.
 *
 * @module
 */

import {
  elementOf,
  everyones,
  HeldArray,
  kindOfArray,
  lengthOfArray,
  ownOf,
  type PlainArray,
} from "../tensor/arrays.ts";
import {
  bytesPerElement,
  type DType,
  dtypes,
  type Elements,
  isGpuBuffer,
  storedIn,
} from "../tensor/dtype.ts";
import {
  type AnyView,
  contiguousStrides,
  type Extents,
  type Layout,
  type ReadData,
  type ReadTensor,
  sizeOf,
  type Tensor,
  viewOf,
} from "../tensor/tensor.ts";
import { cannot, isExtent, kindOf, type List, mostDims, mostHeads, readShort } from "./words.ts";

/** What a caller wrote of a tensor, not checked yet. */
export type Written = Readonly<Record<keyof Tensor, unknown>>;

/** Reads what was written of a tensor, once; by names that are written out, which is several times as fast. */
export function readWritten(value: object): Written {
  const { data, shape, dtype, strides, offset } = value as Written;
  return {
    data: ownOf(value, "data", data, everyones.data),
    shape: ownOf(value, "shape", shape, everyones.shape),
    dtype: ownOf(value, "dtype", dtype, everyones.dtype),
    strides: ownOf(value, "strides", strides, everyones.strides),
    offset: ownOf(value, "offset", offset, everyones.offset),
  };
}

/** The same of what must be an object with data of some kind and a shape. */
export function readObject(name: string, value: unknown, data: string, doing = cannot): Written {
  if (typeof value === "object" && value !== null && !isBare(value)) return readWritten(value);
  throw new TypeError(
    `${doing}: \`${name}\` must be { data: ${data}, shape }, got ${kindOf(value)}${
      made(name, value)
    }`,
  );
}

/** Whether elements stand where a tensor is expected. */
function isBare(value: unknown): boolean {
  return ArrayBuffer.isView(value) || Array.isArray(value);
}

/** What makes a tensor of a bare array. */
function made(name: string, value: unknown, shape = "shape"): string {
  const length = lengthOfArray(value);
  if (length === undefined) return "";
  const isNested = typeof (value as ArrayLike<unknown>)[0] === "object";
  const isOdd = !Array.isArray(value) && storedIn(value) === undefined &&
    kindOfArray(value) !== "Uint8Array";
  const given = isOdd ? `Float32Array.from(${name})` : name;
  return `, write tensor(${given}${isNested ? "" : `, ${shape}`})`;
}

/**
 * Reads one tensor: kinds, rank, extents, and that every element lies within `data`.
 *
 * @param anyRank Whether it may have any number of axes.
 */
export function readTensor(
  name: string,
  value: unknown,
  doing = cannot,
  anyRank = false,
): ReadTensor {
  if (isBare(value)) {
    const shape = `[${anyRank ? "..." : "B, H, N, D"}]`, isStored = storedIn(value) !== undefined;
    throw new TypeError(
      `${doing}: \`${name}\` is a bare ${kindOf(value)}${
        isStored
          ? `, write { data: ${name}, shape: ${shape} } with its own numbers`
          : made(name, value, shape)
      }`,
    );
  }
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`${doing}: \`${name}\` must be { data, shape }, got ${kindOf(value)}`);
  }
  const written = readWritten(value);
  if (written.data === undefined && written.shape === undefined) refuseNamed(name, value, doing);
  const [data, dtype] = readData(name, written, doing);
  const shape = anyRank
    ? readExtentsOf(name, written.shape, doing)
    : readShape(name, written.shape, doing);
  const { strides, offset } = readLayout(name, written, shape, data, dtype, doing);
  return { data, dtype, shape, strides, offset };
}

/** Says of options that stand where a tensor is expected what they are. */
function refuseNamed(name: string, value: object, doing: string): void {
  const keys = Object.keys(value);
  if (keys.length === 0) return;
  throw new TypeError(
    `${doing}: \`${name}\` must be { data, shape }, got { ${keys.join(", ")} }; ` +
      "options come behind all tensors",
  );
}

/** Where elements are in `data`, as it was written. */
export interface Placed {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** How a tensor of any storage is read. */
type Stored = DType | "u8" | "bit";

/** What elements must lie in. */
type Room = { readonly byteLength: number } | GPUBuffer;

/** Reads the strides and offset that go with a checked shape, and that `data` reaches so far. */
export function readLayout(
  name: string,
  { strides: written, offset = 0 }: Written,
  shape: readonly number[],
  data: Room,
  dtype: Stored,
  doing = cannot,
): Placed {
  const strides = written === undefined
    ? contiguousStrides(shape)
    : readStrides(name, written, shape, doing);
  if (!isExtent(offset)) {
    throw new RangeError(
      `${doing}: \`${name}.offset\` must be a whole number >= 0, got ${kindOf(offset)}`,
    );
  }
  const placed = { shape, strides, offset };
  checkReach(name, placed, lengthOf(data, dtype), data, doing);
  return placed;
}

function readStrides(
  name: string,
  written: unknown,
  shape: readonly number[],
  doing: string,
): readonly number[] {
  const strides = readShort(written);
  if (!strides?.every(isExtent)) {
    throw new TypeError(
      `${doing}: \`${name}.strides\` must be an array of whole numbers >= 0, got ${
        strides === undefined ? kindOf(written) : `[${strides}]`
      }`,
    );
  }
  if (strides.length === shape.length) return strides;
  throw new RangeError(
    `${doing}: \`${name}.strides\` must have one number per axis of [${shape}], got [${strides}]`,
  );
}

function readData(
  name: string,
  { data, dtype }: Written,
  doing: string,
): [data: ReadData, dtype: DType] {
  if (dtype !== undefined && !dtypes.includes(dtype as DType)) {
    throw new TypeError(
      `${doing}: \`${name}.dtype\` must be one of ${dtypes.join(", ")}, got ${kindOf(dtype)}`,
    );
  }
  const stored = storedIn(data);
  if (stored === undefined) {
    if (isGpuBuffer(data)) return [checkBuffer(name, data, dtype, dtypes, doing), dtype as DType];
    // Our own, of a call that is made of others.
    if (HeldArray.is(data)) return [data as HeldArray<Elements>, dtype as DType];
    throw new TypeError(
      `${doing}: \`${name}.data\` must be a Float32Array, Float16Array, Uint16Array or ` +
        `GPUBuffer, got ${kindOf(data)}${made(`${name}.data`, data)}`,
    );
  }
  if (stored === null && dtype !== "f16" && dtype !== "bf16") {
    throw new TypeError(
      `${doing}: \`${name}.data\` is a Uint16Array, so \`${name}.dtype\` must be "f16" or ` +
        `"bf16", got ${kindOf(dtype)}`,
    );
  }
  if (stored !== null && dtype !== undefined && dtype !== stored) {
    throw new TypeError(`${doing}: \`${name}\` has dtype ${dtype}, its data is a ${kindOf(data)}`);
  }
  return [holdArray(`${name}.data`, data as Elements, doing), stored ?? dtype as DType];
}

/** An array as it is now, unless it lies where an engine has lent nothing: others' bytes are there. */
export function holdArray<A extends PlainArray>(
  name: string,
  data: A | Float16Array,
  doing = cannot,
): HeldArray<A> {
  const held = new HeldArray<A>(data);
  if (held.lender === undefined || held.lent !== undefined || held.length === 0) return held;
  throw new TypeError(
    `${doing}: \`${name}\` lies in an engine's memory and in no tensor of it: the tensor was ` +
      "freed, or the array is not within `tensor.data`",
  );
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

/** Elements that data can hold; shaders read whole words. */
function lengthOf(data: Room, dtype: Stored): number {
  const bytes = isGpuBuffer(data) ? Math.floor(data.size / 4) * 4 : data.byteLength;
  return bytes / bytesPerElement(dtype);
}

function readShape(name: string, written: unknown, doing: string): readonly number[] {
  const shape = readExtentsOf(name, written, doing);
  if (shape.length >= 2 && shape.length <= 4) return shape;
  throw new RangeError(
    `${doing}: \`${name}\` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], got [${shape}]`,
  );
}

/** Reads a shape by itself, of whatever rank. */
export function readExtentsOf(name: string, written: unknown, doing = cannot): readonly number[] {
  const shape = readShort(written);
  if (shape === undefined) {
    throw new TypeError(`${doing}: \`${name}.shape\` must be an array, got ${kindOf(written)}`);
  }
  if (shape.every(isExtent)) return shape;
  throw new RangeError(
    `${doing}: \`${name}.shape\` must hold whole numbers >= 0, got [${shape}]`,
  );
}

function checkReach(
  name: string,
  { shape, strides, offset }: Placed,
  length: number,
  data: Room,
  doing: string,
): void {
  let needed = 1 + offset;
  for (let axis = 0; axis < shape.length; axis++) needed += (shape[axis] - 1) * strides[axis];
  if (shape.includes(0)) needed = 0;
  if (needed <= length) return;
  throw new RangeError(
    `${doing}: \`${name}\` with shape [${shape}], strides [${strides}] and offset ${offset} ` +
      `needs ${needed} elements, \`data\` has ${length}` +
      (HeldArray.is(data) && data.buffer.byteLength === 0
        ? ": its buffer is detached, read `tensor.data` again"
        : ""),
  );
}

/** The number that 16 bits of f16 or bf16 stand for. */
function widen(bits: number, isHalf: boolean): number {
  const float = (word: number) => new Float32Array(Uint32Array.of(word).buffer)[0];
  if (!isHalf) return float(bits << 16);
  // Read as an f32's, the exponent is 112 too small; the largest means infinity or NaN.
  const size = float((bits & 0x7fff) << 13) * 2 ** 112;
  return (bits >> 15 ? -1 : 1) * (size < 2 ** 16 ? size : bits & 1023 ? NaN : Infinity);
}

/**
 * A short list of numbers, as every option takes it: an array or what is like one, a typed array of any
 * kind, or a tensor in one. No element is read before it is asked for.
 *
 * @param anyRank Whether a tensor may have another number of axes than one.
 * @returns `undefined` for anything else.
 * @throws {TypeError} Where the data of a tensor is no typed array, or its dtype does not fit.
 * @throws {RangeError} Where it has other axes, or less data.
 */
export function openList(
  name: string,
  given: unknown,
  doing = cannot,
  anyRank = false,
): List | undefined {
  if (typeof given !== "object") return undefined;
  const bare = lengthOfArray(given), value = Object(given) as ArrayLike<unknown>;
  const written = bare === undefined && readWritten(value);
  if (written && written.data !== undefined) return openTensor(name, written, doing, anyRank);
  const length = bare ?? value.length;
  if (!isExtent(length)) return undefined;
  // It may lie in an engine's memory.
  const held = storedIn(value) === undefined ? null : holdArray(name, value as Elements, doing);
  return { shape: [length], length, ...numbersIn(value, held) };
}

/** What a list is in, each number as it is when it is asked for. */
function numbersIn(
  data: ArrayLike<unknown>,
  held: HeldArray | null,
  dtype?: unknown,
): Pick<List, "at" | "isFloat"> {
  const kind = kindOfArray(data), isBits = kind === "Uint16Array" && dtype !== undefined;
  return {
    isFloat: isBits || !kind?.includes("nt"), // As all integers have it in their kind.
    at(index) {
      held?.lent?.check(); // What was read before may have been a function that freed it.
      const value = elementOf(data, index);
      return isBits ? widen(value as number, dtype === "f16") : value;
    },
  };
}

function openTensor(name: string, written: Written, doing: string, anyRank: boolean): List {
  const { dtype } = written, data = written.data as ArrayLike<unknown>, stored = storedIn(data);
  if (kindOfArray(data) === undefined || (stored === undefined && dtype !== undefined)) {
    throw new TypeError(
      `${doing}: \`${name}.data\` must be a typed array on the CPU, and fit \`dtype\`, got ${
        kindOf(data)
      }`,
    );
  }
  const [room, storage] = stored === undefined
    ? [{ byteLength: lengthOfArray(data)! }, "u8"] as const // As many elements.
    : readData(name, written, doing);
  const shape = readExtentsOf(name, written.shape, doing);
  if (!anyRank && shape.length !== 1) {
    throw new RangeError(`${doing}: \`${name}\` must have one axis, got shape [${shape}]`);
  }
  const { strides, offset } = readLayout(name, written, shape, room, storage, doing);
  const { isFloat, at } = numbersIn(data, HeldArray.is(room) ? room : null, dtype);
  return {
    ...{ shape, length: sizeOf(shape), isFloat },
    at(index) {
      let place = offset;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        place += index % shape[axis] * strides[axis];
        index = Math.floor(index / shape[axis]);
      }
      return at(place);
    },
  };
}

/**
 * Reads a tensor of one number per row, f32, as a column: `[B, Hq, Nq]` becomes `[B, Hq, Nq, 1]`.
 *
 * @param shape The shape that it must have.
 * @param hint What to do where there is none.
 */
export function readRows(
  name: string,
  value: unknown,
  shape: readonly number[],
  doing: string,
  hint = "",
): ReadTensor {
  const written = typeof value === "object" && value !== null ? readWritten(value) : undefined;
  if (lengthOfArray(written?.shape) === undefined) {
    throw new TypeError(
      `${doing}: \`${name}\` must be { data, shape }, got ${kindOf(value)}${hint}`,
    );
  }
  const { data, shape: given, dtype, strides, offset } = written!, steps = readShort(strides);
  if (dtype !== undefined && dtype !== "f32") {
    throw new TypeError(`${doing}: \`${name}\` must be f32, got ${dtype}`);
  }
  const extents = readExtentsOf(name, given, doing);
  checkShapeOf(name, extents, shape, doing);
  return readTensor(name, {
    ...{ data, dtype: "f32", offset, shape: [...extents, 1] },
    strides: steps === undefined ? strides : [...steps, 1],
  }, doing);
}

/** Checks that a tensor has the shape that is expected of it. */
export function checkShapeOf(
  name: string,
  given: readonly number[],
  expected: readonly number[],
  doing: string,
): void {
  if (given.length === expected.length && given.every((n, axis) => n === expected[axis])) return;
  throw new RangeError(`${doing}: \`${name}\` must have shape [${expected}], got [${given}]`);
}

/** Checks that a tensor has no more heads than can be kept, which need no elements. */
export function checkHeads(name: string, { shape: [batch, heads] }: AnyView, doing = cannot): void {
  if (Math.max(1, batch) * Math.max(1, heads) <= mostHeads) return;
  throw new RangeError(
    `${doing}: \`${name}\` must have B times H of at most ${mostHeads}, got ${batch} times ${heads}`,
  );
}

/** The inputs as views, and their shapes as they were written. */
export interface Inputs {
  readonly q: AnyView;
  readonly k: AnyView;
  readonly v: AnyView;
  readonly shapes: Readonly<Record<"q" | "k" | "v", readonly number[]>>;
}

/** Reads the inputs one by one, then against each other. */
export function readInputs(
  givenQ: unknown,
  givenK: unknown,
  givenV: unknown,
  layout: Layout,
  doing = cannot,
): Inputs {
  const q = readTensor("q", givenQ, doing), k = readTensor("k", givenK, doing);
  const v = readTensor("v", givenV, doing);
  const rank = q.shape.length;
  for (const [name, { shape }] of Object.entries({ k, v })) {
    if (shape.length === rank) continue;
    throw new RangeError(
      `${doing}: \`${name}\` must have rank ${rank} as \`q\` has, got [${shape}]`,
    );
  }
  const views = { q: viewOf(q, layout), k: viewOf(k, layout), v: viewOf(v, layout) };
  for (const name of ["q", "k", "v"] as const) checkHeads(name, views[name], doing);
  checkAgreement(views.q.shape, views.k.shape, views.v.shape, doing);
  return { q: views.q, k: views.k, v: views.v, shapes: { q: q.shape, k: k.shape, v: v.shape } };
}

/** Reads the queries of a call against a cache of these sizes; gives their shape as it was written. */
export function readQueries(
  given: unknown,
  layout: Layout,
  [batch, kvHeads, headDim]: readonly [number, number, number],
): { readonly q: AnyView; readonly shape: readonly number[] } {
  const tensor = readTensor("q", given);
  const view = viewOf(tensor, layout), [ofBatch, heads, , dim] = view.shape;
  checkHeads("q", view);
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
  return { q: view, shape: tensor.shape };
}

function checkAgreement(q: Extents, k: Extents, v: Extents, doing: string): void {
  const same = (name: string, axis: string, got: number, expected: number, as: string) => {
    if (got === expected) return;
    throw new RangeError(
      `${doing}: \`${name}\` must have ${axis} = ${expected} as \`${as}\` has, got ${got}`,
    );
  };
  const atLeastOne = (name: string, axis: string, got: number) => {
    if (got > 0) return;
    throw new RangeError(`${doing}: \`${name}\` must have ${axis} of at least 1, got ${got}`);
  };
  same("k", "B", k[0], q[0], "q");
  same("v", "B", v[0], q[0], "q");
  atLeastOne("q", "Hq", q[1]);
  atLeastOne("k", "Hkv", k[1]);
  same("v", "Hkv", v[1], k[1], "k");
  if (q[1] % k[1] !== 0) {
    throw new RangeError(
      `${doing}: Hq must be a multiple of Hkv, got Hq = ${q[1]} in \`q\` and Hkv = ${
        k[1]
      } in \`k\``,
    );
  }
  same("v", "Nk", v[2], k[2], "k");
  const hasRows = q[0] > 0 && q[2] > 0; // Else there is nothing to be done.
  const atMost = (name: string, axis: string, got: number) => {
    if (got <= mostDims || !hasRows) return;
    throw new RangeError(
      `${doing}: \`${name}\` must have ${axis} of at most ${mostDims}, got ${got}`,
    );
  };
  atMost("q", "D", q[3]);
  atMost("v", "Dv", v[3]);
  atLeastOne("q", "D", q[3]);
  same("k", "D", k[3], q[3], "q");
  atLeastOne("v", "Dv", v[3]);
}

/** Reads the tensor to write into: its shape, and that no two of its elements are one. */
export function readOut(
  given: unknown,
  shape: readonly number[],
  layout: Layout,
  doing = cannot,
): AnyView {
  const tensor = readTensor("out", given, doing);
  checkShapeOf("out", tensor.shape, shape, doing);
  checkWritable(tensor as Placed, doing);
  return viewOf(tensor, layout);
}

/** Checks that no two elements of a tensor to write into are one. */
export function checkWritable(out: Placed, doing: string): void {
  if (!sharesElements(out)) return;
  throw new RangeError(
    `${doing}: \`out\` with strides [${out.strides}] may write an element twice, ` +
      "each stride must step past all that the smaller ones reach",
  );
}

/**
 * Whether two indices name one element. Axes ordered by stride, each must step past all that the
 * smaller ones reach: every slice and transpose of a dense array passes.
 */
export function sharesElements(view: Pick<Placed, "shape" | "strides">): boolean {
  if (sizeOf(view.shape) === 0) return false;
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
