/**
 * The layers between attention calls as operations: backends know them by these.
 *
 * @module
 */

import type { Operation, Used } from "../../contract/operation.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Activation, BlockDType, LinearPrecision } from "./options.ts";
import { cannotOf } from "./options.ts";
import type { PackedWeight } from "./packed.ts";

/** What a backend must know of any of these calls before it runs it. */
export interface RowsPlan {
  /** All that it reads, and what is the caller's of what it writes. */
  readonly used: Readonly<Record<string, Used | null>>;
  /** Rows of the result. */
  readonly rows: number;
}

/** Some of a call's rows, `[1, 1, rows, columns]` each, a row of one beside that of another. */
export interface RowsPiece {
  readonly x: View;
  /** What is added, or multiplied with. */
  readonly y: View | null;
  readonly out: View;
  /** Where sums of `x` and `y` go as well. */
  readonly sum: View | null;
}

/** A linear layer. */
export interface LinearPlan extends RowsPlan {
  readonly packed: PackedWeight;
  /** `[1, 1, 1, outputs]`. */
  readonly bias: View | null;
  readonly activation: Activation | null;
  readonly precision: LinearPrecision;
}

/** A norm of rows. */
export interface NormPlan extends RowsPlan {
  /** Whether means are subtracted. */
  readonly isCentred: boolean;
  readonly weight: View | null;
  readonly bias: View | null;
  readonly eps: number;
  readonly offset: number;
}

/** A function of each number, times or plus another. */
export interface PointwisePlan extends RowsPlan {
  readonly activation: Activation | null;
  readonly combine: "none" | "add" | "multiply";
}

/** Rows of a table, which is `x` of the only piece; or outputs of a packed weight. */
export interface EmbeddingPlan extends RowsPlan {
  readonly packed: PackedWeight | null;
  readonly ids: Int32Array;
  readonly scale: number;
}

/** Means of rows of `x` of the only piece. */
export interface MeanPlan extends RowsPlan {
  /** The first row of each, and behind the last. */
  readonly bounds: readonly number[];
}

/** A weight that is packed. */
export interface PackPlan extends RowsPlan {
  /** `[1, 1, outputs, inputs]`; or its bytes, if it is in blocks. */
  readonly source: View | BlockSource;
}

/** A weight in blocks as it was read. */
export interface BlockSource extends Used {
  readonly dtype: BlockDType;
}

function token<Plan extends RowsPlan, Target>(name: string): Operation<Plan, Target> {
  return {
    ...{ name, cannot: cannotOf(name), late: "nn" },
    inputs: ({ used }) => used,
    work: () => 0, // By itself a layer of arrays is not worth the way to a GPU.
    rows: ({ rows }) => rows,
  };
}

/** Packing. */
export const packLinear: Operation<PackPlan, PackedWeight> = {
  ...token<PackPlan, PackedWeight>("packLinear"),
  cannot: "Cannot pack a weight",
};

/** Linear layers. */
export const linear: Operation<LinearPlan, readonly RowsPiece[]> = token("linear");

/** Norms by their functions. */
export const norms = {
  layerNorm: token<NormPlan, readonly RowsPiece[]>("layerNorm"),
  rmsNorm: token<NormPlan, readonly RowsPiece[]>("rmsNorm"),
} as const;

/** Functions of each number. */
export const pointwise = {
  gelu: token<PointwisePlan, readonly RowsPiece[]>("gelu"),
  silu: token<PointwisePlan, readonly RowsPiece[]>("silu"),
  relu: token<PointwisePlan, readonly RowsPiece[]>("relu"),
  tanh: token<PointwisePlan, readonly RowsPiece[]>("tanh"),
  gated: token<PointwisePlan, readonly RowsPiece[]>("gated"),
  add: token<PointwisePlan, readonly RowsPiece[]>("add"),
} as const;

/** Rows of tables. */
export const embedding: Operation<EmbeddingPlan, readonly RowsPiece[]> = token("embedding");

/** Means. */
export const meanRows: Operation<MeanPlan, readonly RowsPiece[]> = token("meanRows");
