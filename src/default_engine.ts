/**
 * The engine behind the bare functions, made at first use.
 *
 * @module
 */

import type { AttentionResult, AttentionResultWithLse } from "./attention.ts";
import { type CacheAttentionOptions, KvCache } from "./cache/kv_cache.ts";
import type { TensorData } from "./dtype.ts";
import { createEngine, type Engine } from "./engine.ts";
import { type AttentionPart, checkParts, type MergeOptions } from "./merge.ts";
import type { AttentionOptions } from "./options.ts";
import { planAttention } from "./plan.ts";
import type { AnyTensor, Tensor } from "./tensor.ts";

let engine: Promise<Engine> | undefined;

function defaultEngine(): Promise<Engine> {
  if (engine === undefined) {
    engine = createEngine();
    engine.catch(() => engine = undefined); // A failure is not kept: the next call tries again.
  }
  return engine;
}

/**
 * Exact attention, `softmax(scale * q k^T) v`, in linear memory: no score matrix is ever held.
 *
 * ```ts
 * import { attention, tensor } from "@flashtile/attention";
 *
 * const [heads, queries, keys, dim] = [8, 16, 128, 64];
 * const q = tensor(new Float32Array(heads * queries * dim).fill(0.1), [heads, queries, dim]);
 * const k = tensor(new Float32Array(heads * keys * dim).fill(0.2), [heads, keys, dim]);
 * const v = tensor(new Float32Array(heads * keys * dim).fill(0.3), [heads, keys, dim]);
 * const { out, lse } = await attention(q, k, v, { causal: true, lse: true });
 * console.log(out.shape, lse.shape); // [8, 16, 64] [8, 16]
 * ```
 *
 * Query head `h` reads key/value head `floor(h * Hkv / Hq)`: grouped and multi-query heads need no
 * copies. A row that sees no key gives 0, and -Infinity in `lse`. FlashAttention, Dao et al.,
 * arXiv 2205.14135, algorithm 1.
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`; `layout: "bnhd"` swaps H and N.
 * @param k Keys, `[B, Hkv, Nk, D]`; `Hq` is a multiple of `Hkv`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options What to attend to and what to return; see {@linkcode AttentionOptions}.
 * @returns `out` in the rank, layout and dtype of `q` and with `lse: true` also `lse`, natural logarithm.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export function attention<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions & { readonly lse: true },
): Promise<AttentionResultWithLse<Data>>;
export function attention<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: AttentionOptions,
): Promise<AttentionResult<Data>>;
/** Attention to a cache, on the engine that it is of: as `cache.attend(q, options)`. */
export function attention<Data extends TensorData>(
  q: Tensor<Data>,
  cache: KvCache,
  options: CacheAttentionOptions & { readonly lse: true },
): Promise<AttentionResultWithLse<Data>>;
export function attention<Data extends TensorData>(
  q: Tensor<Data>,
  cache: KvCache,
  options?: CacheAttentionOptions,
): Promise<AttentionResult<Data>>;
export async function attention<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor | KvCache,
  v?: AnyTensor | CacheAttentionOptions,
  options?: AttentionOptions,
): Promise<AttentionResult<Data>> {
  if (k instanceof KvCache) return await k.attend(q, v as CacheAttentionOptions);
  const values = v as AnyTensor;
  if (engine === undefined) planAttention(q, k, values, options); // Bad input needs no engine.
  return await (await defaultEngine()).attention(q, k, values, options);
}

/**
 * Joins results of attention over disjoint sets of keys into that over all of them, exactly:
 * `lse = log sum exp lse_p`, `out = sum exp(lse_p - lse) out_p` (FlashDecoding; Milakov and
 * Gimelshein, arXiv 1805.02867). A part that saw nothing has `lse = -Infinity` and leaves no trace;
 * where all are such, so is the result. A sink belongs to one of the parts.
 *
 * ```ts
 * import { attention, mergeAttention, tensor } from "@flashtile/attention";
 *
 * const q = tensor(new Float32Array(8 * 64), [8, 1, 64]);
 * const keys = (n: number) => tensor(new Float32Array(8 * n * 64), [8, n, 64]);
 * const [near, far] = [keys(16), keys(100)];
 * const parts = await Promise.all(
 *   [near, far].map((kv) => attention(q, kv, kv, { lse: true })),
 * );
 * const { out } = await mergeAttention(parts); // as over all 116 keys
 * console.log(out.shape); // [8, 1, 64]
 * ```
 *
 * @param parts Results with `lse`, alike in shape; the first says how the result is stored.
 * @throws {TypeError} When a part is of a wrong kind, or lacks `lse`.
 * @throws {RangeError} When shapes differ.
 */
export async function mergeAttention<Data extends TensorData>(
  parts: readonly AttentionPart<Data>[],
  options?: MergeOptions,
): Promise<AttentionResultWithLse<Data>> {
  if (engine === undefined) checkParts(parts, options);
  return await (await defaultEngine()).mergeAttention(parts, options);
}
