/**
 * What `attention()` can be asked: every option, its type and its default. The meaning of each, as
 * formulas, is in `docs/SEMANTICS.md`.
 *
 * @module
 */

import type { BlockMask } from "./block_mask.ts";
import type { AnyTensor, NumberList, Tensor } from "./tensor.ts";

/** Order of a tensor's axes: `"bhnd"` as PyTorch's, `"bnhd"` as FlashAttention's. */
export type Layout = "bhnd" | "bnhd";

/** Which corner the causal diagonal ends in; `true` means `"bottom-right"`. */
export type Causal = boolean | "bottom-right" | "top-left";

/** What stops a call: an `AbortSignal`, also one of a polyfill or of another realm. */
export interface SignalLike {
  /** Whether it was aborted. */
  readonly aborted: boolean;
  /** What an aborted call rejects with. */
  readonly reason?: unknown;
}

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
  readonly causal?: Causal | undefined;
  /**
   * Position of query 0 among the keys, replacing what `causal` aligns; may be negative. One
   * number, or one per batch; with `cuSeqlens` one per sequence.
   */
  readonly offset?: number | NumberList | undefined;
  /**
   * Query `i` sees the keys `i + offset - left <= j <= i + offset + right`, with the offset that
   * `causal` or `offset` gives; `null` and `Infinity` are open. `[left, right]`, whole numbers of at
   * least 0.
   */
  readonly window?: readonly (number | null)[] | undefined;
  /**
   * How many keys of each batch count, from the first on: `[B]`, whole, from 0 to Nk. Does not move
   * the alignment; give `offset: kvLengths[b] - Nq` where the queries are the last ones. One per
   * sequence with `cuSeqlens`.
   */
  readonly kvLengths?: NumberList | undefined;
  /** Factor of the scores; default `1 / sqrt(D)`. */
  readonly scale?: number | undefined;
  /** Order of the axes of `q`, `k`, `v` and `out`; default `"bhnd"`. */
  readonly layout?: Layout | undefined;
  /** Return `lse` too: natural log of the softmax's denominator, f32, `[B, Hq, Nq]`. */
  readonly lse?: boolean | undefined;
  /** Tensor to write the result into: the shape that the result has, any strides. */
  readonly out?: AnyTensor | undefined;
  /**
   * An `AbortSignal` that stops the call; it rejects with `signal.reason`, and what `out` holds then is
   * undefined. `null` for none.
   */
  readonly signal?: SignalLike | null | undefined;
  /**
   * Records the call into this encoder instead of submitting it; every tensor must then be on the
   * GPU, and nothing is awaited but pipelines. Backend `"webgpu"` alone.
   */
  readonly encoder?: GPUCommandEncoder | undefined;
  /** Called now and then while the call runs, and once at its end. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;

  /**
   * Scores become `softcap * tanh(score / softcap)`, before bias and masks; above 0, and 0 for none.
   */
  readonly softcap?: number | undefined;
  /**
   * Slopes of ALiBi (arXiv 2108.12409): scores become `score - slope * |i + offset - j|`, with the
   * offset that `causal` or `offset` gives. Floats, `[Hq]`, or `[B, Hq]` for slopes of each batch, used
   * in f32; `alibiSlopes()` gives the usual ones.
   */
  readonly alibi?: NumberList | undefined;
  /**
   * Added to the scores, f32: each axis of `[B, Hq, Nq, Nk]` full or 1, leading ones may be missing.
   * Read by its strides, never expanded. `-Infinity` masks.
   */
  readonly bias?: Tensor<Float32Array | GPUBuffer> | undefined;
  /**
   * Which keys each query attends to, 1 = attend: each axis of `[B, Hq, Nq, Nk]` full or 1, leading
   * ones may be missing.
   */
  readonly mask?: BooleanTensor | undefined;
  /**
   * A score per query head, `[Hq]`, floats used in f32, that takes weight in the softmax and has no
   * value (arXiv 2309.17453).
   */
  readonly sinks?: NumberList | undefined;
  /**
   * Sequences packed one after the other: sequence `s` has the queries from `q[s]` to before
   * `q[s + 1]` and the keys from `k[s]` to before `k[s + 1]`, and is attended by itself. Both begin
   * with 0, do not decrease and end with Nq and Nk; B is 1. One list is for both. `offset`, `kvLengths` and `alibi` are then
   * per sequence where they are per batch otherwise; `bias`, `mask` and `blockMask` stay over
   * `[Nq, Nk]`.
   */
  readonly cuSeqlens?: NumberList | { readonly q: NumberList; readonly k: NumberList } | undefined;
  /** Which blocks of keys each block of queries visits: see `blockMask`. */
  readonly blockMask?: BlockMask | undefined;
}

/** How the booleans of a mask are stored: a byte each, or 32 in a word, the lowest bit first. */
export type BooleanDType = "u8" | "bit";

/**
 * A tensor of booleans. Strides and offset are in elements, whatever the storage: bit-packed rows need
 * not begin at a word.
 */
export interface BooleanTensor {
  /**
   * A `Uint8Array` holds a byte for each element, where anything but 0 is true; a `Uint32Array` bits,
   * element `e` being bit `e % 32` of word `floor(e / 32)`; a `GPUBuffer` either.
   */
  readonly data: Uint8Array | Uint32Array | GPUBuffer;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** How elements are stored; by default what the kind of `data` says, needed for a `GPUBuffer`. */
  readonly dtype?: BooleanDType | undefined;
  /** Elements from one index to the next, per axis; by default those of a contiguous tensor. */
  readonly strides?: readonly number[] | undefined;
  /** Element at which the tensor begins; 0 by default. */
  readonly offset?: number | undefined;
}

/** Every option of `attention()`, by name. */
export const optionNames = [
  "causal",
  "offset",
  "window",
  "kvLengths",
  "scale",
  "layout",
  "lse",
  "out",
  "signal",
  "encoder",
  "onProgress",
  "softcap",
  "alibi",
  "bias",
  "mask",
  "sinks",
  "cuSeqlens",
  "blockMask",
] as const satisfies readonly (keyof AttentionOptions)[];
