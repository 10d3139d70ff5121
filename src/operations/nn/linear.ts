/**
 * What a call of `linear()`, or of `packLinear()`, means: read once, checked.
 *
 * @module
 */

import { readTensor, readWritten as readOf } from "../../check/tensors.ts";
import { checkOneOf, isExtent, kindOf, readShort } from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import { arrayKind, HeldArray } from "../../tensor/arrays.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { AnyTensor, View } from "../../tensor/tensor.ts";
import { readWritten, type RowsCall } from "./call.ts";
import {
  activations,
  type BlockDType,
  blockDTypes,
  type BlockWeight,
  type LinearDType,
  linearDTypes,
  type LinearOptions,
  linearPrecisions,
  type PackLinearOptions,
} from "./options.ts";
import {
  blockInputs,
  layoutOf,
  type PackedLayout,
  type PackedLinear,
  packedOf,
  type PackedWeight,
} from "./packed.ts";
import { placedFrom, type PlacedTensor, readPlaced, readShaped, rowOf } from "./rows.ts";
import { type BlockSource, linear, type LinearPlan, packLinear } from "./tokens.ts";

/** A weight to be packed. */
export interface PackCall {
  readonly source: View | BlockSource;
  readonly layout: PackedLayout;
}

/** Bytes of a block of 32. */
const blockBytes: Readonly<Record<BlockDType, number>> = { q8_0: 34, q4_0: 18 };

/** Inputs at most: products of 16-bit rows are such that no sum of so many leaves 31 bits. */
const mostInputs = 2 ** 20;

function checkSizes(shape: readonly number[], doing: string): void {
  if (shape.length !== 2 || shape.includes(0)) {
    throw new RangeError(
      `${doing}: \`weight\` must have two axes of at least 1, got shape [${shape}]`,
    );
  }
}

/** Reads a weight that is in blocks. */
function readBlocks(
  { data, shape: written, dtype }: ReturnType<typeof readOf>,
  doing: string,
): { readonly source: BlockSource; readonly shape: readonly number[] } {
  if (arrayKind(data) !== "Uint8Array") {
    throw new TypeError(
      `${doing}: \`weight.data\` must be a Uint8Array where \`weight.dtype\` is ${
        kindOf(dtype)
      }, got ${kindOf(data)}`,
    );
  }
  const shape = readShort(written);
  if (!shape?.every(isExtent)) {
    throw new TypeError(
      `${doing}: \`weight.shape\` must be [outputs, inputs], got ${kindOf(written)}`,
    );
  }
  checkSizes(shape, doing);
  const [outputs, inputs] = shape, held = new HeldArray<Uint8Array>(data as Uint8Array);
  if (inputs % blockInputs !== 0) {
    throw new RangeError(
      `${doing}: \`weight\` in blocks of ${blockInputs} must have a multiple of that in a row, got ${inputs}`,
    );
  }
  const bytes = outputs * (inputs / blockInputs) * blockBytes[dtype as BlockDType];
  if (held.length !== bytes) {
    throw new RangeError(
      `${doing}: \`weight\` of shape [${shape}] must have ${bytes} bytes of ${dtype}, got ${held.length}`,
    );
  }
  return { source: { data: held, dtype: dtype as BlockDType }, shape };
}

/** Reads a weight of floats: `[1, 1, outputs, inputs]`, whichever axis is which. */
function readFloats(given: unknown, isTurned: boolean, doing: string): View & { dtype: DType } {
  const { data, dtype, shape, strides, offset } = placedFrom(
    readTensor("weight", given, doing, true),
  );
  checkSizes(shape, doing);
  const [o, i] = isTurned ? [1, 0] : [0, 1];
  return {
    ...{ data: data as View["data"], dtype, offset },
    shape: [1, 1, shape[o], shape[i]],
    strides: [0, 0, strides[o], strides[i]],
  };
}

/** Reads what is to be packed. */
export function readPack(
  weight: AnyTensor | BlockWeight,
  { dtype, layout = "out-in" }: PackLinearOptions,
  doing = packLinear.cannot,
): PackCall {
  checkOneOf("dtype", dtype, linearDTypes, doing);
  checkOneOf("layout", layout, ["out-in", "in-out"], doing);
  const written = typeof weight === "object" && weight !== null && !ArrayBuffer.isView(weight)
    ? readOf(weight)
    : undefined;
  if (blockDTypes.includes(written?.dtype as BlockDType)) {
    const { source, shape: [outputs, inputs] } = readBlocks(written!, doing);
    if (layout !== "out-in" || (dtype ?? "int8") !== "int8") {
      throw new RangeError(
        `${doing}: \`weight\` in blocks is kept as "int8" in the layout "out-in", got ${
          kindOf(dtype)
        } and ${kindOf(layout)}`,
      );
    }
    return { source, layout: checkedLayout("int8", inputs, outputs, doing) };
  }
  const source = readFloats(weight, layout === "in-out", doing),
    [, , outputs, inputs] = source.shape;
  return { source, layout: checkedLayout(dtype ?? source.dtype, inputs, outputs, doing) };
}

function checkedLayout(
  dtype: LinearDType,
  inputs: number,
  outputs: number,
  doing: string,
): PackedLayout {
  const layout = layoutOf(dtype, inputs, outputs);
  if (inputs <= mostInputs && layout.bytes < 2 ** 32) return layout;
  throw new RangeError(
    `${doing}: \`weight\` must have at most ${mostInputs} inputs and 4 GiB, ` +
      `got [${outputs}, ${inputs}], which has ${layout.bytes} bytes as ${dtype}`,
  );
}

/** Whether a caller gave a packed weight. */
export function isPacked(given: unknown): given is PackedLinear {
  return typeof given === "object" && given !== null && packedOf(given) !== undefined;
}

/** The weight of a call, and the machinery that has it. */
export function readWeight(
  given: unknown,
  asked: Machinery | undefined,
  name = "weight",
  doing = linear.cannot,
): { readonly packed: PackedWeight; readonly machinery: Machinery } {
  const found = isPacked(given) ? packedOf(given) : undefined;
  if (found === undefined) {
    throw new TypeError(
      `${doing}: \`${name}\` must be what \`packLinear()\` of this copy of the library gave, ` +
        `got ${kindOf(given)}`,
    );
  }
  if (asked !== undefined && asked !== found.machinery) {
    throw new TypeError(
      `${doing}: \`${name}\` was packed for another engine, pack it with this \`engine\``,
    );
  }
  found.machinery.own.checkOpen();
  return { packed: found.weight, machinery: found.machinery };
}

/** Checks that a weight as it is packed can be multiplied so. */
function checkPrecision({ dtype }: PackedWeight, precision: string, doing: string): void {
  const fits = precision === "f32" || dtype === "int8" ||
    (precision === "int16" && dtype === "int16");
  if (fits) return;
  const needed = precision === "int16" ? '"int16" or "int8"' : '"int8"';
  throw new RangeError(
    `${doing}: \`precision: "${precision}"\` needs a weight packed with \`dtype\` ${needed}, ` +
      `this one is "${dtype}"`,
  );
}

/** Reads a call. */
export function readLinear(
  given: AnyTensor,
  packed: PackedWeight,
  options: LinearOptions,
  doing = linear.cannot,
): RowsCall<LinearPlan> {
  const { activation, precision = "f32", signal } = options;
  const { inputs, outputs } = packed, x = readPlaced("x", given, doing);
  const leading = x.shape.slice(0, -1), shape = [...leading, outputs];
  if (x.shape[leading.length] !== inputs) {
    throw new RangeError(
      `${doing}: \`x\` must have ${inputs} columns as \`weight\` has inputs, got shape [${x.shape}]`,
    );
  }
  checkOneOf("activation", activation, activations, doing);
  checkOneOf("precision", precision, linearPrecisions, doing);
  checkPrecision(packed, precision, doing);
  const read = (name: "bias" | "residual", of: readonly number[]): PlacedTensor | null =>
    options[name] === undefined ? null : readShaped(name, options[name], of, doing);
  const bias = read("bias", [outputs]), residual = read("residual", shape);
  const out = readWritten("out", options.out, { shape, like: x, over: [residual] }, doing);
  const plan = {
    ...{ packed, bias: rowOf(bias), activation: activation ?? null, precision },
    used: { x, weight: packed, bias, residual, out: out.own },
    rows: leading.reduce((product, extent) => product * extent, 1),
  };
  return {
    ...{ operation: linear, plan, leading, x, y: residual, reads: [bias], out, sum: null, signal },
  };
}
