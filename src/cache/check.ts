/**
 * What a cache is asked is read.
 *
 * @module
 */

import { openList, readTensor } from "../check/tensors.ts";
import {
  checkLayoutName,
  checkOneOf,
  isExtent,
  kindOf,
  mostDims,
  readNumbers,
  readOptions,
} from "../check/words.ts";
import { cacheDTypes, isQuantized, type Keeping, type PageLayout } from "../contract/pages.ts";
import {
  readSequenceRows,
  readSequences,
  type SequenceRows,
} from "../operations/attention/check/rows.ts";
import { type AnyTensor, type AnyView, type ReadTensor, viewOf } from "../tensor/tensor.ts";
import type { AppendOptions, KvCacheOptions } from "./options.ts";

/** What messages begin with where there is no cache yet. */
export const cannotMake = "Cannot make a KV cache";

/** Every option of a cache, by name. */
export const optionNames = [
  "batch",
  "kvHeads",
  "headDim",
  "valueDim",
  "dtype",
  "capacity",
  "pageSize",
  "pages",
  "smoothKeys",
  "keepFirst",
  "keepLast",
] as const;

/** Tokens of a page unless it is said. */
const usualPageSize = 256;

/** Options with their defaults filled in. */
export interface CacheSizes extends PageLayout {
  readonly batch: number;
  readonly capacity: number;
  readonly pages: number;
  /** Where it drops tokens. */
  readonly keeping: Keeping | undefined;
}

/** Checks a number of things that there must be. */
export function checkSize(name: string, value: unknown): void {
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
    keeping: readKeeping(given),
    ...{ batch, kvHeads, headDim, valueDim, dtype, pageSize, smoothKeys },
    capacity: capacity ?? Infinity,
    pages: pages ?? Infinity,
  };
}

function readKeeping({ keepFirst, keepLast }: KvCacheOptions): Keeping | undefined {
  if (keepLast !== undefined) checkSize("keepLast", keepLast);
  if (keepFirst !== undefined && !isExtent(keepFirst)) {
    throw new RangeError(
      `${cannotMake}: \`keepFirst\` must be a whole number >= 0, got ${kindOf(keepFirst)}`,
    );
  }
  if (keepLast !== undefined) return { keepFirst: keepFirst ?? 0, keepLast };
  if (keepFirst === undefined) return undefined;
  throw new TypeError(
    `${cannotMake}: \`keepFirst\` needs \`keepLast\`, the tokens that stay at the end`,
  );
}

/** Tokens to be appended: views, and whose they are. */
export interface CheckedTokens {
  readonly k: AnyView;
  readonly v: AnyView;
  readonly rows: SequenceRows;
}

/** Every option of `append()`, by name. */
export const appendNames = ["lengths", "layout", "sequences", "cuSeqlens"] as const;

/** Reads tokens for a cache of these sizes. */
export function readTokens(
  k: AnyTensor | ReadTensor,
  v: AnyTensor | ReadTensor,
  { batch, kvHeads, headDim, valueDim }: PageLayout & { readonly batch: number },
  options: AppendOptions,
  doing = "Cannot append",
): CheckedTokens {
  const given = readOptions(options, appendNames, doing), { layout = "bhnd" } = given;
  checkLayoutName(layout, doing);
  const sequences = readSequences(given.sequences, batch, doing);
  const kView = viewOf(readTensor("k", k, doing), layout);
  const vView = viewOf(readTensor("v", v, doing), layout);
  const tokens = kView.shape[2], batches = given.cuSeqlens === undefined ? sequences.length : 1;
  checkShape("k", kView, [batches, kvHeads, tokens, headDim], doing);
  checkShape("v", vView, [batches, kvHeads, tokens, valueDim], doing);
  return { k: kView, v: vView, rows: readSequenceRows(given, sequences, [tokens], doing) };
}

function checkShape(
  name: string,
  { shape }: AnyView,
  expected: readonly number[],
  doing: string,
): void {
  if (shape.every((extent, axis) => extent === expected[axis])) return;
  throw new RangeError(
    `${doing}: \`${name}\` must have shape [B, Hkv, n, ${name === "k" ? "D" : "Dv"}] = ` +
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

/** Reads the sequence that each of so many is to go on from. */
export function readOrder(given: unknown, batch: number): readonly number[] {
  const cannot = "Cannot reorder", list = openList("indices", given, cannot);
  if (list?.length !== batch) {
    const Kind = list === undefined ? TypeError : RangeError;
    throw new Kind(
      `${cannot}: \`indices\` must be one sequence for each, B = ${batch}, got ${
        list === undefined ? kindOf(given) : list.length
      }`,
    );
  }
  const { numbers, wrong } = readNumbers(list, (one) => isExtent(one) && one < batch);
  if (wrong === undefined) return numbers;
  throw new RangeError(
    `${cannot}: \`indices\` must be whole numbers from 0 to ${batch - 1}, got ${
      kindOf(wrong.value)
    }`,
  );
}

/** Reads which of so many tokens are kept. */
export function readKept(given: unknown, length: number): readonly number[] {
  const cannot = "Cannot keep tokens", list = openList("indices", given, cannot);
  if (list === undefined) {
    throw new TypeError(
      `${cannot}: \`indices\` must be an array of whole numbers, got ${kindOf(given)}`,
    );
  }
  if (list.length === 0) {
    throw new RangeError(
      `${cannot}: \`indices\` must name one at least, \`truncate()\` forgets all from one on`,
    );
  }
  const { numbers, wrong } = readNumbers(
    list,
    (one, at, before) => isExtent(one) && one < length && (at === 0 || one > before[at - 1]),
  );
  if (wrong === undefined) return numbers;
  throw new RangeError(
    `${cannot}: \`indices\` must be whole numbers from 0 to ${length - 1} that ascend, got ${
      kindOf(wrong.value)
    }${numbers.length === 0 ? "" : ` behind ${numbers.at(-1)}`}`,
  );
}

/** Checks that a cache does not drop tokens by itself. */
export function checkEvicts(keeping: Keeping | undefined): void {
  if (keeping === undefined) return;
  throw new TypeError("Cannot evict: the cache has `keepLast`, and drops tokens by itself");
}

/** Checks a number of tokens. */
export function checkCount(name: string, count: unknown, most = Infinity): void {
  if (isExtent(count) && count <= most) return;
  const range = most === Infinity ? ">= 0" : `from 0 to ${most}`;
  throw new RangeError(
    `Cannot keep tokens: \`${name}\` must be a whole number ${range}, got ${kindOf(count)}`,
  );
}
