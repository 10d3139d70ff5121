/**
 * The weights of attention.
 *
 * @module
 */

import { cannot } from "../check/words.ts";
import {
  type KeySums,
  weightsNames,
  type WeightsOptions,
  type WeightsResult,
} from "../operations/weights/options.ts";
import { readWeights } from "../operations/weights/read.ts";
import { runWeights } from "../operations/weights/run.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import { type OnEngine, readGiven, sharedMachinery } from "./default_engine.ts";

/**
 * The weights of attention, `softmax(scale * q k^T)`, of chosen rows; or what each key gets of all rows together: for
 * attribution, word timestamps, and caches that keep what is looked at (H2O, arXiv 2306.14048; SnapKV,
 * arXiv 2404.14469). All other rows' weights are never held.
 *
 * ```ts
 * import { attention, attentionWeights, tensor } from "@flashtile/attention";
 *
 * const [heads, n, dim] = [8, 128, 64];
 * const x = () => tensor(Float32Array.from({ length: heads * n * dim }, Math.random), [heads, n, dim]);
 * const [q, k, v] = [x(), x(), x()];
 * const { lse } = await attention(q, k, v, { causal: true, lse: true });
 * const { weights } = await attentionWeights(q, k, { causal: true, lse, rows: [126, 127] });
 * const { keySums } = await attentionWeights(q, k, { causal: true, lse, keySums: true });
 * console.log(weights.shape, keySums.shape); // [8, 2, 128] [8, 128]
 * ```
 *
 * Weights are `exp(s - lse)`, computed anew tile by tile from `lse`: FlashAttention, Dao et al., arXiv 2205.14135,
 * algorithm 4, line 13. Rows sum to 1; with sinks to less, by what these take; to 0 where a row sees nothing.
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`, as `attention()` has them.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param options Which rows and heads, what `attention()` was asked, and the `lse` that it gave: see
 * {@linkcode WeightsOptions}. Without `lse` it costs a pass over the keys first.
 * @returns `weights`, f32, `[B, heads, rows, Nk]`; with `keySums` in their place `keySums`, `[B, heads, Nk]`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function attentionWeights<
  Data extends TensorData,
  Sums extends KeySums | undefined = undefined,
>(
  q: Tensor<Data>,
  k: AnyTensor,
  options?: WeightsOptions & OnEngine & { readonly keySums?: Sums | undefined },
): Promise<WeightsResult<Data, Sums>> {
  const given = readGiven<WeightsOptions>(options, weightsNames, cannot);
  const call = readWeights(q, k, given.options);
  return await runWeights(given.machinery ?? sharedMachinery(), call);
}
