/**
 * The state of a convolution that goes row by row: the last rows that taps will be on, in an engine's own memory. There
 * are two of each, so that a step that fails has changed nothing.
 *
 * @module
 */

import type { Backend, EngineTensor, Machinery } from "../../contract/backend.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import { type AnyView, viewOf } from "../../tensor/tensor.ts";
import { Turns } from "../linear/turns.ts";
import { type Convolved, runUsedConvolution } from "./operation.ts";
import { type ConvolutionCall, isShared } from "./plan.ts";

/** Two tensors of the rows before the next one. */
interface History {
  /** Those of the steps that are done. */
  before: EngineTensor<TensorData>;
  /** Where those behind the next step go. */
  after: EngineTensor<TensorData>;
}

/** What all steps have in common, as messages tell it. */
type Common = Readonly<Record<string, number>>;

function commonOf({ plan: { v, width } }: ConvolutionCall): Common {
  const [B, H, , D] = v.shape;
  return { B, H, D, W: width };
}

function viewIn({ data, shape }: EngineTensor<TensorData>): AnyView {
  return viewOf({ data, shape, dtype: "f32" }, "bhnd");
}

/** Makes the state of rows of which none was there. */
function makeHistory(backend: Backend, { B, H, D, W }: Common): History {
  const make = () => backend.tensor([B, H, W - 1, D], "f32"), before = make();
  try {
    return { before, after: make() };
  } catch (error) {
    before.free();
    throw error;
  }
}

/** Rows of one sequence for each batch, step by step. */
export class ConvolutionState {
  readonly #machinery: Machinery | (() => Promise<Machinery>);
  readonly #doing: string;
  readonly #turns: Turns;
  #common: Common | undefined;
  #history: History | undefined;

  /**
   * @param doing What messages of steps begin with.
   * @param leave Ends the use of what all steps read: called when the state is closed and no step runs any more.
   */
  constructor(
    machinery: Machinery | (() => Promise<Machinery>),
    doing: string,
    leave: () => void = () => {},
  ) {
    this.#machinery = machinery;
    this.#doing = doing;
    this.#turns = new Turns(doing, () => {
      this.#free();
      leave();
    });
  }

  /**
   * Runs a step that was read: causal, of rows behind those of the steps before. Weights that all rows share are in
   * use as long as the state is.
   */
  async step(call: ConvolutionCall): Promise<Convolved> {
    this.#turns.checkOpen();
    this.#agree(commonOf(call));
    const { v, weights, out } = call.plan;
    const leave = useAll(isShared(call.plan) ? [v, out] : [v, weights, out]);
    try {
      return await this.#turns.take(() => this.#runNext(call));
    } finally {
      leave();
    }
  }

  /** Gives the memory back, once no step uses it any more. */
  close(): void {
    this.#turns.close();
  }

  async #runNext(call: ConvolutionCall): Promise<Convolved> {
    const common = this.#agree(commonOf(call)), given = this.#machinery;
    try {
      const { own } = typeof given === "function" ? await given() : given;
      const result = await this.#run(own, call, common);
      this.#common = common;
      return result;
    } finally {
      if (this.#common === undefined) this.#free(); // The next may be of other sizes.
    }
  }

  #agree(common: Common): Common {
    for (const [axis, expected] of Object.entries(this.#common ?? {})) {
      if (common[axis] === expected) continue;
      throw new RangeError(
        `${this.#doing}: ${axis} must be ${expected} as in the steps before, got ${common[axis]}`,
      );
    }
    return common;
  }

  async #run(backend: Backend, call: ConvolutionCall, common: Common): Promise<Convolved> {
    if (common.W === 1) return await runUsedConvolution(backend, call); // No row depends on another.
    const history = this.#history ??= makeHistory(backend, common);
    const plan = { ...call.plan, before: viewIn(history.before), after: viewIn(history.after) };
    const result = await runUsedConvolution(backend, { ...call, plan });
    if (plan.v.shape[2] > 0) this.#history = { before: history.after, after: history.before };
    return result;
  }

  #free(): void {
    this.#history?.before.free();
    this.#history?.after.free();
    this.#history = undefined;
  }
}
