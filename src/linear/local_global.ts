/**
 * Attention to the own block of rows, and to a summary of every block.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type {
  Asking,
  AttentionResultWithLse,
  OwnData,
  ResultOf,
} from "../operations/attention/result.ts";
import type { BackwardPassOptions } from "../operations/backward/plan.ts";
import { type Given, withLse } from "../operations/linear/attending.ts";
import {
  runLocalGlobal,
  runLocalGlobalWithGradient,
} from "../operations/local_global/operation.ts";
import {
  localGlobalNames,
  type LocalGlobalOptions,
  readLocalGlobal,
} from "../operations/local_global/plan.ts";
import { cannot, cannotWithGradient } from "../operations/local_global/tokens.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

export type { LocalGlobalOptions };

/** Gradients of `localGlobalAttention()`, each in the shape, layout and dtype of what it is by, contiguous. */
export interface LocalGlobalAttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  /** By `q`. */
  readonly dq: Tensor<Q>;
  /** By `k`: as rows, and as parts of summaries; query heads of a group are summed. */
  readonly dk: Tensor<K>;
  /** By `v`, likewise. */
  readonly dv: Tensor<V>;
  /** By `pool`, where it is given: of keys and of values. */
  readonly dPool?: AnyTensor;
}

/** Result of `localGlobalAttentionWithGradient()`. */
export interface LocalGlobalAttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  /**
   * The gradients, from that with respect to `out`. Inputs and `out` must not have changed since; can be called more
   * than once.
   */
  backward(
    dOut: AnyTensor,
    options?: BackwardPassOptions,
  ): Promise<LocalGlobalAttentionGradients<Q, K, V>>;
}

/** What calls for gradients can be asked. */
const gradientNames = localGlobalNames.filter((name) => name !== "lse" && name !== "out");

function read(given: Given, options: LocalGlobalOptions & OnEngine) {
  const { machinery, options: read } = readGiven<LocalGlobalOptions>(
    options,
    localGlobalNames,
    cannot,
  );
  return { machinery: machinery ?? sharedMachinery(), call: readLocalGlobal(given, read, cannot) };
}

/** The same of a call for gradients, whose results are all there in any case. */
function readForGradient(
  given: Given,
  options: Omit<LocalGlobalOptions, "lse" | "out"> & OnEngine,
) {
  const doing = cannotWithGradient;
  const { machinery, options: read } = readGiven<LocalGlobalOptions>(options, gradientNames, doing);
  const call = readLocalGlobal(given, withLse(read), doing);
  return { machinery: machinery ?? sharedMachinery(), call };
}

/**
 * Attention in blocks with a global view: each row sees its own block of `block` rows, and one key and value for each
 * block of all, the mean of its rows or what a `pool` makes of them, under one softmax. Time grows with
 * `N (block + N / block)`, so with N^1.5 where the block is about the square root of N.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { localGlobalAttention } from "@flashtile/attention/linear";
 *
 * const [heads, n, dim] = [8, 4096, 64], shape = [heads, n, dim];
 * const x = () => tensor(Float32Array.from({ length: heads * n * dim }, Math.random), shape);
 * const { out } = await localGlobalAttention(x(), x(), x(), { block: 64, causal: true });
 * console.log(out.shape); // [8, 4096, 64]
 * ```
 *
 * Without `causal` a row sees the summaries of all blocks, its own too. With it a row sees its own block up to itself, and
 * the summaries of blocks before its own. Summaries are f32 whatever the inputs are: they are never rounded to 16 bits.
 * The "block + global K, V" scheme of introductions to attention.
 *
 * @param q Queries, `[B, Hq, N, D]`, `[H, N, D]` or `[N, D]`; `layout: "bnhd"` swaps H and N.
 * @param k Keys, `[B, Hkv, N, D]`, as many as queries; `Hq` is a multiple of `Hkv`.
 * @param v Values, `[B, Hkv, N, Dv]`.
 * @param options The block, and more: see {@linkcode LocalGlobalOptions}.
 * @returns `out` in the rank, layout and dtype of `q`, and with `lse: true` also `lse`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function localGlobalAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: Asking<LocalGlobalOptions & OnEngine, Lse, Out>,
): Promise<ResultOf<Data, Lse, Out>> {
  const { machinery, call } = read([q, k, v], options);
  return await runLocalGlobal(machinery, call) as ResultOf<Data, Lse, Out>;
}

/**
 * The same, and a function for its gradients: through attention to rows and summaries, and from these to the rows that
 * they are made of. On the CPU.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { localGlobalAttentionWithGradient } from "@flashtile/attention/linear";
 *
 * const x = tensor(Float32Array.from({ length: 64 * 16 }, Math.random), [64, 16]);
 * const pool = tensor(Float32Array.of(1, 2, 3, 4, 4, 3, 2, 1), [8]);
 * const { out, backward } = await localGlobalAttentionWithGradient(x, x, x, { block: 8, pool });
 * const { dq, dPool } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dq.shape, dPool.shape); // [64, 16] [8]
 * ```
 *
 * @param q Queries, as for {@linkcode localGlobalAttention}.
 * @param k Keys.
 * @param v Values.
 * @param options The same without `lse` and `out`.
 * @returns `out`, `lse` and `backward(dOut)`.
 * @throws As {@linkcode localGlobalAttention}; an `Error` on a webgpu engine.
 */
export async function localGlobalAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: Omit<LocalGlobalOptions, "lse" | "out"> & OnEngine,
): Promise<LocalGlobalAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const { machinery, call } = readForGradient([q, k, v], options);
  const result: unknown = await runLocalGlobalWithGradient(machinery, call);
  return result as LocalGlobalAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>;
}
