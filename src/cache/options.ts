/**
 * What a KV cache can be asked.
 *
 * @module
 */

import type { CacheDType } from "../contract/pages.ts";
import type { Layout, NumberList } from "../tensor/tensor.ts";

/** Options of `engine.kvCache()`. */
export interface KvCacheOptions {
  /** Sequences, B, at most 65,536; 1 by default. */
  readonly batch?: number | undefined;
  /** Key/value heads, Hkv. */
  readonly kvHeads: number;
  /** Size of a key, D. */
  readonly headDim: number;
  /** Size of a value, Dv; as D by default. */
  readonly valueDim?: number | undefined;
  /** How keys and values are stored; f32 by default. */
  readonly dtype?: CacheDType | undefined;
  /**
   * Subtracts the mean of the first appended keys, by sequence, head and channel, before keys are
   * rounded to int8 or int4 (SageAttention, arXiv 2410.02367), and adds its product with a query to
   * the scores again: what channels have in common costs no precision. Append the prompt as a whole.
   * Default `false`.
   */
  readonly smoothKeys?: boolean | undefined;
  /**
   * Makes the cache a window: of each sequence the first `keepFirst` tokens stay, 0 by default, and the last
   * `keepLast`. Pages of others are dropped as tokens are appended. A query sees the first tokens wherever it
   * stands (attention sinks, arXiv 2309.17453), and of the others the `keepLast` that end with its own, or those within its
   * `window` where that is smaller; so results are the same whatever pages hold. Positions count all tokens that there were. Not
   * with `mask`, `bias`, `scoreMod` and `maskMod`, which are about all tokens.
   */
  readonly keepLast?: number | undefined;
  /** See `keepLast`, without which it says nothing. */
  readonly keepFirst?: number | undefined;
  /** Most tokens of a sequence; as many as there is memory for by default. */
  readonly capacity?: number | undefined;
  /**
   * Tokens of a page: a power of two from 16 to 2,048; 256 by default. Small ones waste less where
   * sequences are short, large ones are read faster.
   */
  readonly pageSize?: number | undefined;
  /** Most pages of all sequences together; as many as there is memory for by default. */
  readonly pages?: number | undefined;
}

/** Options of `engine.kvCache()` for all layers of a model. */
export interface LayeredKvCacheOptions extends KvCacheOptions {
  /** Layers: `append()`, `attend()` and `step()` are told which, all else is done to every one. At most 1,024. */
  readonly layers: number;
}

/** Options of `cache.append()`. */
export interface AppendOptions {
  /** How many of the tokens count, from the first on, for each sequence; all by default. */
  readonly lengths?: NumberList | undefined;
  /** Which sequences the tokens are of, each once, in their order; all by default. B is then their number. */
  readonly sequences?: NumberList | undefined;
  /**
   * Tokens of all sequences packed one after the other in one batch: where those of each begin, and
   * where the last end, B + 1 numbers from 0 to n. Not with `lengths`.
   */
  readonly cuSeqlens?: NumberList | undefined;
  /** Order of the axes of `k` and `v`; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
}

/** What is kept of a sequence when it is evicted from. */
export interface Kept {
  /** Tokens at its beginning: attention sinks. */
  readonly keepFirst: number;
  /** Tokens at its end. */
  readonly keepLast: number;
}
