/**
 * The oracle of `localGlobalAttention()`.
 *
 * @module
 */

import type { Layout } from "../tensor/tensor.ts";
import { arraysOf, differentiate, givenOf } from "./backward.ts";
import { type Call, callOf, refuseUnknown } from "./call.ts";
import { attend, type ReferenceResult } from "./forward.ts";
import {
  axesOf,
  forEachRow,
  type Read,
  type ReferenceArray,
  type ReferenceTensor,
  type Sums,
  withRows,
  zeros,
} from "./tensor.ts";

/** Options of `referenceLocalGlobalAttention()`. */
export interface ReferenceLocalGlobalOptions {
  /** Rows of a block; the last one may have fewer. */
  readonly block: number;
  /** Whether a row sees its own block up to itself, and summaries of the blocks before alone. */
  readonly causal?: boolean | undefined;
  /**
   * What a block's rows weigh in its summary: `[block]` for all heads, or `[Hkv, block]`, divided by its
   * sum over the rows present; all the same by default.
   */
  readonly pool?: ReferenceTensor | undefined;
  /** What scores are multiplied by; `1 / sqrt(D)` by default. */
  readonly scale?: number | undefined;
  /** Order of the axes; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
  /** Ignored: `lse` is always there. */
  readonly lse?: boolean | undefined;
}

/** Options of `referenceLocalGlobalAttentionBackward()`. */
export interface ReferenceLocalGlobalBackwardOptions extends ReferenceLocalGlobalOptions {
  /** Gradient with respect to `lse`, `[B, Hq, N]`; zeros where it is not given. */
  readonly dLse?: ReferenceTensor | undefined;
}

/** The oracle's gradients, each in the shape and layout of what it is by, contiguous. */
export interface ReferenceLocalGlobalGradients {
  /** By `q`. */
  readonly dq: ReferenceArray;
  /** By `k`: query heads of a group are summed. */
  readonly dk: ReferenceArray;
  /** By `v`, likewise. */
  readonly dv: ReferenceArray;
  /** By `pool`, where one is given. */
  readonly dPool?: ReferenceArray;
}

const known = [
  ...["block", "causal", "pool", "scale", "layout"],
  ...["lse", "out", "signal", "onProgress"],
];

/** Blocks of rows, and what their rows weigh in their summaries. */
interface Blocks {
  readonly N: number;
  readonly size: number;
  readonly count: number;
  readonly bnhd: boolean;
  /** The sum that a block's pool is divided by. */
  sum(g: number, block: number): number;
  /** What a row weighs, so divided. */
  share(g: number, n: number): number;
}

function blocksOf(k: ReferenceTensor, options: ReferenceLocalGlobalOptions): Blocks {
  const bnhd = options.layout === "bnhd", size = options.block;
  const N = axesOf(k, bnhd).extents[2];
  const pool: Read = options.pool ? axesOf(options.pool).read : () => 1;
  const sum = (g: number, block: number) => {
    let total = 0;
    for (let t = 0; t < size && block * size + t < N; t++) total += pool(0, 0, g, t);
    return total;
  };
  const share = (g: number, n: number) => pool(0, 0, g, n % size) / sum(g, Math.floor(n / size));
  return { N, size, count: Math.ceil(N / size), bnhd, sum, share };
}

/** Rows, and behind them the summaries of their blocks. */
function withSummaries(x: ReferenceTensor, { N, size, count, bnhd, share }: Blocks): Sums {
  const { extents, read } = axesOf(x, bnhd);
  const all = zeros(withRows(x.shape, N + count, bnhd), bnhd);
  forEachRow(extents, ([b, g, n]) => {
    const summary = N + Math.floor(n / size), c = share(g, n);
    for (let d = 0; d < extents[3]; d++) {
      all.add(b, g, n, d, read(b, g, n, d));
      all.add(b, g, summary, d, c * read(b, g, n, d));
    }
  });
  return all;
}

/** A call as attention to rows and summaries under one softmax. */
function openCall(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  blocks: Blocks,
  { causal, scale, layout }: ReferenceLocalGlobalOptions,
): Call {
  const { N, size, count } = blocks;
  const all = callOf(q, withSummaries(k, blocks), withSummaries(v, blocks), { scale, layout });
  const scores = (b: number, h: number, i: number) => {
    const found = new Float64Array(N + count).fill(-Infinity), own = Math.floor(i / size);

    // 1. The own block, causal up to the row itself.
    const end = causal ? i + 1 : Math.min(N, (own + 1) * size);
    for (let j = own * size; j < end; j++) found[j] = all.product(b, h, i, j);

    // 2. The summaries, causal of blocks that are over.
    for (let block = 0; block < (causal ? own : count); block++) {
      found[N + block] = all.product(b, h, i, N + block);
    }
    return found;
  };
  return { ...all, scores };
}

/**
 * Attention to the own block and to a summary of every block, under one softmax. A summary's key and
 * value are the weighted means of its block's, `sum_t c_t k_t` with `c_t = pool_t / sum pool`. A row
 * sees its own block's summary too, unless it is causal: then it sees rows of its block up to itself,
 * and the summaries of the blocks before.
 *
 * ```ts
 * import { referenceLocalGlobalAttention } from "@flashtile/attention/reference";
 *
 * const q = { data: [0, 0, 0], shape: [3, 1] }, v = { data: [2, 4, 9], shape: [3, 1] };
 * const { out } = referenceLocalGlobalAttention(q, q, v, { block: 2, causal: true });
 * console.log(out.data); // [2, 3, 6]: itself; both; itself and the mean of the block before
 * ```
 *
 * @param q Queries, `[B, Hq, N, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, N, D]`: as many as queries.
 * @param v Values, `[B, Hkv, N, Dv]`.
 * @param options The block, and `causal`, `pool`, `scale` and `layout`.
 * @returns `out` in the rank and layout of `q`, and `lse`, float64. Inputs are not checked.
 */
export function referenceLocalGlobalAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: ReferenceLocalGlobalOptions,
): ReferenceResult {
  refuseUnknown(options, known);
  return attend(openCall(q, k, v, blocksOf(k, options), options), q.shape);
}

/**
 * Adds to `gradient` what comes to rows of `x`, by themselves and as parts of summaries; and to `dPool`
 * what comes to their shares `c_t = pool_t / sum pool`, of which `dc_t / dpool_s = ([s = t] - c_t) / sum`.
 */
function throughSummaries(
  x: ReferenceTensor,
  { N, size, count, bnhd, share, sum }: Blocks,
  all: Sums,
  gradient: Sums,
  dPool: Sums | undefined,
): void {
  const { extents: [B, H, , D], read } = axesOf(x, bnhd), { read: given } = axesOf(all, bnhd);
  forEachRow([B, H, count], ([b, g, block]) => {
    const first = block * size, present = Math.min(size, N - first);
    const dShares = new Float64Array(present);
    let mean = 0;
    for (let t = 0; t < present; t++) {
      const n = first + t, c = share(g, n);
      for (let d = 0; d < D; d++) {
        gradient.add(b, g, n, d, given(b, g, n, d) + c * given(b, g, N + block, d));
        dShares[t] += given(b, g, N + block, d) * read(b, g, n, d);
      }
      mean += c * dShares[t];
    }
    dShares.forEach((dShare, t) => dPool?.add(0, 0, g, t, (dShare - mean) / sum(g, block)));
  });
}

/**
 * Gradients of attention to the own block and to summaries: those of exact attention to rows and
 * summaries, and from summaries to the rows and the pool that they are made of.
 *
 * ```ts
 * import { referenceLocalGlobalAttentionBackward } from "@flashtile/attention/reference";
 *
 * const q = { data: [0, 0, 0], shape: [3, 1] }, v = { data: [2, 4, 9], shape: [3, 1] };
 * const dOut = { data: [0, 0, 1], shape: [3, 1] };
 * const { dv } = referenceLocalGlobalAttentionBackward(q, q, v, dOut, { block: 2, causal: true });
 * console.log(dv.data); // [1 / 4, 1 / 4, 1 / 2]: half is the summary's, which two rows share
 * ```
 *
 * @param q Queries, as in `referenceLocalGlobalAttention()`.
 * @param k Keys.
 * @param v Values.
 * @param dOut Gradient with respect to `out`, in the rank and layout of `q`.
 * @param options As those of `referenceLocalGlobalAttention()`, and `dLse`.
 * @returns Float64 gradients. Inputs are not checked.
 */
export function referenceLocalGlobalAttentionBackward(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  dOut: ReferenceTensor,
  options: ReferenceLocalGlobalBackwardOptions,
): ReferenceLocalGlobalGradients {
  refuseUnknown(options, [...known, "dLse"]);
  const blocks = blocksOf(k, options), { N, count, bnhd } = blocks, { pool, dLse } = options;

  // 1. Gradients by rows and summaries.
  const sumsFor = (x: ReferenceTensor) => zeros(withRows(x.shape, N + count, bnhd), bnhd);
  const totals = { dq: zeros(q.shape, bnhd), dk: sumsFor(k), dv: sumsFor(v) };
  const call = openCall(q, k, v, blocks, options);
  differentiate(call, givenOf(dOut, dLse, bnhd), totals);

  // 2. From summaries to what they are made of.
  const dk = zeros(k.shape, bnhd), dv = zeros(v.shape, bnhd), dPool = pool && zeros(pool.shape);
  throughSummaries(k, blocks, totals.dk, dk, dPool);
  throughSummaries(v, blocks, totals.dv, dv, dPool);
  return arraysOf({ dq: totals.dq, dk, dv, ...(dPool && { dPool }) });
}
