/**
 * The engine behind the bare functions, made at first use.
 *
 * @module
 */

import { type AttentionRest, isAnyCache, type KvCache } from "../cache/kv_cache.ts";
import type { Backend } from "../contract/backend.ts";
import { createBackend } from "../engine/engine.ts";
import type { AttentionOptions, CacheAttentionOptions } from "../operations/attention/options.ts";
import { readAttention } from "../operations/attention/plan.ts";
import {
  type AttentionResult,
  type AttentionResultWithLse,
  type OwnData,
  type ResultOf,
  runCall,
} from "../operations/attention/run.ts";
import {
  type AttentionGradients,
  type AttentionWithGradient,
  type BackwardOptions,
  type GradientOptions,
  readBackward,
  readWithGradient,
  runBackward,
  runWithGradient,
} from "../operations/backward/run.ts";
import {
  type AttentionPart,
  type MergeOptions,
  readMerge,
  runMerge,
} from "../operations/merge/run.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

let backend: Promise<Backend> | undefined;

/** The backend of the engine, which is made when it is first asked for. */
function defaultBackend(): Promise<Backend> {
  if (backend === undefined) {
    backend = createBackend(Object.create(null), true); // No options, whatever all objects have.
    backend.catch(() => backend = undefined); // A failure is not kept: the next call tries again.
  }
  return backend;
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
  ...rest: AttentionRest<Keys, Lse, Out>
): Promise<ResultOf<Data, Lse, Out>> {
  const [v, options] = rest as [AnyTensor, AttentionOptions?];
  const result: Promise<AttentionResult<Data>> = isAnyCache(k)
    ? k.attend(q, rest[0] as CacheAttentionOptions)
    : runCall(defaultBackend(), readAttention(q, k, v, options)); // Bad input needs no engine.
  return await result as ResultOf<Data, Lse, Out>;
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
  options?: MergeOptions,
): Promise<AttentionResultWithLse<OwnData<Data>>> {
  const call = readMerge(parts, options);
  return await runMerge(defaultBackend(), call);
}

/**
 * The gradients of attention: from that of a loss by `out`, those by `q`, `k`, `v`, and by `bias` and
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
 * @param dOut Gradient by `out`, `[B, Hq, Nq, Dv]`, of any storage.
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
  options: BackwardOptions,
): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const call = readBackward(dOut, q, k, v, options);
  return await runBackward(defaultBackend(), call);
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
  options: GradientOptions = {},
): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const call = readWithGradient(q, k, v, options);
  return await runWithGradient(defaultBackend(), call);
}
