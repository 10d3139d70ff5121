/**
 * localGlobalAttention(), its gradients and its decoding, as operations: backends know them by these.
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
export const cannot = "Cannot compute `localGlobalAttention()`";

/** The same where gradients are asked for. */
export const cannotWithGradient = "Cannot compute `localGlobalAttentionWithGradient()`";

/** Blocks of rows, and what makes their summaries. */
export interface Blocks<V extends AnyView = AnyView> {
  /** Rows of a block; the last one may have fewer. */
  readonly block: number;
  /** What they weigh, `[1, 1 or Hkv, 1, block]`, divided by its sum over the rows present; `null` for the same all. */
  readonly pool: V | null;
}

/** A call: attention to summaries of all blocks, and behind them, from row `padded` on, to the rows themselves. */
export interface LocalGlobalPlan<V extends AnyView = AnyView> extends AttendingPlan<V>, Blocks<V> {
  readonly summaries: number;
  readonly padded: number;
}

/** Keys and values that a state has: summaries, and from row `room` on those of the block that is not over. */
export interface Kept<V extends AnyView = AnyView> {
  readonly k: V;
  readonly v: V;
  /** Summaries that there is room for: a multiple of eight. */
  readonly room: number;
}

/** Rows that come to those of a state. Its `kv` are theirs. */
export interface LocalGlobalStep<V extends AnyView = AnyView> extends AttendingPlan<V>, Blocks<V> {
  readonly kept: Kept<V>;
  /** What is copied from before, where there has to be more room, or what there is has to stay as it is. */
  readonly before: Kept<V> | null;
  /** Rows before. */
  readonly past: number;
}

/** Where gradients go. */
export interface LocalGlobalGradients<V extends AnyView = AnyView> {
  readonly dq: V;
  readonly dk: V;
  readonly dv: V;
  readonly dPool: V | null;
}

function rows({ forward }: AttendingPlan): number {
  return countRows(forward);
}

function inputs({ forward, pool }: LocalGlobalPlan) {
  return { ...inputsOf(forward), pool, out: forward.out };
}

/** The function. */
export const localGlobal: Operation<LocalGlobalPlan, Target> = {
  ...{ name: "localGlobalAttention", cannot, late: "linear", inputs, rows },
  work: ({ forward }) => countScores(forward) * (forward.dim + forward.valueDim),
};

/** What messages of states begin with. */
export const cannotStep = "Cannot compute `step()`";

/** Decoding. */
export const localGlobalStep: Operation<LocalGlobalStep, Target> = {
  ...{ name: "step", cannot: cannotStep, late: "linear", rows },
  inputs({ forward, pool, kept, before }) {
    const { k: keptK, v: keptV } = kept,
      { k: beforeK, v: beforeV } = before ?? { k: null, v: null };
    return { ...inputsOf(forward), pool, out: forward.out, keptK, keptV, beforeK, beforeV };
  },
  work: () => 0,
};

/** The same where gradients are asked for. */
export const localGlobalWithGradient: Operation<LocalGlobalPlan, Target> = {
  ...{ ...localGlobal, name: "localGlobalAttentionWithGradient", cannot: cannotWithGradient },
  work: () => 0,
};

/** The gradients. */
export const localGlobalBackward: Operation<AttendingPass<LocalGlobalPlan>, LocalGlobalGradients> =
  {
    ...{ name: "backward", cannot: "Cannot differentiate", late: "linear" },
    inputs({ plan, pass: { dOut, out, lse, dLse } }) {
      return { ...inputs(plan), dOut, result: out, lse, dLse };
    },
    work: () => 0,
    rows: ({ plan }) => rows(plan),
  };
