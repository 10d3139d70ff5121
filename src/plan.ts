/**
 * The plan: what a call means, decided once. Backends execute plans and know no options.
 *
 * @module
 */

import type { BlockMask } from "./block_mask.ts";
import type { PagedKeys } from "./cache/store.ts";
import { isGpuBuffer } from "./dtype.ts";
import type { AttentionOptions } from "./options.ts";
import type { BroadcastView, Extents, MaskView } from "./scores.ts";
import { type Band, countSegments, scoresWithin, type Segment, segmentsOf } from "./segments.ts";
import { type AnyTensor, type AnyView, mayOverlap, type View } from "./tensor.ts";
import { checkPages } from "./validate/cache.ts";
import { checkOptions, checkUncached } from "./validate/options.ts";
import {
  checkBias,
  checkBlockMask,
  checkMask,
  checkSinks,
  checkSlopes,
} from "./validate/scores.ts";
import { checkBoundaries, checkLengths, checkOffsets, type Each } from "./validate/segments.ts";
import { checkInputs, checkOut, checkQueries } from "./validate/tensors.ts";

/** A checked call of `attention()`, with every default filled in. */
export interface AttentionPlan<V extends AnyView = AnyView> {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Query heads per key/value head: head `h` reads key/value head `floor(h / group)`. */
  readonly group: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly valueDim: number;
  readonly q: V;
  readonly k: V;
  readonly v: V;
  /** Where the caller wants the result; `null` for a tensor of its own, stored as `q` is. */
  readonly out: V | null;
  /** Shape of the result as the caller sees it. */
  readonly outShape: readonly number[];
  /** Shape of `lse` as the caller sees it; `null` when it is not asked for. */
  readonly lseShape: readonly number[] | null;
  readonly scale: number;
  /** Queries that see keys together, in the order of their rows; all rows are in one of them. */
  readonly segments: readonly Segment[];
  /** Whether segments are packed in one batch; else each is a batch. */
  readonly packed: boolean;
  readonly band: Band;
  /** Scores become `softcap * tanh(score / softcap)`; `null` for none. */
  readonly softcap: number | null;
  /** ALiBi's slopes, `[segment][query head]`. */
  readonly slopes: Float32Array | null;
  readonly bias: BroadcastView | null;
  readonly mask: MaskView | null;
  /** By query head. */
  readonly sinks: Float32Array | null;
  readonly blockMask: BlockMask | null;
  /** Where keys and values are if in a cache: `k` and `v` then only say their sizes. */
  readonly paged: PagedKeys | null;
}

/** A checked call of `attentionBackward()`. */
export interface BackwardPlan<V extends AnyView = AnyView> {
  /** The call whose gradients are asked for. */
  readonly forward: AttentionPlan<V>;
  /** Gradient by `out`: `[B, Hq, Nq, Dv]`, of any storage. */
  readonly dOut: V;
  /** What the call gave: `[B, Hq, Nq, Dv]`, and `[B, Hq, Nq, 1]` in f32. */
  readonly out: V;
  readonly lse: V;
  /** What rounding to f32 took from `lse`, as it; `null` where that is not known. */
  readonly lseRest: V | null;
  /** Gradient by `lse`, as it; `null` for zeros. */
  readonly dLse: V | null;
}

/** The same with all tensors in arrays. */
export type HostBackwardPlan = BackwardPlan<View>;

/** A plan whose tensors are all in arrays. */
export type HostPlan = AttentionPlan<View>;

/** What a call reads and writes, by name. */
export function tensorsOf(plan: AttentionPlan): [name: string, view: { readonly data: unknown }][] {
  const { q, k, v, bias, mask, out } = plan;
  return Object.entries({ q, k, v, bias, mask, out }).filter(
    (entry): entry is [string, AnyView | BroadcastView | MaskView] => entry[1] !== null,
  );
}

/** Whether a view may share an element with something that the call reads. */
export function mayBeRead({ q, k, v, bias, mask }: AttentionPlan, view: AnyView): boolean {
  return [q, k, v, bias, mask].some((input) => input !== null && mayOverlap(input, view));
}

/** Whether all tensors of a plan are in arrays. */
export function isHostPlan(plan: AttentionPlan): plan is HostPlan {
  return tensorsOf(plan).every(([, { data }]) => !isGpuBuffer(data));
}

/** Whether scores are anything but scaled products within one band. */
export function hasTerms(plan: AttentionPlan): boolean {
  const { softcap, slopes, bias, mask, sinks, blockMask } = plan;
  return [softcap, slopes, bias, mask, sinks, blockMask].some((term) => term !== null);
}

/** Query rows over all batches and heads: what progress is counted in. */
export function countRows({ batch, queryHeads, queries }: AttentionPlan): number {
  return batch * queryHeads * queries;
}

function bandOf(causal: boolean, window: AttentionOptions["window"]): Band {
  const [left, right] = window ?? [null, null];
  return { left: left ?? Infinity, right: Math.min(right ?? Infinity, causal ? 0 : Infinity) };
}

/**
 * Products of a query with a key that a call needs, over all batches and heads: those within bands,
 * lengths and the blocks that are visited.
 */
export function countScores({ segments, band, queryHeads, blockMask }: AttentionPlan): number {
  let scores = 0;
  for (const segment of segments) scores += scoresWithin(segment, band);
  return scores * queryHeads * (blockMask?.visited ?? 1);
}

/** Checks a call and decides what it means. */
export function planAttention(
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): AttentionPlan {
  checkOptions(options);
  const { causal = false, layout = "bhnd" } = options;
  const inputs = checkInputs(q, k, v, layout);
  const [batch, queryHeads, queries, dim] = inputs.q.shape;
  const [, keyHeads, keys] = inputs.k.shape;
  const valueDim = inputs.v.shape[3];
  const outShape = [...q.shape.slice(0, -1), valueDim];
  const lseShape = [batch, queryHeads, queries].slice(4 - inputs.rank);
  const packed = checkBoundaries(options.cuSeqlens, batch, queries, keys);
  const each: Each = {
    count: countSegments({ batch, packed }),
    name: packed === null ? "batch" : "sequence",
  };
  const segments = segmentsOf({
    ...{ batch, queries, keys, packed, topLeft: causal === "top-left" },
    offsets: checkOffsets(options.offset, each),
    lengths: checkLengths(
      options.kvLengths,
      each,
      (index) =>
        packed === null
          ? [keys, "Nk"]
          : [packed.k[index + 1] - packed.k[index], `the keys of sequence ${index}`],
    ),
  });
  const extents: Extents = [batch, queryHeads, queries, keys];
  return Object.freeze({
    batch,
    queryHeads,
    keyHeads,
    group: queryHeads / keyHeads,
    queries,
    keys,
    dim,
    valueDim,
    q: inputs.q,
    k: inputs.k,
    v: inputs.v,
    out: options.out === undefined ? null : checkOut(options.out, outShape, layout),
    outShape,
    lseShape: options.lse ? lseShape : null,
    scale: options.scale ?? 1 / Math.sqrt(dim),
    segments,
    packed: packed !== null,
    band: bandOf(causal !== false, options.window),
    softcap: options.softcap || null,
    slopes: checkSlopes(options.alibi, each, queryHeads),
    bias: checkBias(options.bias, extents),
    mask: checkMask(options.mask, extents),
    sinks: checkSinks(options.sinks, queryHeads),
    blockMask: checkBlockMask(options.blockMask, extents),
    paged: null,
  });
}

/** Checks a call against a cache whose sequences have so many tokens, and decides what it means. */
export function planCached(
  q: AnyTensor,
  paged: PagedKeys,
  lengths: readonly number[],
  options: AttentionOptions = {},
): AttentionPlan {
  checkOptions(options);
  checkUncached(options);
  const { causal = false, layout = "bhnd" } = options;
  const { kvHeads, headDim, valueDim } = paged.store.layout;
  checkPages(paged, lengths);
  const view = checkQueries(q, layout, [lengths.length, kvHeads, headDim]);
  const [batch, queryHeads, queries] = view.shape;
  const keys = Math.max(0, ...lengths);
  const outShape = [...q.shape.slice(0, -1), valueDim];
  const each: Each = { count: batch, name: "batch" };
  const offsets = checkOffsets(options.offset, each);
  const extents: Extents = [batch, queryHeads, queries, keys];
  const sizes = (dim: number): View => ({
    ...{ data: new Float32Array(0), dtype: "f32", offset: 0, strides: [0, 0, 0, 0] },
    shape: [batch, kvHeads, keys, dim],
  });
  return Object.freeze({
    batch,
    queryHeads,
    keyHeads: kvHeads,
    group: queryHeads / kvHeads,
    queries,
    keys,
    dim: headDim,
    valueDim,
    q: view,
    k: sizes(headDim),
    v: sizes(valueDim),
    out: options.out === undefined ? null : checkOut(options.out, outShape, layout),
    outShape,
    lseShape: options.lse ? [batch, queryHeads, queries].slice(4 - q.shape.length) : null,
    scale: options.scale ?? 1 / Math.sqrt(headDim),
    // Each sequence by its own length: its last query stands on its last token.
    segments: lengths.map((length, index) => ({
      ...{ batch: index, firstQuery: 0, queries, firstKey: 0, keys: length },
      offset: offsets?.[index] ?? (causal === "top-left" ? 0 : length - queries),
    })),
    packed: false,
    band: bandOf(causal !== false, options.window),
    softcap: options.softcap || null,
    slopes: checkSlopes(options.alibi, each, queryHeads),
    bias: checkBias(options.bias, extents),
    mask: checkMask(options.mask, extents),
    sinks: checkSinks(options.sinks, queryHeads),
    blockMask: null,
    paged,
  });
}
