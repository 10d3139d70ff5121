/**
 * Performer attention: softmax attention by random features, in time and memory that grow with the length and not with
 * its square.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import type { OwnData } from "../operations/attention/result.ts";
import {
  checkGradients,
  type PerformerWithGradient,
  runPerformerWithGradient,
} from "../operations/performer/backward.ts";
import { runPerformer } from "../operations/performer/operation.ts";
import {
  cannotOf,
  featureNames,
  type PerformerFeatures,
  performerGradientNames,
  type PerformerGradientOptions,
  performerNames,
  type PerformerOptions,
  type PerformerProjectionOptions,
  type PerformerStepOptions,
} from "../operations/performer/options.ts";
import { readFeatures, readPerformer, readProjection } from "../operations/performer/plan.ts";
import { DecodingState } from "../operations/performer/state.ts";
import type { TensorData } from "../tensor/dtype.ts";
import { type AnyTensor, type Tensor, tensor } from "../tensor/tensor.ts";

/**
 * Performer attention (FAVOR+, Choromanski et al., arXiv 2009.14794): with the features `phi` of queries and keys,
 * `phi(q) (phi(k)^T v) / phi(q) (phi(k)^T 1)`, in time and memory that grow with the length and not with its square.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { performerAttention } from "@flashtile/attention/linear";
 *
 * const [heads, n, dim] = [2, 100, 16];
 * const x = tensor(Float32Array.from({ length: heads * n * dim }, Math.random), [heads, n, dim]);
 * const { out } = await performerAttention(x, x, x, { features: 128, seed: 1, causal: true });
 * console.log(out.shape); // [2, 100, 16]
 * ```
 *
 * With positive orthogonal random features, `phi_r(x) = exp(w_r^T x - |x|^2 / 2)` of rows times the root of `scale`
 * (lemma 1, section 2.4), the result is that of softmax attention on average. How near depends on the magnitude of
 * queries and keys: where they are small (D = 16, standard deviation 0.5) four times the features halve the error; for
 * D = 64 and a standard deviation of 1 the error hardly falls with any number of features that is worth it. Each feature
 * is shifted by its greatest exponent so far, so that nothing overflows, no row is 0 / 0, and no key is lost to a later
 * one, whatever the magnitudes.
 *
 * Query head `h` reads key/value head `floor(h * Hkv / Hq)`. Rows that see no key are 0. The same bits for any number of
 * threads.
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`; `layout: "bnhd"` swaps H and N.
 * @param k Keys, `[B, Hkv, Nk, D]`; `Hq` is a multiple of `Hkv`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options Which features, and what rows see: see {@linkcode PerformerOptions}.
 * @returns `out`, `[B, Hq, Nq, Dv]` in the rank, layout and dtype of `q`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function performerAttention<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: PerformerOptions & OnEngine & { readonly out?: Out | undefined } = {},
): Promise<RowsResult<Data, Out>> {
  const doing = cannotOf.performerAttention;
  const given = readGiven<PerformerOptions>(options, performerNames, doing);
  const call = readPerformer([q, k, v], given.options, doing); // Bad input needs no engine.
  return await runPerformer(given.machinery ?? sharedMachinery(), call) as RowsResult<Data, Out>;
}

/**
 * Performer attention, and a function for its gradients: for training loops written by hand. On the CPU.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { performerAttentionWithGradient } from "@flashtile/attention/linear";
 *
 * const x = tensor(Float32Array.from({ length: 2 * 16 * 8 }, Math.random), [2, 16, 8]);
 * const { out, backward } = await performerAttentionWithGradient(x, x, x, { causal: true });
 * const { dq, dk, dv } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dq.shape, dk.shape, dv.shape); // [2, 16, 8] each
 * ```
 *
 * The projection has no gradient: it is random. Time and memory grow with the length alone: where rows see no later
 * keys, two numbers of each row are held, and the features' exponents of each 64.
 *
 * @param q Queries, as for {@linkcode performerAttention}.
 * @param k Keys, likewise.
 * @param v Values, likewise.
 * @param options Those of {@linkcode performerAttention} but for `out`.
 * @returns `out` and `backward(dOut)`.
 * @throws {Error} When the engine's backend is WebGPU.
 */
export async function performerAttentionWithGradient<
  Q extends TensorData,
  K extends TensorData = Q,
  V extends TensorData = Q,
>(
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: PerformerGradientOptions & OnEngine = {},
): Promise<PerformerWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const doing = cannotOf.performerAttentionWithGradient;
  const given = readGiven<PerformerGradientOptions>(options, performerGradientNames, doing);
  const call = readPerformer([q, k, v], given.options, doing);
  checkGradients(call);
  return await runPerformerWithGradient<Q, K, V>(given.machinery ?? sharedMachinery(), call);
}

/** What has seen rows, and what decoding goes on from. Made by `createPerformerState()`. */
export interface PerformerState extends Disposable {
  /** Rows of each head that it has seen. */
  readonly rows: number;
  /**
   * The next rows: sees them and all before. As `performerAttention()` with `causal: true` over all rows so far gives for
   * them. Steps run one after the other, in the order in which they were asked for.
   *
   * @param q Queries, `[B, Hq, n, D]`; one row or more.
   * @param k Their keys, `[B, Hkv, n, D]`.
   * @param v Their values, `[B, Hkv, n, Dv]`.
   * @param options A tensor for the result, and a signal, which leaves the state as it was.
   * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
   * @throws {RangeError} When shapes do not fit, sizes are others than those of the first step, or memory is short.
   * @throws {Error} After `close()`, of this or of the engine, and after a step on a GPU that was lost.
   */
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: PerformerStepOptions & { readonly out?: Out | undefined },
  ): Promise<RowsResult<Data, Out>>;
  /** Gives its memory back, once no step uses it any more. */
  close(): void;
}

/**
 * Decoding with performer attention: sums over all rows so far, `features` times `Dv` numbers for each key/value head,
 * in the engine's own memory. A step takes the same time and memory after ten rows and after a million.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { createPerformerState } from "@flashtile/attention/linear";
 *
 * const state = createPerformerState({ features: 64 });
 * for (let token = 0; token < 3; token++) {
 *   const row = tensor(Float32Array.from({ length: 2 * 16 }, Math.random), [2, 1, 16]);
 *   const { out } = await state.step(row, row, row);
 *   console.log(out.shape, state.rows); // [2, 1, 16] 1, then 2 and 3
 * }
 * state.close();
 * ```
 *
 * @param options Which features: see {@linkcode PerformerFeatures}. A `projection` is in use, and its elements are read,
 * until the first step has run.
 * @throws {TypeError} When an option is of a wrong kind, or unknown.
 * @throws {RangeError} When a value does not fit.
 */
export function createPerformerState(
  options: PerformerFeatures & OnEngine = {},
): PerformerState {
  const doing = cannotOf.createPerformerState;
  const { machinery, options: given } = readGiven<PerformerFeatures>(
    options,
    featureNames,
    doing,
  );
  const state = new DecodingState(
    () => machinery ?? sharedMachinery(),
    readFeatures(given, doing),
  );
  const step = async (
    q: AnyTensor,
    k: AnyTensor,
    v: AnyTensor,
    options: PerformerStepOptions = {},
  ) => ({ out: await state.step(q, k, v, options) });
  const close = () => state.close();
  return {
    get rows() {
      return state.rows;
    },
    step: step as PerformerState["step"],
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * The directions that a seed stands for: those that {@linkcode performerAttention} has of itself. In blocks of D they are
 * orthogonal to one another, and as long as rows of normal numbers are (arXiv 2009.14794, section 2.4).
 *
 * ```ts
 * import { performerProjection } from "@flashtile/attention/linear";
 *
 * const projection = performerProjection({ dim: 64, features: 256, seed: 7 });
 * console.log(projection.shape); // [256, 64]
 * ```
 *
 * The bits are the same on every machine: whole numbers of Philox 2x32-10 (Salmon et al., SC 2011), normal numbers by
 * Marsaglia's polar method with a logarithm of its own, and Gram and Schmidt's orthogonalization, in double precision.
 *
 * @param options D, how many features, and the seed.
 * @returns `[features, dim]`, for the option `projection`.
 * @throws {TypeError} When an option is of a wrong kind, or unknown.
 * @throws {RangeError} When a value does not fit.
 */
export function performerProjection(
  options: PerformerProjectionOptions,
): Tensor<Float32Array<ArrayBuffer>> {
  const { features, dim, numbers } = readProjection(options);
  return tensor(new Float32Array(numbers), [features, dim]);
}
