/**
 * The functions: what engines do, on an engine that is among the options or on one that all share.
 *
 * @module
 */

import {
  cannot as cannotCascade,
  cascadeNames,
  type CascadeOptions,
  type CascadePart,
  runCascade,
} from "../cache/cascade.ts";
import {
  attendTo,
  type AttentionRest,
  backendOf,
  isAnyCache,
  isCache,
  type KvCache,
} from "../cache/kv_cache.ts";
import type { Machinery } from "../contract/backend.ts";
import { uncachedNames } from "../operations/attention/check/options.ts";
import { attention as attending, runAttention } from "../operations/attention/operation.ts";
import {
  type AttentionOptions,
  type CacheAttentionOptions,
  optionNames,
} from "../operations/attention/options.ts";
import { cachedNames, type CachedOptions, readAttention } from "../operations/attention/plan.ts";
import type {
  AttentionResult,
  AttentionResultWithLse,
  OwnData,
  ResultOf,
} from "../operations/attention/result.ts";
import {
  attentionBackward as differentiating,
  runBackward,
  runWithGradient,
} from "../operations/backward/operation.ts";
import {
  type AttentionGradients,
  type AttentionWithGradient,
  backwardNames,
  type BackwardOptions,
  checkAsked,
  gradientNames,
  type GradientOptions,
  readBackward,
  readWithGradient,
} from "../operations/backward/plan.ts";
import {
  type AttentionPart,
  mergeAttention as merging,
  mergeNames,
  type MergeOptions,
  readMerge,
  runMerge,
} from "../operations/merge/operation.ts";
import { runRope } from "../operations/rope/operation.ts";
import {
  cannot as cannotRotate,
  readRope,
  ropeNames,
  type RopeOptions,
} from "../operations/rope/options.ts";
import { openStream } from "../operations/stream/open.ts";
import {
  type AttentionStream,
  streamNames,
  type StreamOptions,
} from "../operations/stream/options.ts";
import { readOf } from "../tensor/arrays.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import { machineryFor, type OnEngine, readGiven, sharedMachinery } from "./default_engine.ts";

/** A cache is attended to where it is. */
function checkCacheOf(machinery: Machinery | undefined, cache: KvCache): void {
  if (machinery === undefined || (isCache(cache) && backendOf(cache) === machinery.own)) return;
  throw new RangeError(`${attending.cannot}: the cache is of another engine than \`engine\``);
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
 * @param k Keys, `[B, Hkv, Nk, D]`; `Hq` is a multiple of `Hkv`. Or a cache, which has values too: as
 * `cache.attend(q, options)`, on the engine that it is of.
 * @param rest Values, `[B, Hkv, Nk, Dv]`, unless `k` is a cache; and what to attend to and to return:
 * see {@linkcode AttentionOptions}.
 * @returns `out` in the rank, layout and dtype of `q` and with `lse: true` also `lse`, natural logarithm.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function attention<
  Data extends TensorData,
  Keys extends AnyTensor | KvCache = AnyTensor,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: Keys,
  ...rest: AttentionRest<Keys, Lse, Out, OnEngine>
): Promise<ResultOf<Data, Lse, Out>> {
  const result = isAnyCache(k)
    ? attendToCache(k, q, rest[0] as CacheAttentionOptions | undefined)
    : attendToTensors(q, k, ...rest as [AnyTensor, AttentionOptions?]);
  return await result as ResultOf<Data, Lse, Out>;
}

async function attendToTensors<Data extends TensorData>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options?: AttentionOptions,
): Promise<AttentionResult<Data>> {
  const given = readGiven(options, optionNames, attending.cannot);
  const call = readAttention(q, k, v, given.options); // Bad input needs no engine.
  return await runAttention(given.machinery ?? sharedMachinery(), call);
}

async function attendToCache<Data extends TensorData>(
  cache: KvCache,
  q: Tensor<Data>,
  options: CacheAttentionOptions = {},
): Promise<AttentionResult<Data>> {
  if (!isCache(cache)) {
    // Another copy of the library reads its options by itself.
    checkCacheOf(
      machineryFor(readOf(Object(options) as OnEngine, "engine"), attending.cannot),
      cache,
    );
    return await (cache as KvCache).attend(q, options) as AttentionResult<Data>;
  }
  const given = readGiven<CachedOptions>(
    options,
    cachedNames,
    attending.cannot,
    uncachedNames,
  );
  checkCacheOf(given.machinery, cache);
  return await attendTo(cache, q, given.options);
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
 * const [near, far] = [16, 100].map((n) => tensor(new Float32Array(8 * n * 64), [8, n, 64]));
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
  options?: MergeOptions & OnEngine,
): Promise<AttentionResultWithLse<OwnData<Data>>> {
  const given = readGiven(options, mergeNames, merging.cannot);
  const call = readMerge(parts, given.options);
  return await runMerge(given.machinery ?? sharedMachinery(), call);
}

/**
 * The gradients of attention: from that of a loss with respect to `out`, those with respect to `q`, `k`, `v`, and to `bias` and
 * `sinks` where these are given. Scores are recomputed tile by tile from `lse`; nothing of size
 * Nq x Nk is held but a bias's own gradient. FlashAttention, Dao et al., arXiv 2205.14135,
 * algorithm 4.
 *
 * ```ts
 * import { attention, attentionBackward, tensor } from "@flashtile/attention";
 *
 * const [heads, n, dim] = [8, 128, 64], shape = [heads, n, dim];
 * const x = () => tensor(Float32Array.from({ length: heads * n * dim }, Math.random), shape);
 * const [q, k, v] = [x(), x(), x()];
 * const { out, lse } = await attention(q, k, v, { causal: true, lse: true });
 * const dOut = out; // the gradient of sum(out ** 2) / 2
 * const { dq, dk, dv } = await attentionBackward(dOut, q, k, v, { causal: true, out, lse });
 * console.log(dq.shape, dk.shape, dv.shape); // [8, 128, 64] each
 * ```
 *
 * With `P = exp(s - lse)` and `delta = rowsum(dOut * out) - dLse`:
 * `dV = P^T dOut`, `dS = P * (dOut V^T - delta)`, `dQ = scale dS K`, `dK = scale dS^T Q`. Rows that see
 * nothing have gradients of 0. The same bits for any number of threads.
 *
 * @param dOut Gradient with respect to `out`, `[B, Hq, Nq, Dv]`, of any storage.
 * @param q Queries, as `attention()` had them.
 * @param k Keys, as `attention()` had them.
 * @param v Values, as `attention()` had them.
 * @param options What `attention()` was asked, and the `out` and `lse` that it gave.
 * @returns Gradients in the shape, layout and dtype of what they are by.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function attentionBackward<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  dOut: AnyTensor,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: BackwardOptions & OnEngine,
): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  checkAsked(options);
  const given = readGiven(options, backwardNames, differentiating.cannot);
  const call = readBackward(dOut, q, k, v, given.options);
  return await runBackward(given.machinery ?? sharedMachinery(), call);
}

/**
 * Attention, and a function for its gradients: for training loops written by hand.
 *
 * ```ts
 * import { attentionWithGradient, tensor } from "@flashtile/attention";
 *
 * const x = tensor(Float32Array.from({ length: 2 * 16 * 8 }, Math.random), [2, 16, 8]);
 * const { out, backward } = await attentionWithGradient(x, x, x, { causal: true });
 * const { dq, dk, dv } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dq.shape, dk.shape, dv.shape); // [2, 16, 8] each
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options As those of `attention()`.
 * @returns `out`, `lse` and `backward(dOut)`: see {@linkcode attentionBackward}.
 */
export async function attentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: GradientOptions & OnEngine = {},
): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const given = readGiven(options, gradientNames, attending.cannot);
  const call = readWithGradient(q, k, v, given.options);
  return await runWithGradient(given.machinery ?? sharedMachinery(), call);
}

/**
 * Attention to a prefix that all sequences share and to what each has of its own: the prefix is read
 * once for the whole batch, and the two are merged exactly.
 *
 * ```ts
 * import { cascadeAttention, tensor } from "@flashtile/attention";
 *
 * const make = (...shape) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
 * const prompt = make(1, 2, 500, 64), own = make(16, 2, 20, 64); // one prompt, 16 sequences
 * const q = make(16, 8, 1, 64);
 * const { out } = await cascadeAttention(q, { k: prompt, v: prompt }, { k: own, v: own });
 * console.log(out.shape); // [16, 8, 1, 64]
 * ```
 *
 * With caches, on the engine that they are of:
 *
 * ```ts
 * import { cascadeAttention, createEngine } from "@flashtile/attention";
 *
 * const engine = await createEngine({ backend: "wasm" });
 * const prefix = engine.kvCache({ kvHeads: 2, headDim: 64 }); // one sequence: a system prompt
 * const own = engine.kvCache({ batch: 16, kvHeads: 2, headDim: 64 });
 * const keys = engine.tensor([1, 2, 500, 64]), token = engine.tensor([16, 2, 1, 64]);
 * prefix.append(keys, keys);
 * own.append(token, token);
 * const q = engine.tensor([16, 8, 1, 64]);
 * const { out } = await cascadeAttention(q, prefix, own, { causal: true });
 * console.log(out.shape); // [16, 8, 1, 64]
 * await engine.close();
 * ```
 *
 * @param q Queries `[B, Hq, N, D]`.
 * @param prefix What all share: a cache of one sequence, or `{ k, v }` of `[1, Hkv, P, D]`.
 * @param suffix What each has: a cache of B sequences, or `{ k, v }` of `[B, Hkv, S, D]`; `causal` is
 * about these.
 * @param options See {@linkcode CascadeOptions}; `engine` is by default that of the caches.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes do not fit, or a cache is of another engine than `engine`.
 */
export async function cascadeAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
>(
  q: Tensor<Data>,
  prefix: CascadePart,
  suffix: CascadePart,
  options: CascadeOptions & OnEngine & { readonly lse?: Lse | undefined } = {},
): Promise<ResultOf<Data, Lse>> {
  const given = readGiven(options, cascadeNames, cannotCascade);
  const caches = [prefix, suffix].filter(isCache);
  for (const cache of caches) checkCacheOf(given.machinery, cache);
  const machinery = given.machinery ??
    (caches.length > 0 ? backendOf(caches[0]) : sharedMachinery());
  const result = await runCascade(machinery, q, prefix, suffix, given.options);
  return result as ResultOf<Data, Lse>;
}

/**
 * Exact attention to keys that come one after the other, as from a file or a network: its memory does
 * not grow with them. The result is that of one call over all keys, within the same error budget, and
 * its bits do not depend on how many are pushed at once.
 *
 * ```ts
 * import { attentionStream, tensor } from "@flashtile/attention";
 *
 * const q = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]); // 8 heads, 16 queries, D = 64
 * const stream = attentionStream(q);
 * for (let chunk = 0; chunk < 3; chunk++) {
 *   const kv = tensor(new Float32Array(2 * 100 * 64).fill(chunk), [2, 100, 64]); // 100 more keys
 *   await stream.push(kv, kv);
 * }
 * const { out, lse } = await stream.finish(); // as over all 300 keys
 * console.log(out.shape, lse.shape); // [8, 16, 64] [8, 16]
 * ```
 *
 * Of each row the largest log-sum-exp so far is kept, and sums that are scaled by it: the online softmax
 * of Milakov and Gimelshein, arXiv 1805.02867, algorithm 3, over blocks of keys. A block is at most
 * 2,048 keys; what does not fill one waits for more in memory of the engine.
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`. Elements must not change before `finish()`
 * settles.
 * @param options What `attention()` can be asked without knowing how many keys there are: see
 * {@linkcode StreamOptions}. A signal stops the stream.
 * @returns At once, `push(k, v)` for more keys, `finish()` for `out` and `lse`, and `close()`, also as
 * `Symbol.dispose`, for a stream that is not finished.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When values do not fit, or positions need a last key.
 */
export function attentionStream<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  options?: StreamOptions & OnEngine & { readonly out?: Out | undefined },
): AttentionStream<ResultOf<Data, true, Out>> {
  const given = readGiven<StreamOptions>(options, streamNames, attending.cannot);
  return openStream(given.machinery ?? sharedMachinery(), q, given.options);
}

/**
 * Rotary position embedding in place (Su et al., arXiv 2104.09864): every row of `q` and `k` is
 * turned by its position. Angles are computed in double precision.
 *
 * ```ts
 * import { rope, tensor } from "@flashtile/attention";
 *
 * const q = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]);
 * const k = tensor(new Float32Array(2 * 16 * 64), [2, 16, 64]);
 * await rope(q, k, { positions: 100 }); // rows 100 to 115
 * ```
 *
 * @param q Rows `[B, H, N, D]` of any rank and storage.
 * @param k Others with the same B, N and D; `null` for none.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, positions or dims do not fit.
 */
export async function rope(
  q: AnyTensor,
  k?: AnyTensor | null,
  options?: RopeOptions & OnEngine,
): Promise<void> {
  const given = readGiven(options, ropeNames, cannotRotate);
  const call = readRope(q, k, given.options);
  await runRope(given.machinery ?? sharedMachinery(), call);
}
