/**
 * Decoding with attention to the own block of rows, and to a summary of every block before.
 *
 * @module
 */

import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { Asking, ResultOf } from "../operations/attention/result.ts";
import {
  cannotCreate,
  type LocalGlobalStateOptions,
  type LocalGlobalStepOptions,
  stateNames,
  StateOfBlocks,
} from "../operations/local_global/state.ts";
import type { DecodingState } from "./convolution_state.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";

export type { LocalGlobalStateOptions, LocalGlobalStepOptions };

/** What a decoder keeps from step to step: a block of rows, and a summary of each block before. */
export interface LocalGlobalState extends DecodingState {
  /** Rows so far. */
  readonly rows: number;
  /**
   * Takes one or more new rows, and gives what the causal `localGlobalAttention()` over all rows so far gives for
   * them. Steps that are asked for before others are done follow one another. One that fails leaves the state as it was.
   *
   * @param q Queries, `[B, Hq, n, D]` in any rank.
   * @param k Keys, `[B, Hkv, n, D]`: B, heads and dimensions are those of the first step.
   * @param v Values, `[B, Hkv, n, Dv]`.
   * @returns `out` in the rank, layout and dtype of `q`, and with `lse: true` also `lse`.
   * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
   * @throws {RangeError} When shapes do not fit, or memory is short.
   * @throws {Error} After `close()`, of this or of the engine.
   */
  step<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<LocalGlobalStepOptions, Lse, Out>,
  ): Promise<ResultOf<Data, Lse, Out>>;
}

/**
 * A state for decoding with `localGlobalAttention()`. Its memory is that of `block` rows and of one summary a block, in
 * f32; a step costs as much at the millionth row as at the first, but for one more summary every `block` rows.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { createLocalGlobalState } from "@flashtile/attention/linear";
 *
 * const state = createLocalGlobalState({ block: 64 });
 * const x = (n) => tensor(Float32Array.from({ length: 8 * n * 64 }, Math.random), [8, n, 64]);
 * await state.step(x(1000), x(1000), x(1000)); // a prompt
 * const { out } = await state.step(x(1), x(1), x(1)); // a token
 * console.log(out.shape, state.rows); // [8, 1, 64] 1001
 * state.close();
 * ```
 *
 * On a webgpu engine in buffers. Elements of `pool` must stay as they are while the state is used.
 *
 * @param options The block, what its rows weigh in a summary, and how tensors are laid out.
 * @throws {TypeError} When an option is unknown or of a wrong kind.
 * @throws {RangeError} When a value does not fit.
 */
export function createLocalGlobalState(
  options: LocalGlobalStateOptions & OnEngine,
): LocalGlobalState {
  const { machinery, options: given } = readGiven<LocalGlobalStateOptions>(
    options,
    stateNames,
    cannotCreate,
  );
  const state = new StateOfBlocks(() => machinery ?? sharedMachinery(), given);
  const close = () => state.close();
  return {
    get rows() {
      return state.rows;
    },
    step:
      (async (q: AnyTensor, k: AnyTensor, v: AnyTensor, options?: LocalGlobalStepOptions) =>
        await state.step([q, k, v], options)) as LocalGlobalState["step"],
    close,
    [Symbol.dispose]: close,
  };
}
