/**
 * Weights of attention as an operation. Backends know it by this, and load what does it when it is first
 * asked for.
 *
 * @module
 */

import { cannot } from "../../check/words.ts";
import type { Operation, Used } from "../../contract/operation.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import { countScores } from "../attention/plan.ts";
import type { BackwardPlan } from "../backward/plan.ts";

/**
 * A part of a call: the gradient by values, `P^T dOut`, of a `dOut` whose columns pick rows, or sum them
 * (arXiv 2205.14135, algorithm 4, line 16). So all that masks and scores can be is what it is in a backward
 * pass.
 */
export type WeightsPart = BackwardPlan;

/** What a backend must know of a call before it runs it. */
export interface WeightsPlan {
  readonly parts: readonly WeightsPart[];
  readonly used: Readonly<Record<string, Used | null>>;
}

/** Where the results of each part go, as those by values do: `[B, H, Nk, columns]`. */
export type WeightsTarget<V extends AnyView = AnyView> = readonly V[];

/** Query rows of a part, over all heads. */
export function rowsOfPart({ forward: { segments, queryHeads } }: WeightsPart): number {
  return segments.reduce((sum, { queries }) => sum + queries, 0) * queryHeads;
}

/** The operation. */
export const attentionWeights: Operation<WeightsPlan, WeightsTarget> = {
  ...{ name: "attentionWeights", cannot, late: "rows" },
  inputs: ({ used }) => used,
  work: ({ parts }) =>
    parts.reduce((sum, { forward }) => sum + countScores(forward) * forward.dim, 0),
  rows: ({ parts }) => parts.reduce((sum, part) => sum + rowsOfPart(part), 0),
};
