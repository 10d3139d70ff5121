/**
 * Convolutions row by row: decoding, at the same price for every token.
 *
 * @module
 */

import { bare, checkLayoutName, readOptions } from "../check/words.ts";
import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import {
  cannotOf,
  type ConvolutionKind,
  type ConvolutionOptions,
  convolutionStateNames,
  type ConvolutionStateOptions,
  convolutionStepNames,
  type ConvolutionStepOptions,
} from "../operations/convolution/options.ts";
import { readConvolution, readTaps } from "../operations/convolution/plan.ts";
import { ConvolutionState } from "../operations/convolution/state.ts";
import type { TensorData } from "../tensor/dtype.ts";
import { useAll } from "../tensor/lending.ts";
import type { AnyTensor, Layout, Tensor } from "../tensor/tensor.ts";

/** What every state can be told. */
export interface DecodingState extends Disposable {
  /** Gives the memory back, once no step uses it any more; later steps are refused. */
  close(): void;
}

/** A causal lightweight convolution that goes step by step. */
export interface LightweightConvolutionState extends DecodingState {
  /**
   * The next rows. Steps that are asked for before others are done follow one another.
   *
   * @param v Values `[B, H, n, D]` of one or more rows, in any rank; B, H and D as in the steps before.
   * @param options A tensor for the result, and a signal.
   * @returns `out` of these rows, bit for bit as `lightweightConvolution()` gives it over all rows so far.
   * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
   * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
   * @throws {Error} After `close()`. A step that fails leaves the state as it was.
   */
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    v: Tensor<Data>,
    options?: ConvolutionStepOptions<Out>,
  ): Promise<RowsResult<Data, Out>>;
}

/** A causal dynamic convolution that goes step by step. */
export interface DynamicConvolutionState extends DecodingState {
  /**
   * The next rows, and their weights. Steps that are asked for before others are done follow one another.
   *
   * @param v As for {@linkcode LightweightConvolutionState}.
   * @param weights `[B, H, n, W]` in the rank and layout of `v`; W as in the steps before.
   * @param options A tensor for the result, and a signal.
   * @returns `out` of these rows, bit for bit as `dynamicConvolution()` gives it over all rows so far.
   * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
   * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
   * @throws {Error} After `close()`. A step that fails leaves the state as it was.
   */
  step<Data extends TensorData, Out extends AnyTensor | undefined = undefined>(
    v: Tensor<Data>,
    weights: AnyTensor,
    options?: ConvolutionStepOptions<Out>,
  ): Promise<RowsResult<Data, Out>>;
}

/** What messages of steps begin with. */
const stepping = cannotOf("step");

/** A state, and how its steps are written. */
interface Opened {
  readonly layout: Layout | undefined;
  readonly state: ConvolutionState;
}

/** Reads what a state is asked; what gives it then, with what ends the use of all that its steps read. */
function read(
  given: (ConvolutionStateOptions & OnEngine) | undefined,
  doing: string,
): (leave?: () => void) => Opened {
  const { machinery, options } = readGiven(given, convolutionStateNames, doing);
  const { layout } = options;
  checkLayoutName(layout, doing);
  const where = machinery ?? sharedMachinery;
  return (leave) => ({ layout, state: new ConvolutionState(where, stepping, leave) });
}

/** Runs a step whose options are still to be read. */
async function run(
  { layout, state }: Opened,
  kind: ConvolutionKind,
  tensors: { readonly v: unknown; readonly weights: unknown },
  given: ConvolutionStepOptions = {},
): Promise<unknown> {
  const options = readOptions(given, convolutionStepNames, stepping);
  const asked = bare<ConvolutionOptions>(options, { layout, causal: true });
  const call = readConvolution(kind, tensors, asked, stepping);
  return await state.step(call);
}

/**
 * A causal {@linkcode lightweightConvolution} that goes step by step: keeps the last `W - 1` rows, so that memory and
 * time of a step are the same at token 10 and at token 100,000. A centred convolution depends on rows to come, and has no
 * state.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { createLightweightConvolutionState } from "@flashtile/attention/linear";
 *
 * const weights = tensor(new Float32Array(8 * 31), [8, 31]); // 8 heads, 31 taps
 * const state = createLightweightConvolutionState(weights);
 * for (let token = 0; token < 10; token++) {
 *   const { out } = await state.step(tensor(new Float32Array(8 * 64), [8, 1, 64]));
 *   if (token === 9) console.log(out.shape); // [8, 1, 64]
 * }
 * state.close(); // or `using state = ...` where the runtime has it
 * ```
 *
 * @param weights `[H, W]` before their softmax, from the oldest row on; in use until `close()`, and not to be changed.
 * @param options The engine whose memory the state is in, and the layout of its steps.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes or strides do not fit.
 */
export function createLightweightConvolutionState(
  weights: AnyTensor,
  options?: ConvolutionStateOptions & OnEngine,
): LightweightConvolutionState {
  const kind = "lightweightConvolution", doing = cannotOf("createLightweightConvolutionState");
  const open = read(options, doing), held = readTaps(weights, doing);
  const opened = open(useAll([held]));
  const close = () => opened.state.close();
  return {
    step: (v, given) => run(opened, kind, { v, weights: held }, given) as Promise<never>,
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * A causal {@linkcode dynamicConvolution} that goes step by step: see {@linkcode createLightweightConvolutionState}.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { createDynamicConvolutionState } from "@flashtile/attention/linear";
 *
 * const state = createDynamicConvolutionState();
 * const v = tensor(new Float32Array(8 * 64), [8, 1, 64]); // 8 heads, one row, D = 64
 * const weights = tensor(new Float32Array(8 * 7), [8, 1, 7]); // its 7 taps
 * const { out } = await state.step(v, weights);
 * console.log(out.shape); // [8, 1, 64]
 * state.close();
 * ```
 *
 * @param options The engine whose memory the state is in, and the layout of its steps.
 * @throws {TypeError} When an option is of a wrong kind, or unknown.
 */
export function createDynamicConvolutionState(
  options?: ConvolutionStateOptions & OnEngine,
): DynamicConvolutionState {
  const opened = read(options, cannotOf("createDynamicConvolutionState"))();
  const close = () => opened.state.close();
  return {
    step: (v, weights, given) =>
      run(opened, "dynamicConvolution", { v, weights }, given) as Promise<never>,
    close,
    [Symbol.dispose]: close,
  };
}
