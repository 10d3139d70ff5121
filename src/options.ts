/**
 * What `attention()` can be asked: every option, its type and its default. The meaning of each, as
 * formulas, is in `docs/SEMANTICS.md`.
 *
 * @module
 */

import type { AnyTensor, Tensor } from "./tensor.ts";

/** Order of a tensor's axes: `"bhnd"` as PyTorch's, `"bnhd"` as FlashAttention's. */
export type Layout = "bhnd" | "bnhd";

/** Which corner the causal diagonal ends in; `true` means `"bottom-right"`. */
export type Causal = boolean | "bottom-right" | "top-left";

/** How far a call has come, in query rows over all batches and heads. */
export interface Progress {
  /** Query rows finished. */
  readonly done: number;
  /** Query rows of the whole call. */
  readonly total: number;
}

/** Options of `attention()`. */
export interface AttentionOptions {
  /**
   * Query `i` sees the keys `j <= i + offset`. `true` and `"bottom-right"` align the last query
   * with the last key (`offset = Nk - Nq`), `"top-left"` the first with the first (`offset = 0`).
   * With 2 queries and 5 keys, bottom-right and top-left keep
   *
   * ```text
   * 1 1 1 1 0        1 0 0 0 0
   * 1 1 1 1 1        1 1 0 0 0
   * ```
   *
   * Default `false`.
   */
  readonly causal?: Causal;
  /**
   * Position of query 0 among the keys, replacing what `causal` aligns; may be negative. One
   * number, or one per batch.
   */
  readonly offset?: number | readonly number[];
  /**
   * Query `i` sees the keys `i + offset - left <= j <= i + offset + right`, with the offset that
   * `causal` or `offset` gives; `null` and `Infinity` are open. Whole numbers of at least 0.
   */
  readonly window?: readonly [left: number | null, right: number | null];
  /**
   * How many keys of each batch count, from the first on: `[B]`, whole, from 0 to Nk. Does not move
   * the alignment; give `offset: kvLengths[b] - Nq` where the queries are the last ones.
   */
  readonly kvLengths?: ArrayLike<number>;
  /** Factor of the scores; default `1 / sqrt(D)`. */
  readonly scale?: number;
  /** Order of the axes of `q`, `k`, `v` and `out`; default `"bhnd"`. */
  readonly layout?: Layout;
  /** Return `lse` too: natural log of the softmax's denominator, f32, `[B, Hq, Nq]`. */
  readonly lse?: boolean;
  /** Tensor to write the result into: the shape that the result has, any strides. */
  readonly out?: AnyTensor;
  /** Stops the call; it rejects with `signal.reason`, and what `out` holds then is undefined. */
  readonly signal?: AbortSignal;
  /**
   * Records the call into this encoder instead of submitting it; every tensor must then be on the
   * GPU, and nothing is awaited but pipelines. Backend `"webgpu"` alone.
   */
  readonly encoder?: GPUCommandEncoder;
  /** Called now and then while the call runs, and once at its end. */
  readonly onProgress?: (progress: Progress) => void;

  /** Scores become `softcap * tanh(score / softcap)`. */
  readonly softcap?: number;
  /** Slopes of ALiBi, `[Hq]` or `[B, Hq]`. */
  readonly alibi?: Tensor;
  /** Added to the scores; each axis of `[B, Hq, Nq, Nk]` full or 1. */
  readonly bias?: Tensor;
  /** 1 = attend, 0 = do not; each axis of `[B, Hq, Nq, Nk]` full or 1. */
  readonly mask?: BooleanTensor;
  /** A score per query head, `[Hq]`, that takes weight in the softmax and has no value. */
  readonly sinks?: Tensor;
  /** Boundaries of sequences packed one after the other. */
  readonly cuSeqlens?: { readonly q: Int32Array; readonly k: Int32Array };
  /** Blocks of keys that each block of queries visits. */
  readonly blockMask?: unknown;
}

/** A tensor of 0 and 1. */
export interface BooleanTensor {
  /** 1 = true. */
  readonly data: Uint8Array;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** Elements from one index to the next, per axis. */
  readonly strides?: readonly number[];
  /** Element at which the tensor begins. */
  readonly offset?: number;
}

/** Options that are executed, and how each one is checked is in `validate.ts`. */
export const executedOptions = [
  "causal",
  "offset",
  "scale",
  "layout",
  "lse",
  "out",
  "signal",
  "encoder",
  "onProgress",
  "window",
  "kvLengths",
] as const satisfies readonly (keyof AttentionOptions)[];

/** Options that have a meaning and a place in the plan, but no kernel yet. */
export const pendingOptions = [
  "softcap",
  "alibi",
  "bias",
  "mask",
  "sinks",
  "cuSeqlens",
  "blockMask",
] as const satisfies readonly (keyof AttentionOptions)[];
