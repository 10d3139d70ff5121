/**
 * What a call of a convolution means: read once, checked.
 *
 * @module
 */

import { checkHeads, readOut, readTensor } from "../../check/tensors.ts";
import { checkLayoutName, checkOneOf, mostDims, readOptions } from "../../check/words.ts";
import type { Control } from "../../contract/backend.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  type Extents,
  type Layout,
  mayOverlapAny,
  type ReadTensor,
  type View,
  viewOf,
} from "../../tensor/tensor.ts";
import { checkApart } from "../apart.ts";
import {
  cannotOf,
  type ConvolutionKind,
  convolutionNames,
  type ConvolutionOptions,
  mostTaps,
} from "./options.ts";

/** A checked call: row `i` of the result is the sum of `softmax(weights)_t v[i + t - lead]`. */
export interface ConvolutionPlan<V extends AnyView = AnyView> {
  readonly kind: ConvolutionKind;
  /** Taps of a row, and how many of them are on rows before its own. */
  readonly width: number;
  readonly lead: number;
  /** `[B, H, N, D]`. */
  readonly v: V;
  /** Before their softmax: `[B, H, N, W]`; `[B, H, 1, W]` where all rows of a head share them, alike in each batch. */
  readonly weights: V;
  /** The `W - 1` rows before the first, f32; `null` for zeros. */
  readonly before: V | null;
  /** Where the last `W - 1` rows are kept, likewise; `null` for nowhere. Not written where there are no rows. */
  readonly after: V | null;
  /** The caller's tensor for the result; `null` for one of its own. */
  readonly out: V | null;
}

/** The same with all tensors in arrays. */
export type HostConvolutionPlan = ConvolutionPlan<View>;

/** A call as it was read: nothing of it is read from the caller's objects again. */
export interface ConvolutionCall {
  readonly plan: ConvolutionPlan;
  readonly layout: Layout;
  /** Shapes of `v` and `weights` as they were written. */
  readonly shapes: { readonly v: readonly number[]; readonly weights: readonly number[] };
  /** The caller's tensor for the result, to be handed back. */
  readonly given: AnyTensor | null;
  readonly control: Control;
}

/** Whether all rows of a head have the same weights. */
export function isShared({ kind }: Pick<ConvolutionPlan, "kind">): boolean {
  return kind === "lightweightConvolution";
}

function checkExtents({ shape: [batch, heads, rows, columns] }: AnyView, doing: string): void {
  for (const [axis, got] of [["H", heads], ["D", columns]] as const) {
    if (got > 0) continue;
    throw new RangeError(`${doing}: \`v\` must have ${axis} of at least 1, got ${got}`);
  }
  if (columns <= mostDims || batch * rows === 0) return;
  throw new RangeError(`${doing}: \`v\` must have D of at most ${mostDims}, got ${columns}`);
}

/** Reads `[H, W]` by itself. */
export function readTaps(given: unknown, doing: string): ReadTensor {
  const tensor = readTensor("weights", given, doing, true), { shape } = tensor;
  if (shape.length !== 2) {
    throw new RangeError(`${doing}: \`weights\` must have shape [H, W], got [${shape}]`);
  }
  checkWidth(shape[1], true, doing);
  return tensor;
}

/** Reads `[H, W]` for some values. */
function readShared(given: unknown, [batch, heads]: Extents, doing: string): ReadWeights {
  const { data, dtype, shape, strides, offset = 0 } = readTaps(given, doing);
  if (shape[0] !== heads) {
    throw new RangeError(
      `${doing}: \`weights\` must have shape [H, W] with H = ${heads} as \`v\` has, got [${shape}]`,
    );
  }
  const [head, tap] = strides ?? contiguousStrides(shape);
  const placed = { shape: [batch, heads, 1, shape[1]], strides: [0, head, 0, tap] };
  return { view: { data, dtype, offset, ...placed } as unknown as AnyView, shape };
}

/** Weights as backends see them, and their shape as it was written. */
interface ReadWeights {
  readonly view: AnyView;
  readonly shape: readonly number[];
}

/** Reads `[B, H, N, W]` in the rank and layout of `v`. */
function readByRow(
  given: unknown,
  v: ReadTensor,
  layout: Layout,
  doing: string,
): ReadWeights {
  const tensor = readTensor("weights", given, doing, true), { shape } = tensor;
  const wanted = [...v.shape.slice(0, -1), "W"];
  const fits = shape.length === wanted.length &&
    shape.slice(0, -1).every((extent, axis) => extent === wanted[axis]);
  if (fits) return { view: viewOf(tensor, layout), shape };
  throw new RangeError(`${doing}: \`weights\` must have shape [${wanted}], got [${shape}]`);
}

/** Checks the number of taps. */
function checkWidth(width: number, isCausal: boolean, doing: string): void {
  const ends = `got ${width}`;
  if (width < 1 || width > mostTaps) {
    throw new RangeError(`${doing}: \`weights\` must have W from 1 to ${mostTaps}, ${ends}`);
  }
  if (isCausal || width % 2 === 1) return;
  throw new RangeError(
    `${doing}: \`weights\` must have an odd W, so that there is a middle tap, ${ends}; ` +
      "or ask for `causal: true`",
  );
}

/**
 * Reads a call and decides what it means.
 *
 * @param doing What messages begin with.
 */
export function readConvolution(
  kind: ConvolutionKind,
  given: { readonly v: unknown; readonly weights: unknown },
  options: ConvolutionOptions = {},
  doing = cannotOf(kind),
): ConvolutionCall {
  const { causal = false, layout = "bhnd", out: target, signal } = readOptions(
    options,
    convolutionNames,
    doing,
  );
  checkOneOf("causal", causal, [true, false], doing);
  checkLayoutName(layout, doing);
  const tensor = readTensor("v", given.v, doing), v = viewOf(tensor, layout);
  checkHeads("v", v, doing);
  checkExtents(v, doing);
  const weights = kind === "lightweightConvolution"
    ? readShared(given.weights, v.shape, doing)
    : readByRow(given.weights, tensor, layout, doing);
  const width = weights.view.shape[3];
  checkWidth(width, causal, doing);
  const out = target === undefined ? null : readOut(target, tensor.shape, layout, doing);
  if (out !== null) checkApart(out, { v, weights: weights.view }, doing);
  const plan = { kind, width, lead: causal ? width - 1 : (width - 1) / 2 };
  return {
    plan: { ...plan, v, weights: weights.view, before: null, after: null, out },
    ...{ layout, given: target ?? null, control: { signal } },
    shapes: { v: tensor.shape, weights: weights.shape },
  };
}

/** Rows of a plan, over all batches and heads. */
export function countRows({ v: { shape: [batch, heads, rows] } }: ConvolutionPlan): number {
  return batch * heads * rows;
}

/** Whether a tensor may share elements with what a plan reads. */
export function mayBeRead({ v, weights, before }: ConvolutionPlan, written: AnyView): boolean {
  return mayOverlapAny(written, [v, weights, before]);
}
