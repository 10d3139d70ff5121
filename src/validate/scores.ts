/**
 * Checks of what changes scores: ALiBi's slopes, bias, mask, sinks and block masks.
 *
 * @module
 */

import { BlockMask } from "../block_mask.ts";
import { isGpuBuffer } from "../dtype.ts";
import type { BooleanDType, BooleanTensor } from "../options.ts";
import { broadcastOf, type BroadcastView, type Extents, type MaskView } from "../scores.ts";
import type { Tensor } from "../tensor.ts";
import type { Each } from "./segments.ts";
import { checkBuffer, checkExtentsOf, checkLayout } from "./tensors.ts";
import { cannot, kindOf } from "./words.ts";

/** Letters of the axes of scores. */
const axes = ["B", "Hq", "Nq", "Nk"];

function checkObject(name: string, value: unknown, data: string): asserts value is object {
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) return;
  throw new TypeError(
    `${cannot}: \`${name}\` must be { data: ${data}, shape }, got ${kindOf(value)}`,
  );
}

/** Checks a tensor of f32 in an array, and that each of its axes is what is expected of it. */
function checkFloats(name: string, value: unknown): asserts value is Tensor {
  checkObject(name, value, "Float32Array");
  const { data, shape, dtype } = value as Record<keyof Tensor, unknown>;
  if (!(data instanceof Float32Array) || (dtype !== undefined && dtype !== "f32")) {
    throw new TypeError(
      `${cannot}: \`${name}.data\` must be a Float32Array, got ${
        data instanceof Float32Array ? `dtype ${kindOf(dtype)}` : kindOf(data)
      }`,
    );
  }
  checkExtentsOf(name, shape);
  checkLayout(name, value as Tensor, data.length, data);
}

/** Numbers of a tensor with these strides, as a dense array. */
function dense(
  { data, offset = 0 }: Tensor,
  rows: number,
  columns: number,
  [row, column]: readonly [number, number],
): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    return data[offset + Math.floor(at / columns) * row + (at % columns) * column];
  });
}

/** ALiBi's slopes of each segment and query head; `null` where they are not given. */
export function checkSlopes(alibi: unknown, each: Each, heads: number): Float32Array | null {
  if (alibi === undefined) return null;
  checkFloats("alibi", alibi);
  const { shape } = alibi, rank = shape.length;
  const rows = rank === 2 ? shape[0] : 1;
  const fits = (rank === 1 || rank === 2) && shape[rank - 1] === heads &&
    (rank === 1 || rows === 1 || rows === each.count);
  if (!fits) {
    const first = each.name === "batch" ? "B" : "sequences";
    throw new RangeError(
      `${cannot}: \`alibi\` must have shape [Hq] = [${heads}] or [${first}, Hq] = ` +
        `[${each.count}, ${heads}], got [${shape}]`,
    );
  }
  const strides = alibi.strides ?? [heads, 1];
  const row = rows === 1 ? 0 : strides[0];
  return dense(alibi, each.count, heads, [row, strides.at(-1)!]);
}

/** The sink of each query head; `null` where they are not given. */
export function checkSinks(sinks: unknown, heads: number): Float32Array | null {
  if (sinks === undefined) return null;
  checkFloats("sinks", sinks);
  if (sinks.shape.length !== 1 || sinks.shape[0] !== heads) {
    throw new RangeError(
      `${cannot}: \`sinks\` must have shape [Hq] = [${heads}], got [${sinks.shape}]`,
    );
  }
  return dense(sinks, 1, heads, [0, sinks.strides?.[0] ?? 1]);
}

function checkBroadcast(name: string, shape: readonly number[], extents: Extents): void {
  const full = extents.slice(4 - shape.length);
  const fits = shape.length >= 1 && shape.length <= 4 &&
    shape.every((extent, axis) => extent === 1 || extent === full[axis]);
  if (fits) return;
  throw new RangeError(
    `${cannot}: \`${name}\` must have each axis of [${
      axes.join(", ")
    }] = [${extents}] full or 1, ` +
      `leading ones may be missing, got [${shape}]`,
  );
}

/** The bias over all scores; `null` where it is not given. */
export function checkBias(bias: unknown, extents: Extents): BroadcastView | null {
  if (bias === undefined) return null;
  checkObject("bias", bias, "Float32Array or GPUBuffer");
  const { data, dtype } = bias as Record<keyof Tensor, unknown>;
  if (isGpuBuffer(data)) {
    checkBuffer("bias", data, dtype, ["f32"]);
    if (dtype !== "f32") {
      throw new TypeError(`${cannot}: \`bias.dtype\` must be f32, got ${kindOf(dtype)}`);
    }
    checkExtentsOf("bias", (bias as Tensor).shape);
    checkLayout("bias", bias as Tensor, Math.floor(data.size / 4), data);
  } else {
    checkFloats("bias", bias);
  }
  const tensor = bias as Tensor<Float32Array | GPUBuffer>;
  checkBroadcast("bias", tensor.shape, extents);
  return { ...broadcastOf(tensor, extents), data: tensor.data, dtype: "f32" };
}

const booleanDTypes: readonly BooleanDType[] = ["u8", "bit"];

/** The mask over all scores; `null` where it is not given. */
export function checkMask(mask: unknown, extents: Extents): MaskView | null {
  if (mask === undefined) return null;
  checkObject("mask", mask, "Uint8Array");
  const { data, shape, dtype } = mask as Record<keyof BooleanTensor, unknown>;
  const { dtype: stored, length } = checkBooleans(data, dtype);
  checkExtentsOf("mask", shape);
  const tensor = mask as BooleanTensor;
  checkLayout("mask", tensor, length, tensor.data);
  checkBroadcast("mask", tensor.shape, extents);
  return { ...broadcastOf(tensor, extents), data: tensor.data, dtype: stored };
}

/** How a mask's elements are stored, and how many `data` can hold. */
function checkBooleans(
  data: unknown,
  dtype: unknown,
): { readonly dtype: BooleanDType; readonly length: number } {
  if (dtype !== undefined && !booleanDTypes.includes(dtype as BooleanDType)) {
    throw new TypeError(
      `${cannot}: \`mask.dtype\` must be one of ${booleanDTypes.join(", ")}, got ${kindOf(dtype)}`,
    );
  }
  const inherent = data instanceof Uint8Array
    ? "u8"
    : data instanceof Uint32Array
    ? "bit"
    : undefined;
  if (isGpuBuffer(data)) {
    checkBuffer("mask", data, dtype, booleanDTypes);
    const stored = dtype as BooleanDType;
    // Shaders read words.
    return { dtype: stored, length: Math.floor(data.size / 4) * (stored === "u8" ? 4 : 32) };
  }
  if (inherent === undefined) {
    throw new TypeError(
      `${cannot}: \`mask.data\` must be a Uint8Array (a byte each), Uint32Array (bits) or ` +
        `GPUBuffer, got ${kindOf(data)}`,
    );
  }
  if (dtype !== undefined && dtype !== inherent) {
    throw new TypeError(
      `${cannot}: \`mask\` has dtype ${dtype}, its data is a ${kindOf(data)}`,
    );
  }
  const { length } = data as Uint8Array | Uint32Array;
  return { dtype: inherent, length: inherent === "u8" ? length : length * 32 };
}

/** The block mask; `null` where it is not given. */
export function checkBlockMask(
  blockMask: unknown,
  [batch, heads, queries, keys]: Extents,
): BlockMask | null {
  if (blockMask === undefined) return null;
  if (!(blockMask instanceof BlockMask)) {
    throw new TypeError(
      `${cannot}: \`blockMask\` must be a BlockMask, as \`blockMask.causal()\` and its like make, ` +
        `got ${kindOf(blockMask)}`,
    );
  }
  if (blockMask.queries !== queries || blockMask.keys !== keys) {
    throw new RangeError(
      `${cannot}: \`blockMask\` must be for Nq = ${queries} and Nk = ${keys}, ` +
        `got one for ${blockMask.queries} and ${blockMask.keys}`,
    );
  }
  const fits = (got: number, full: number) => got === 1 || got === full;
  if (!fits(blockMask.batch, batch) || !fits(blockMask.heads, heads)) {
    throw new RangeError(
      `${cannot}: \`blockMask\` must have B = ${batch} or 1 and Hq = ${heads} or 1, ` +
        `got B = ${blockMask.batch} and Hq = ${blockMask.heads}`,
    );
  }
  return blockMask;
}
