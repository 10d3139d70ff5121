/**
 * What a decoder keeps of all rows so far: sums over keys, of one size whatever their number.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control, EngineTensor, Machinery } from "../../contract/backend.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import { type AnyTensor, viewOf } from "../../tensor/tensor.ts";
import { type Call, runUsed } from "../call.ts";
import { Turns } from "../linear/turns.ts";
import { placed } from "./operation.ts";
import { cannotOf, type PerformerStepOptions } from "./options.ts";
import {
  type PerformerCall,
  type PerformerPlan,
  type ReadFeatures,
  readStep,
  usedBy,
} from "./plan.ts";
import {
  numbersOfState,
  type PerformerStep,
  performerStep,
  type PerformerTarget,
} from "./tokens.ts";

const { step: cannot } = cannotOf;

/** Sizes that all steps have alike. */
const sizeNames = ["batch", "queryHeads", "keyHeads", "dim", "valueDim"] as const;

function checkSizes(plan: PerformerPlan, first: PerformerPlan): void {
  for (const name of sizeNames) {
    if (plan[name] === first[name]) continue;
    throw new RangeError(
      `${cannot}: rows must be of the sizes of the first step, [B, Hq, Hkv, D, Dv] = ` +
        `[${sizeNames.map((name) => first[name])}], got [${sizeNames.map((name) => plan[name])}]`,
    );
  }
}

/** Rows of a step that is not ended once it has begun: it takes some milliseconds. */
const mostAtOnce = 64;

/** Keeps what is in an array, and gives what brings it back; nothing of a buffer, which nobody reads so. */
function keep(memory: EngineTensor<TensorData>): (() => void) | undefined {
  if (isGpuBuffer(memory.data)) return undefined;
  const kept = (memory.data as Float32Array).slice();
  return () => (memory.data as Float32Array).set(kept);
}

/** A state that steps read and write. */
export class DecodingState {
  readonly #machinery: () => Machinery | Promise<Machinery>;
  readonly #features: ReadFeatures;
  readonly #turns: Turns;
  /** Ends the use of the projection, which the first step packs. */
  #leave: (() => void) | undefined;
  #memory: EngineTensor<TensorData> | undefined;
  #first: PerformerPlan | undefined;
  #rows = 0;
  #isRunning = false;
  #failure: { readonly reason: unknown } | undefined;

  constructor(machinery: () => Machinery | Promise<Machinery>, features: ReadFeatures) {
    this.#machinery = machinery;
    this.#features = features;
    this.#leave = useAll([features.read]);
    this.#turns = new Turns(cannot, () => {
      this.#leaveProjection();
      this.#memory?.free();
    });
  }

  /** Rows that it has seen, of each head. */
  get rows(): number {
    return this.#rows;
  }

  /** Takes rows in, after those of steps before. */
  step(
    q: AnyTensor,
    k: AnyTensor,
    v: AnyTensor,
    options: PerformerStepOptions,
  ): Promise<AnyTensor> {
    this.#turns.checkOpen();
    const call = readStep([q, k, v], options, this.#features), { plan } = call;
    checkSizes(plan, this.#first ?? plan);
    this.#first ??= plan;
    const leave = useAll(Object.values({ ...usedBy(plan), projection: null }));
    return this.#turns.take(() => this.#run(call)).finally(leave);
  }

  async #run(call: PerformerCall): Promise<AnyTensor> {
    const { plan, control: { signal } } = call;
    if (this.#failure !== undefined) {
      const { reason } = this.#failure;
      throw new Error(`${cannot}: an earlier step failed, make another state`, { cause: reason });
    }
    throwIfAborted(signal);
    const { own } = await this.#machinery();
    const memory = this.#memory ??= own.tensor([numbersOfState(plan)], "f32");
    const restore = plan.queries > mostAtOnce ? keep(memory) : undefined;
    this.#isRunning = false;
    try {
      const control = restore === undefined ? {} : { signal };
      const out = await runUsed(own, this.#placed(call, memory, control));
      this.#rows += plan.queries;
      if (plan.queries > 0) this.#leaveProjection();
      return out;
    } catch (reason) {
      if (restore !== undefined) restore();
      else if (this.#isRunning) this.#failure = { reason };
      throw reason;
    }
  }

  #placed(
    call: PerformerCall,
    memory: EngineTensor<TensorData>,
    control: Control,
  ): Call<PerformerStep, PerformerTarget, AnyTensor> {
    const alone = placed(call), { plan } = call;
    return {
      ...alone,
      operation: performerStep,
      plan: { plan, state: viewOf(memory, "bhnd"), position: this.#rows },
      control,
      target: (made) => {
        this.#isRunning = true; // What is wrong before leaves the state as it was.
        return alone.target(made);
      },
    };
  }

  #leaveProjection(): void {
    this.#leave?.();
    this.#leave = undefined;
  }

  /** Gives its memory back, once no step uses it any more. */
  close(): void {
    this.#turns.close();
  }
}
