/**
 * Linformer: attention to some mixtures of all keys.
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
import { type Given, withLse } from "../operations/linear/attending.ts";
import type { BackwardPassOptions } from "../operations/backward/plan.ts";
import { runLinformer, runLinformerWithGradient } from "../operations/linformer/operation.ts";
import {
  linformerNames,
  type LinformerOptions,
  readLinformer,
} from "../operations/linformer/plan.ts";
import { cannot, cannotWithGradient } from "../operations/linformer/tokens.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

export type { LinformerOptions };

/** Gradients of `linformerAttention()`, each in the shape, layout and dtype of what it is by, contiguous. */
export interface LinformerAttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  /** By `q`. */
  readonly dq: Tensor<Q>;
  /** By `k`; query heads of a group are summed. */
  readonly dk: Tensor<K>;
  /** By `v`, likewise. */
  readonly dv: Tensor<V>;
  /** By `projectK`: by both its uses where there is no `projectV`, and 0 in columns that are not used. */
  readonly dProjectK: AnyTensor;
  /** By `projectV`, where it is given. */
  readonly dProjectV?: AnyTensor;
}

/** Result of `linformerAttentionWithGradient()`. */
export interface LinformerAttentionWithGradient<
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
  ): Promise<LinformerAttentionGradients<Q, K, V>>;
}

/** What calls for gradients can be asked. */
const gradientNames = linformerNames.filter((name) => name !== "lse" && name !== "out");

function read(given: Given, options: LinformerOptions & OnEngine) {
  const withCausal = [...linformerNames, "causal" as never]; // It is refused by a message of its own.
  const { machinery, options: read } = readGiven<LinformerOptions>(options, withCausal, cannot, [
    "causal",
  ]);
  return { machinery: machinery ?? sharedMachinery(), call: readLinformer(given, read, cannot) };
}

/** The same of a call for gradients, whose results are all there in any case. */
function readForGradient(given: Given, options: Omit<LinformerOptions, "lse" | "out"> & OnEngine) {
  const doing = cannotWithGradient, names = [...gradientNames, "causal" as never];
  const { machinery, options: read } = readGiven<LinformerOptions>(options, names, doing, [
    "causal",
  ]);
  const call = readLinformer(given, withLse(read), doing);
  return { machinery: machinery ?? sharedMachinery(), call };
}

/**
 * Linformer attention, `softmax(scale q (E k)^T) (F v)`, with `E = projectK` and `F = projectV`: exact attention to `r`
 * keys, each a mixture of all, so that time grows with N and not with its square. Wang et al., arXiv 2006.04768,
 * equation 7.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { linformerAttention } from "@flashtile/attention/linear";
 *
 * const [heads, n, dim, r] = [8, 4096, 64, 64];
 * const x = () => tensor(Float32Array.from({ length: heads * n * dim }, Math.random), [heads, n, dim]);
 * const projectK = tensor(new Float32Array(r * n).fill(1 / n), [r, n]); // learned, for sequences of up to n
 * const { out } = await linformerAttention(x(), x(), x(), { projectK });
 * console.log(out.shape); // [8, 4096, 64]
 * ```
 *
 * There is no causal form: a mixture has something of all positions, and none can be hidden from it. Mixtures are sums of
 * f32, formed in parts, and are rounded to no other storage.
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`; `layout: "bnhd"` swaps H and N.
 * @param k Keys, `[B, Hkv, Nk, D]`; `Hq` is a multiple of `Hkv`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options The projections, and more: see {@linkcode LinformerOptions}.
 * @returns `out` in the rank, layout and dtype of `q`, and with `lse: true` also `lse`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown; also for `causal`.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function linformerAttention<
  Data extends TensorData,
  Lse extends boolean | undefined = boolean | undefined,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: Asking<LinformerOptions & OnEngine, Lse, Out>,
): Promise<ResultOf<Data, Lse, Out>> {
  const { machinery, call } = read([q, k, v], options);
  return await runLinformer(machinery, call) as ResultOf<Data, Lse, Out>;
}

/**
 * Linformer attention, and a function for its gradients: through attention to the mixtures, and from there through both
 * products, `dk = E^T dk'` and `dE = dk' k^T`. On the CPU.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { linformerAttentionWithGradient } from "@flashtile/attention/linear";
 *
 * const x = tensor(Float32Array.from({ length: 64 * 16 }, Math.random), [64, 16]);
 * const projectK = tensor(Float32Array.from({ length: 8 * 64 }, Math.random), [8, 64]);
 * const { out, backward } = await linformerAttentionWithGradient(x, x, x, { projectK });
 * const { dq, dProjectK } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dq.shape, dProjectK.shape); // [64, 16] [8, 64]
 * ```
 *
 * @param q Queries, as for {@linkcode linformerAttention}.
 * @param k Keys.
 * @param v Values.
 * @param options The same without `lse` and `out`.
 * @returns `out`, `lse` and `backward(dOut)`.
 * @throws As {@linkcode linformerAttention}; an `Error` on a webgpu engine.
 */
export async function linformerAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: Omit<LinformerOptions, "lse" | "out"> & OnEngine,
): Promise<LinformerAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const { machinery, call } = readForGradient([q, k, v], options);
  const result: unknown = await runLinformerWithGradient(machinery, call);
  return result as LinformerAttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>;
}
