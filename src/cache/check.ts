/**
 * What a cache is asked is read.
 *
 * @module
 */

import { readTensor } from "../check/tensors.ts";
import {
  checkLayoutName,
  checkOneOf,
  isExtent,
  kindOf,
  mostDims,
  readOptions,
} from "../check/words.ts";
import { cacheDTypes, isQuantized, type PageLayout } from "../contract/pages.ts";
import { readCounts } from "../operations/attention/check/segments.ts";
import { type AnyTensor, type AnyView, viewOf } from "../tensor/tensor.ts";
import type { AppendOptions, KvCacheOptions } from "./options.ts";

const cannotMake = "Cannot make a KV cache";
const cannotAppend = "Cannot append";

const optionNames = [
  "batch",
  "kvHeads",
  "headDim",
  "valueDim",
  "dtype",
  "capacity",
  "pageSize",
  "pages",
  "smoothKeys",
] as const;

/** Tokens of a page unless it is said. */
const usualPageSize = 256;

/** Options with their defaults filled in. */
export interface CacheSizes extends PageLayout {
  readonly batch: number;
  readonly capacity: number;
  readonly pages: number;
}

function checkSize(name: string, value: unknown): void {
  if (isExtent(value) && value >= 1) return;
  throw new RangeError(
    `${cannotMake}: \`${name}\` must be a whole number >= 1, got ${kindOf(value)}`,
  );
}

function checkDims(name: string, value: number): void {
  if (value <= mostDims) return;
  throw new RangeError(`${cannotMake}: \`${name}\` must be at most ${mostDims}, got ${value}`);
}

/** Sequences of a cache, at most: something is kept for each. */
const mostSequences = 65_536;

/** Reads the options of a cache. */
export function readCacheOptions(options: KvCacheOptions): CacheSizes {
  const given = readOptions(options, optionNames, cannotMake);
  const { batch = 1, kvHeads, headDim, valueDim = headDim, dtype = "f32" } = given;
  const { capacity, pageSize = usualPageSize, pages, smoothKeys = false } = given;
  for (const [name, value] of Object.entries({ batch, kvHeads, headDim, valueDim })) {
    checkSize(name, value);
  }
  checkDims("headDim", headDim);
  checkDims("valueDim", valueDim);
  if (batch > mostSequences) {
    throw new RangeError(
      `${cannotMake}: \`batch\` must be at most ${mostSequences} sequences, got ${batch}`,
    );
  }
  checkOneOf("dtype", dtype, cacheDTypes, cannotMake);
  checkOneOf("smoothKeys", smoothKeys, [true, false], cannotMake);
  if (smoothKeys && !isQuantized(dtype)) {
    throw new RangeError(
      `${cannotMake}: \`smoothKeys\` is for int8 and int4, ${dtype} keys need no smoothing`,
    );
  }
  const isPower = isExtent(pageSize) && (pageSize & (pageSize - 1)) === 0;
  if (!isPower || pageSize < 16 || pageSize > 2048) {
    throw new RangeError(
      `${cannotMake}: \`pageSize\` must be a power of two from 16 to 2048, got ${kindOf(pageSize)}`,
    );
  }
  if (capacity !== undefined) checkSize("capacity", capacity);
  if (pages !== undefined) checkSize("pages", pages);
  return {
    ...{ batch, kvHeads, headDim, valueDim, dtype, pageSize, smoothKeys },
    capacity: capacity ?? Infinity,
    pages: pages ?? Infinity,
  };
}

/** Tokens to be appended: views, and how many count for each sequence. */
export interface CheckedTokens {
  readonly k: AnyView;
  readonly v: AnyView;
  readonly counts: readonly number[];
}

/** Reads tokens for a cache of these sizes. */
export function readTokens(
  k: AnyTensor,
  v: AnyTensor,
  { batch, kvHeads, headDim, valueDim }: PageLayout & { readonly batch: number },
  options: AppendOptions,
): CheckedTokens {
  const { lengths, layout = "bhnd" } = readOptions(options, ["lengths", "layout"], cannotAppend);
  checkLayoutName(layout, cannotAppend);
  const kView = viewOf(readTensor("k", k, cannotAppend), layout);
  const vView = viewOf(readTensor("v", v, cannotAppend), layout);
  const tokens = kView.shape[2];
  checkShape("k", kView, [batch, kvHeads, tokens, headDim]);
  checkShape("v", vView, [batch, kvHeads, tokens, valueDim]);
  const counts = lengths === undefined ? new Array<number>(batch).fill(tokens) : readCounts(
    "lengths",
    lengths,
    { count: batch, name: "sequence", letter: "B" },
    () => [tokens],
    cannotAppend,
  );
  return { k: kView, v: vView, counts };
}

function checkShape(name: string, { shape }: AnyView, expected: readonly number[]): void {
  if (shape.every((extent, axis) => extent === expected[axis])) return;
  throw new RangeError(
    `${cannotAppend}: \`${name}\` must have shape [B, Hkv, n, ${name === "k" ? "D" : "Dv"}] = ` +
      `[${expected}], got [${shape}]`,
  );
}

/** Checks the number of a sequence. */
export function checkSequence(sequence: unknown, batch: number): void {
  if (isExtent(sequence) && sequence < batch) return;
  throw new RangeError(
    `Cannot find a sequence: it must be a whole number from 0 to ${batch - 1}, ` +
      `got ${kindOf(sequence)}`,
  );
}

/** Checks a number of tokens. */
export function checkCount(name: string, count: unknown, most = Infinity): void {
  if (isExtent(count) && count <= most) return;
  const range = most === Infinity ? ">= 0" : `from 0 to ${most}`;
  throw new RangeError(
    `Cannot keep tokens: \`${name}\` must be a whole number ${range}, got ${kindOf(count)}`,
  );
}
