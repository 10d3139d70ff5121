/**
 * Performer attention, its gradients and steps of its states, as operations. Backends know them by these, and load what
 * does them when they are first asked for.
 *
 * @module
 */

import type { Operation } from "../../contract/operation.ts";
import type { AnyView, View } from "../../tensor/tensor.ts";
import { cannotOf } from "./options.ts";
import { countRows, type PerformerPlan, type PerformerShape, usedBy } from "./plan.ts";

/** Where a call's results go. */
export interface PerformerTarget<V extends AnyView = AnyView> {
  /** `[B, Hq, Nq, Dv]`; shares no element with an input. */
  readonly out: V;
}

/** A step of a state. */
export interface PerformerStep<V extends AnyView = AnyView> {
  /** The new rows, causal. */
  readonly plan: PerformerPlan<V>;
  /** What the backend keeps of the rows before: f32, as many numbers as `numbersOfState()` says. */
  readonly state: V;
  /** How many these are. */
  readonly position: number;
}

/** A backward pass. */
export interface PerformerPass<V extends AnyView = AnyView> {
  readonly plan: PerformerPlan<V>;
  /** Gradient by the result, `[B, Hq, Nq, Dv]`. */
  readonly dOut: V;
}

/** Where gradients go. */
export interface PerformerGradientTarget<V extends AnyView = AnyView> {
  readonly dq: V;
  readonly dk: V;
  readonly dv: V;
}

/** Multiply-adds: of features of queries and keys, and of these with values. */
function workOf(
  { batch, queryHeads, keyHeads, queries, keys, features, dim, valueDim }: PerformerPlan,
): number {
  return batch * (queryHeads * queries + keyHeads * keys) * features * (dim + valueDim);
}

/** The function. */
export const performerAttention: Operation<PerformerPlan, PerformerTarget> = {
  ...{ name: "performerAttention", cannot: cannotOf.performerAttention, late: "linear" },
  inputs: usedBy,
  work: workOf,
  rows: countRows,
};

/** Its gradients. */
export const performerBackward: Operation<PerformerPass, PerformerGradientTarget> = {
  ...{ name: "backward", cannot: cannotOf.performerAttentionWithGradient, late: "linear" },
  inputs: ({ plan, dOut }) => ({ ...usedBy(plan), dOut }),
  work: () => 0, // A GPU has none of them.
  rows: ({ plan }) => countRows(plan),
};

/** A step of a state. */
export const performerStep: Operation<PerformerStep, PerformerTarget> = {
  ...{ name: "step", cannot: cannotOf.step, late: "linear" },
  inputs: ({ plan, state, position }) => ({
    ...usedBy(plan),
    // The first step packs it.
    projection: position === 0 ? plan.projection : null,
    state,
  }),
  work: () => 0, // The state is where it is.
  rows: ({ plan }) => countRows(plan),
};

/** Everything in arrays. */
export type HostPerformerPlan = PerformerPlan<View>;

/** Rows that a state sums before it adds them to those before. */
export const rowsOfStatePart = 64;

/** Numbers that a head needs: its packed projection, and sums over its keys. */
export interface HeadSizes {
  readonly projection: number;
  readonly sums: number;
}

/** Sizes of what a plan needs of each head: eight features are side by side, and four columns of values. */
export function sizesOf({ features, dim, valueDim }: PerformerShape): HeadSizes {
  const lanes = roundUp(features, 8);
  return {
    projection: lanes * (dim + 2 + roundUp(dim, 4)),
    sums: lanes * (roundUp(valueDim, 4) + 2),
  };
}

function roundUp(count: number, unit: number): number {
  return Math.ceil(count / unit) * unit;
}

/** Heads that have projections of their own. */
export function countProjections({ projection, keyHeads }: PerformerShape): number {
  return projection.strides[1] === 0 ? 1 : keyHeads;
}

/** Numbers of a state: packed projections, then for each head sums, their rests and the sums of a part. */
export function numbersOfState(shape: PerformerShape): number {
  const { projection, sums } = sizesOf(shape);
  return countProjections(shape) * projection + shape.batch * shape.keyHeads * 3 * sums;
}
