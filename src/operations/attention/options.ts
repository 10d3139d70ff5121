/**
 * What `attention()` can be asked: every option, its type and its default. The meaning of each, as
 * formulas, is in `docs/SEMANTICS.md`.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { Progress } from "../../contract/backend.ts";
import type { BlockMask } from "../../masks/block_mask.ts";
import type { ScoreFunctions } from "../../scores/kinds.ts";
import type { AnyTensor, BooleanTensor, Layout, NumberList, Tensor } from "../../tensor/tensor.ts";

/** Which corner the causal diagonal ends in; `true` means `"bottom-right"`. */
export type Causal = boolean | "bottom-right" | "top-left";

/** How products are formed: see the option `precision`. */
export type Precision = "f32" | "int16" | "int8-qk" | "int8";

/** Every one, the most exact first. */
export const precisions = [
  "f32",
  "int16",
  "int8-qk",
  "int8",
] as const satisfies readonly Precision[];

/** Options of `attention()`. */
export interface AttentionOptions extends ScoreFunctions {
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
   *
   * Or a number `W`, of at least 1: so many keys, the row's own among them. With `causal` that is
   * `[W - 1, 0]`, the `sliding_window` of Hugging Face's configs; without it `floor(W / 2)` to each
   * side, so that an even number is as the next odd one.
   */
  readonly window?: number | readonly (number | null)[] | undefined;
  /**
   * Query `i` sees the keys of its own chunk of so many: those `j` with
   * `floor(j / chunk) = floor((i + offset) / chunk)`, with the offset that `causal` or `offset` gives. A whole
   * number of at least 1. `attention_chunk_size` of Llama 4's configs, with `causal`.
   */
  readonly chunk?: number | undefined;
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
  /**
   * The same by how long the sequences are: `[5, 120]` for 5 tokens and behind them 120, which is
   * `cuSeqlens: [0, 5, 125]`. Whole numbers of at least 0, whose sum is Nq and Nk; `{ q, k }` where
   * keys are others. Not together with `cuSeqlens`.
   */
  readonly packed?: NumberList | { readonly q: NumberList; readonly k: NumberList } | undefined;
  /** Which blocks of keys each block of queries visits: see `blockMask`. */
  readonly blockMask?: BlockMask | undefined;
  /**
   * How products are formed; what comes in and out, and all between the two products, is as it is. Each is faster than the
   * one before, and less exact: relative errors (root mean square, of normally distributed numbers) are about
   *
   * ```text
   * "f32"      4e-7     both products in f32; the default
   * "int16"    3e-4     both by integers of 16 bits, nearer than storing q, k and v in f16
   * "int8-qk"  1.3e-2   scores by bytes, values by 16 bits
   * "int8"     2e-2     both by bytes
   * ```
   *
   * Where a head has at most 16 query rows for its keys, and where numbers are not finite, products are in f32 whatever is asked
   * for. `"auto"` takes backend `"wasm"` for such calls. `"webgpu"` has `"int8-qk"`, with values in f32, and `"int8"`; for
   * `"int16"`, and where a device does not multiply bytes, it throws a {@linkcode BackendUnavailableError}. Not with gradients.
   *
   * ```ts
   * import { attention, tensor } from "@flashtile/attention";
   *
   * const x = tensor(new Float32Array(8 * 128 * 64).fill(0.1), [8, 128, 64]);
   * const { out } = await attention(x, x, x, { causal: true, precision: "int16" });
   * console.log(out.shape); // [8, 128, 64]
   * ```
   *
   * Bytes for scores, of keys less their mean: SageAttention, Zhang et al., arXiv 2410.02367. Scales by norms, weights against the
   * maximum of their row in a tile, values less their mean, and `"int16"` are this library's own: docs/NUMERICS.md has how.
   */
  readonly precision?: Precision | undefined;
}

/** Every option of `attention()`, by name. */
export const optionNames = [
  "causal",
  "offset",
  "window",
  "chunk",
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
  "packed",
  "blockMask",
  "precision",
  "scoreMod",
  "maskMod",
] as const satisfies readonly (keyof AttentionOptions)[];

/** Options of attention to a cache: all but those that say where keys are. */
export interface CacheAttentionOptions
  extends Omit<AttentionOptions, "kvLengths" | "cuSeqlens" | "packed" | "blockMask" | "encoder"> {
  /**
   * How many queries of each sequence count, from the first on: `[B]`, whole, from 0 to Nq; all by
   * default. The last that counts stands on the sequence's last token. Rows behind it give 0, and
   * -Infinity in `lse`. As `lengths` of `append()` for the chunk that the queries are of.
   */
  readonly lengths?: NumberList | undefined;
  /**
   * Which sequences the queries are of, each once, in their order; all by default. B is then their number, and what is
   * per batch (`lengths`, `offset`, `alibi`, the first axis of `bias` and `mask`) is for these.
   */
  readonly sequences?: NumberList | undefined;
  /**
   * Queries of all sequences packed one after the other in one batch: where those of each begin, and
   * where the last end, B + 1 numbers from 0 to Nq. So one call has a prompt of one sequence and
   * single tokens of others. `bias` and `mask` are over `[Nq, Nk]`, Nk being that of the longest
   * sequence, and count each sequence's keys from its first. Not with `lengths`.
   */
  readonly cuSeqlens?: NumberList | undefined;
  /**
   * Which of a sequence's newest Nq tokens each query sees, 1 = seen: `[Nq, Nq]`, or `[B, Nq, Nq]`
   * for those of each sequence; on the CPU. Tokens before these are seen. For drafted tokens that
   * are no tree; where they are one, `parents` says the same. Not with `mask` or `cuSeqlens`.
   */
  readonly tailMask?: BooleanTensor | undefined;
  /**
   * The queries are a tree of drafted tokens (speculative decoding; Miao et al., arXiv 2305.09781),
   * a sequence's newest: the query that each follows on, counted from the sequence's first and before
   * it, or -1 where it follows on the tokens before the draft. `[Nq]`, or `[B, Nq]` for those of each
   * sequence. A query sees itself, what it follows on, and so on up, and all tokens before the draft.
   * `causal` and `window` count tokens as they lie in the cache. Not with `mask`.
   */
  readonly parents?: NumberList | undefined;
}
