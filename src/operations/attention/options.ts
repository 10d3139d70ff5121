/**
 * What `attention()` can be asked: every option, its type and its default. The meaning of each, as
 * formulas, is in `docs/SEMANTICS.md`.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { Progress } from "../../contract/backend.ts";
import type { BlockMask } from "../../masks/block_mask.ts";
import type { AnyTensor, BooleanTensor, Layout, NumberList, Tensor } from "../../tensor/tensor.ts";

/** Which corner the causal diagonal ends in; `true` means `"bottom-right"`. */
export type Causal = boolean | "bottom-right" | "top-left";

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

/** Options of attention to a cache: all but those that say where keys are. */
export interface CacheAttentionOptions
  extends Omit<AttentionOptions, "kvLengths" | "cuSeqlens" | "blockMask" | "encoder"> {
  /**
   * How many queries of each sequence count, from the first on: `[B]`, whole, from 0 to Nq; all by
   * default. The last that counts stands on the sequence's last token. Rows behind it give 0, and
   * -Infinity in `lse`. As `lengths` of `append()` for the chunk that the queries are of.
   */
  readonly lengths?: NumberList | undefined;
}
