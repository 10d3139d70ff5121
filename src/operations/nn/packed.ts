/**
 * Weights that are packed: where they are in an engine's memory, and how they lie there.
 *
 * Panels of eight outputs follow one another, of which there is a multiple of four: outputs beyond the last are 0. Of a
 * panel, n neighbours of a row are a dword: f32 lies as `[inputs][8]`, 16 bits of floats the same, integers of 16 bits as
 * `[inputs / 2][8][2]`, and bytes likewise. Scales lie behind all panels: eight floats a panel, or for bytes sixteen each 32
 * inputs, scales and then scales times sums. The last word is 0 where floats of 16 bits are not all finite. On a GPU four
 * bits stay so: four neighbours of a row are the half of a word.
 *
 * @module
 */

import type { EngineTensor, Machinery } from "../../contract/backend.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import type { LinearDType } from "./options.ts";

/** Outputs of a panel, and panels that one row is multiplied with at once. */
export const panelOutputs = 8, panelsAtOnce = 4;

/** Inputs that share a scale where weights are bytes. */
export const blockInputs = 32;

/** A weight in an engine's memory, packed for `linear()`. */
export interface PackedLinear extends Disposable {
  /** Elements of a row that it takes. */
  readonly inputs: number;
  /** Elements of a row that it gives. */
  readonly outputs: number;
  /** How it is kept. */
  readonly dtype: LinearDType;
  /** Bytes of the engine's memory. */
  readonly bytes: number;
  /** Gives the memory back, once no call uses it any more; it cannot be used from now on. */
  free(): void;
}

/** How a weight lies. */
export interface PackedLayout {
  readonly inputs: number;
  readonly outputs: number;
  readonly dtype: LinearDType;
  /** Whether bytes have two numbers each: blocks of four bits, as a GPU keeps them. */
  readonly isNibbled: boolean;
  readonly panels: number;
  /** Bytes of a panel, and of its scales. */
  readonly panelBytes: number;
  readonly scaleBytes: number;
  /** Bytes of all. */
  readonly bytes: number;
}

/** A packed weight as calls see it. */
export interface PackedWeight extends PackedLayout {
  readonly data: HeldArray<Float32Array> | GPUBuffer;
}

/** Bytes of the elements of eight outputs. */
function panelBytesOf(dtype: LinearDType, inputs: number): number {
  if (dtype === "f32") return inputs * 32;
  if (dtype === "int8") return Math.ceil(inputs / blockInputs) * blockInputs * 8;
  return dtype === "int16" ? Math.ceil(inputs / 2) * 32 : inputs * 16;
}

function scaleBytesOf(dtype: LinearDType, inputs: number): number {
  if (dtype === "int8") return Math.ceil(inputs / blockInputs) * 64;
  return dtype === "int16" ? 32 : 0;
}

/** How a weight of such sizes lies. */
export function layoutOf(
  dtype: LinearDType,
  inputs: number,
  outputs: number,
  isNibbled = false,
): PackedLayout {
  const panels = Math.ceil(outputs / (panelOutputs * panelsAtOnce)) * panelsAtOnce;
  const panelBytes = panelBytesOf(dtype, inputs) / (isNibbled ? 2 : 1),
    scaleBytes = scaleBytesOf(dtype, inputs);
  const bytes = panels * (panelBytes + scaleBytes) + 4;
  return { inputs, outputs, dtype, isNibbled, panels, panelBytes, scaleBytes, bytes };
}

/** A weight and the machinery in whose memory it is. */
interface Owned {
  readonly weight: PackedWeight;
  readonly machinery: Machinery;
}

const owned = /* @__PURE__ */ new WeakMap<object, Owned>();

/** What `packLinear()` gives of memory that was filled. */
export function packedLinear(
  layout: PackedLayout,
  memory: EngineTensor<TensorData>,
  machinery: Machinery,
): PackedLinear {
  const { inputs, outputs, dtype, bytes } = layout, free = () => memory.free();
  const packed = Object.freeze({ inputs, outputs, dtype, bytes, free, [Symbol.dispose]: free });
  const weight = weightIn(layout, memory);
  weights.add(weight);
  owned.set(packed, { weight, machinery });
  return packed;
}

/** The same as calls see it. */
export function weightIn(layout: PackedLayout, { data }: EngineTensor<TensorData>): PackedWeight {
  const held = isGpuBuffer(data) ? data : new HeldArray<Float32Array>(data as Float32Array);
  return { ...layout, data: held };
}

const weights = /* @__PURE__ */ new WeakSet<object>();

/** Whether a value is a packed weight as calls see it. */
export function isWeight(value: unknown): value is PackedWeight {
  return typeof value === "object" && value !== null && weights.has(value);
}

/** What calls see of what a caller gave; `undefined` where that is no packed weight. */
export function packedOf(given: unknown): Owned | undefined {
  return owned.get(given as object);
}
