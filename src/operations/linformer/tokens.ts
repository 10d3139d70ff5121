/**
 * linformerAttention() and its gradients, as operations: backends know them by these.
 *
 * @module
 */

import type { Operation } from "../../contract/operation.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import { countRows, countScores, inputsOf } from "../attention/plan.ts";
import type { Target } from "../attention/target.ts";
import type { AttendingPlan } from "../linear/attending.ts";
import type { AttendingPass } from "../linear/operation.ts";

/** What messages begin with. */
export const cannot = "Cannot compute `linformerAttention()`";

/** The same where gradients are asked for. */
export const cannotWithGradient = "Cannot compute `linformerAttentionWithGradient()`";

/** A call: attention to `r` mixtures of keys, and of values. */
export interface LinformerPlan<V extends AnyView = AnyView> extends AttendingPlan<V> {
  /** Keys that are made. */
  readonly mixtures: number;
  /** What makes them, `[1, 1 or Hkv, r, Nk]`: as many columns as there are keys. */
  readonly projectK: V;
  /** The same for values; `null` where `projectK` makes both. */
  readonly projectV: V | null;
}

/** Where gradients go; those of projections as these are. */
export interface LinformerGradients<V extends AnyView = AnyView> {
  readonly dq: V;
  readonly dk: V;
  readonly dv: V;
  readonly dProjectK: V;
  readonly dProjectV: V | null;
}

function rows({ forward }: AttendingPlan): number {
  return countRows(forward);
}

function inputs(plan: LinformerPlan) {
  const { forward, projectK, projectV } = plan;
  return { ...inputsOf(forward), projectK, projectV, out: forward.out };
}

/** The function. */
export const linformer: Operation<LinformerPlan, Target> = {
  ...{ name: "linformerAttention", cannot, late: "linear", inputs, rows },
  work({ forward, mixtures, projectK }) {
    const { batch, keyHeads, dim, valueDim } = forward, keys = projectK.shape[3];
    const mixing = batch * keyHeads * mixtures * keys;
    return (countScores(forward) + mixing) * (dim + valueDim);
  },
};

/** The same where gradients are asked for. */
export const linformerWithGradient: Operation<LinformerPlan, Target> = {
  ...{ ...linformer, name: "linformerAttentionWithGradient", cannot: cannotWithGradient },
  work: () => 0,
};

/** The gradients. */
export const linformerBackward: Operation<AttendingPass<LinformerPlan>, LinformerGradients> = {
  ...{ name: "backward", cannot: "Cannot differentiate", late: "linear" },
  inputs({ plan, pass: { dOut, out, lse, dLse } }) {
    return { ...inputs(plan), dOut, result: out, lse, dLse };
  },
  work: () => 0,
  rows: ({ plan }) => rows(plan),
};
