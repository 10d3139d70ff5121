/**
 * What changes scores is read: ALiBi's slopes, bias, mask, sinks and block masks.
 *
 * @module
 */

import { readBooleans } from "../../../check/booleans.ts";
import {
  checkBuffer,
  holdArray,
  openList,
  type Placed,
  readExtentsOf,
  readLayout,
  readObject,
  type Written,
} from "../../../check/tensors.ts";
import { cannot, kindOf, type List, readNumbers } from "../../../check/words.ts";
import { type BlockMask, maskOf } from "../../../masks/block_mask.ts";
import { arrayKind, type HeldArray } from "../../../tensor/arrays.ts";
import { isGpuBuffer } from "../../../tensor/dtype.ts";
import {
  broadcastOf,
  type BroadcastView,
  type Extents,
  type MaskView,
} from "../../../tensor/tensor.ts";
import type { Each } from "./segments.ts";

/** Letters of the axes of scores. */
const axes = ["B", "Hq", "Nq", "Nk"];

/** A tensor of f32 in an array, as it was read. */
interface Floats extends Placed {
  readonly data: HeldArray<Float32Array>;
}

function readFloats(name: string, written: Written): Floats {
  const { data, dtype } = written, isFloats = arrayKind(data) === "Float32Array";
  if (!isFloats || (dtype !== undefined && dtype !== "f32")) {
    throw new TypeError(
      `${cannot}: \`${name}.data\` must be a Float32Array, got ${
        isFloats ? `dtype ${kindOf(dtype)}` : kindOf(data)
      }`,
    );
  }
  const held = holdArray(`${name}.data`, data as Float32Array),
    shape = readExtentsOf(name, written.shape);
  return { data: held, ...readLayout(name, written, shape, held, "f32") };
}

/** Opens a list of floats: an array of whole numbers holds their bits, or is meant for another option. */
function openFloats(name: string, given: unknown): List {
  const list = openList(name, given, cannot, true);
  if (list?.isFloat) return list;
  throw noFloats(name, given);
}

function noFloats(name: string, got: unknown): TypeError {
  return new TypeError(
    `${cannot}: \`${name}\` must be floats, in an array or as { data, shape }, got ${kindOf(got)}`,
  );
}

/** The numbers of a list, again from the first on where more are asked for. */
function floatsOf(name: string, list: List, length = list.length): Float32Array {
  const { numbers, wrong } = readNumbers(list, (value) => typeof value === "number");
  if (wrong !== undefined) throw noFloats(name, wrong.value);
  return Float32Array.from({ length }, (_, at) => numbers[at % list.length]);
}

/** ALiBi's slopes of each segment and query head; `null` where they are not given. */
export function readSlopes(alibi: unknown, each: Each, heads: number): Float32Array | null {
  if (alibi === undefined) return null;
  const slopes = openFloats("alibi", alibi), { shape } = slopes, rank = shape.length;
  const rows = rank === 2 ? shape[0] : 1;
  const fits = (rank === 1 || rank === 2) && shape[rank - 1] === heads &&
    (rows === 1 || rows === each.count);
  if (fits) return floatsOf("alibi", slopes, each.count * heads);
  const first = each.name === "batch" ? "B" : "sequences";
  throw new RangeError(
    `${cannot}: \`alibi\` must have shape [Hq] = [${heads}] or [${first}, Hq] = ` +
      `[${each.count}, ${heads}], got [${shape}]`,
  );
}

/** The sink of each query head; `null` where they are not given. */
export function readSinks(given: unknown, heads: number): Float32Array | null {
  if (given === undefined) return null;
  const sinks = openFloats("sinks", given), { shape } = sinks;
  if (shape.length === 1 && shape[0] === heads) return floatsOf("sinks", sinks);
  throw new RangeError(`${cannot}: \`sinks\` must have shape [Hq] = [${heads}], got [${shape}]`);
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

/** A bias as it was read: over all scores, and its shape as it was written. */
export interface ReadBias {
  readonly view: BroadcastView;
  readonly shape: readonly number[];
}

/** The bias over all scores; `null` where it is not given. */
export function readBias(bias: unknown, extents: Extents): ReadBias | null {
  if (bias === undefined) return null;
  const written = readObject("bias", bias, "Float32Array or GPUBuffer");
  const read = isGpuBuffer(written.data)
    ? readBufferOfFloats("bias", written, written.data)
    : readFloats("bias", written);
  checkBroadcast("bias", read.shape, extents);
  const view = { ...broadcastOf(read, extents), data: read.data, dtype: "f32" } as const;
  return { view, shape: read.shape };
}

function readBufferOfFloats(name: string, written: Written, data: GPUBuffer) {
  checkBuffer(name, data, written.dtype, ["f32"]);
  if (written.dtype !== "f32") {
    throw new TypeError(`${cannot}: \`${name}.dtype\` must be f32, got ${kindOf(written.dtype)}`);
  }
  const shape = readExtentsOf(name, written.shape);
  return { data, ...readLayout(name, written, shape, data, "f32") };
}

/** The mask over all scores; `null` where it is not given. */
export function readMask(mask: unknown, extents: Extents): MaskView | null {
  if (mask === undefined) return null;
  const { data, dtype, ...placed } = readBooleans("mask", mask);
  checkBroadcast("mask", placed.shape, extents);
  return { ...broadcastOf(placed, extents), data, dtype };
}

/** The block mask; `null` where it is not given. */
export function readBlockMask(
  blockMask: unknown,
  [batch, heads, queries, keys]: Extents,
): BlockMask | null {
  if (blockMask === undefined) return null;
  const read = maskOf(blockMask);
  if (read === undefined) {
    throw new TypeError(
      `${cannot}: \`blockMask\` must be a BlockMask, as \`blockMask.causal()\` and its like make, ` +
        `got ${kindOf(blockMask)}`,
    );
  }
  if (read.queries !== queries || read.keys !== keys) {
    throw new RangeError(
      `${cannot}: \`blockMask\` must be for Nq = ${queries} and Nk = ${keys}, ` +
        `got one for ${read.queries} and ${read.keys}`,
    );
  }
  const fits = (got: number, full: number) => got === 1 || got === full;
  if (!fits(read.batch, batch) || !fits(read.heads, heads)) {
    throw new RangeError(
      `${cannot}: \`blockMask\` must have B = ${batch} or 1 and Hq = ${heads} or 1, ` +
        `got B = ${read.batch} and Hq = ${read.heads}`,
    );
  }
  return read;
}
