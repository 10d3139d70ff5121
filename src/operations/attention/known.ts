/**
 * What functions say that options say, too: it is taken for these, with the same bits, where no such option is given.
 *
 * @module
 */

import type { Functions } from "../../scores/functions.ts";
import { knownBand, knownScore } from "../../scores/known.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import type { BroadcastView, Extents } from "../../tensor/tensor.ts";
import { contiguousStrides } from "../../tensor/tensor.ts";
import type { AttentionOptions } from "./options.ts";
import type { Band } from "./segments.ts";

/** What a call's functions say as options do, and what is left of them. */
export interface Known {
  readonly functions: Functions | null;
  readonly band?: Band;
  readonly softcap?: number;
  /** By query head. */
  readonly slopes?: Float32Array;
  readonly bias?: BroadcastView;
}

/** What of a call's sizes it depends on. */
interface Sizes {
  readonly extents: Extents;
  /** Whether sequences are packed: rows are counted within each then. */
  readonly packed: boolean;
}

/** Where rows are counted from is nobody's business but the functions'. */
function isAligned({ causal, window, offset, alibi }: AttentionOptions): boolean {
  return !causal && window === undefined && offset === undefined && alibi === undefined;
}

function slopesOf(functions: Functions, array: CapturedArray, heads: number) {
  const { data } = functions.arrays.get(array)!;
  if (isGpuBuffer(data) || array.shape[0] < heads) return undefined;
  return (data as HeldArray<Float32Array>).now("a captured array's").slice(0, heads);
}

/** A table that is read by rows, keys, heads and batches as a bias is; none where some index is beyond it. */
function biasOf(
  functions: Functions,
  array: CapturedArray,
  axes: readonly string[],
  extents: Extents,
): BroadcastView | undefined {
  const names = ["b", "h", "q", "k"], own = contiguousStrides(array.shape);
  const isLarge = axes.every((axis, at) => array.shape[at] >= extents[names.indexOf(axis)]);
  if (!isLarge) return undefined;
  const strides = names.map((name) => own[axes.indexOf(name)] ?? 0);
  const { data } = functions.arrays.get(array)!;
  return {
    ...{ shape: extents, strides: strides as unknown as Extents, offset: 0, dtype: "f32" },
    data: data as HeldArray<Float32Array> | GPUBuffer,
  };
}

function scoreOf(
  functions: Functions,
  given: AttentionOptions,
  { extents, packed }: Sizes,
): Omit<Known, "functions"> | undefined {
  const known = functions.score && knownScore(functions.score);
  if (known === undefined || given.softcap) return undefined;
  if (known.kind === "softcap") return { softcap: known.softcap };
  if (known.kind === "slopes") {
    const slopes = isAligned(given) ? slopesOf(functions, known.array, extents[1]) : undefined;
    return slopes && { slopes };
  }
  const isFree = given.bias === undefined && !packed;
  const bias = isFree ? biasOf(functions, known.array, known.axes, extents) : undefined;
  return bias && { bias };
}

/** Takes functions for options, where they are. */
export function withKnown(
  functions: Functions | null,
  given: AttentionOptions,
  sizes: Sizes,
): Known {
  if (functions === null) return { functions };
  const { mask } = functions, asOption = scoreOf(functions, given, sizes);
  const band = mask && isAligned(given) ? knownBand(mask) : undefined;
  const left = {
    ...functions,
    score: asOption ? undefined : functions.score,
    mask: band ? undefined : mask,
  };
  if (left.score === undefined && left.mask === undefined) {
    return { functions: null, ...asOption, ...(band && { band }) };
  }
  const read = [...left.score?.arrays ?? [], ...left.mask?.arrays ?? []];
  const arrays = new Map([...functions.arrays].filter(([array]) => read.includes(array)));
  return { functions: { ...left, arrays }, ...asOption, ...(band && { band }) };
}
