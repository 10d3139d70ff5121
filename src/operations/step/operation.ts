/**
 * A step of a cache as an operation, for backends that do it in one go: queries and keys are turned, tokens
 * appended, and attended to.
 *
 * @module
 */

import type { Operation } from "../../contract/operation.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import { inputsOfCall } from "../attention/operation.ts";
import { type AttentionPlan, countRows } from "../attention/plan.ts";
import type { Target } from "../attention/target.ts";
import type { Rotation } from "../rope/rotation.ts";

/** A step, its tensors as they were given. */
export interface StepPlan {
  readonly attention: AttentionPlan;
  readonly k: AnyView;
  readonly v: AnyView;
  /** How copies of queries and keys are turned; `null` where they are used as they are. */
  readonly rotation: Rotation | null;
  /** Has the pages take the values and such keys. */
  append(k: AnyView): void;
}

/** The operation. */
export const cacheStep: Operation<StepPlan, Target> = {
  name: "step",
  cannot: "Cannot step",
  inputs: ({ attention, k, v }) => ({ ...inputsOfCall(attention), k, v }),
  work: () => 0,
  rows: ({ attention }) => countRows(attention),
};
