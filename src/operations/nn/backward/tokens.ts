/**
 * Layers whose gradients are asked for as operations, and backward passes: backends know them by these.
 *
 * @module
 */

import type { Operation } from "../../../contract/operation.ts";
import type { View } from "../../../tensor/tensor.ts";
import type { Activation } from "../options.ts";
import { cannotOf } from "../options.ts";
import type { LinearPlan, RowsPiece, RowsPlan } from "../tokens.ts";

/** What the messages of backward passes begin with. */
export const cannotPass = "Cannot differentiate";

/** A linear layer of a weight as it is: its `packed` only says how it will lie. */
export interface PlainLinearPlan extends LinearPlan {
  /** `[1, 1, outputs, inputs]`, whichever axis is which in memory. */
  readonly weight: View;
  /** Whether it was given as `[inputs, outputs]`, and so is the gradient by it. */
  readonly isTurned: boolean;
}

/** Some of its rows: beside `x` and the gradients by the result what went into the activation, and the gradients by `x`. */
export interface LinearBackwardPiece {
  readonly x: View;
  readonly dOut: View;
  /** `null` where there is no activation. */
  readonly inner: View | null;
  readonly dx: View;
}

/** Gradients of a linear layer. */
export interface LinearBackwardPlan extends RowsPlan {
  readonly weight: View;
  readonly isTurned: boolean;
  readonly activation: Activation | null;
}

/** Where they go: zeros at first, contiguous. */
export interface LinearGradientTarget {
  readonly pieces: readonly LinearBackwardPiece[];
  /** `[1, 1, outputs, inputs]`, or with inputs first where the weight is turned. */
  readonly dWeight: View;
  /** `[1, 1, 1, outputs]`. */
  readonly dBias: View | null;
}

/** Gradients of a norm. */
export interface NormBackwardPlan extends RowsPlan {
  readonly isCentred: boolean;
  readonly weight: View | null;
  readonly eps: number;
  readonly offset: number;
}

/** Where they go. */
export interface NormGradientTarget {
  /** Of each row: what was normalised, the gradients by the result, those by `x`, and those by `sum` if there are any. */
  readonly pieces: readonly RowsPiece[];
  /** `[1, 1, 1, columns]`. */
  readonly dWeight: View | null;
  readonly dBias: View | null;
}

/** Gradients of a function of each number: of each row `x`, the gradients by the result, and those by `x`. */
export interface PointwiseBackwardPlan extends RowsPlan {
  readonly activation: Activation;
}

/** Some rows of a gate. */
export interface GatedBackwardPiece {
  readonly gate: View;
  readonly up: View;
  readonly dOut: View;
  readonly dGate: View;
  readonly dUp: View;
}

/** Gradients by a table. */
export interface EmbeddingBackwardPlan extends RowsPlan {
  readonly ids: Int32Array;
  readonly scale: number;
}

/** Gradients of means. */
export interface MeanBackwardPlan extends RowsPlan {
  readonly bounds: readonly number[];
}

function token<Plan extends RowsPlan, Target>(name: string, cannot: string) {
  return {
    ...{ name, cannot, late: "nn" },
    inputs: ({ used }) => used,
    work: () => 0, // They are for the CPU.
    rows: ({ rows }) => rows,
  } as Operation<Plan, Target>;
}

function backward<Plan extends RowsPlan, Target>(): Operation<Plan, Target> {
  return token("backward", cannotPass);
}

/** A linear layer of a weight that is packed for the call. */
export const plainLinear: Operation<PlainLinearPlan, readonly RowsPiece[]> = token(
  "linearWithGradient",
  cannotOf("linearWithGradient"),
);

/** Backward passes. */
export const linearBackward: Operation<LinearBackwardPlan, LinearGradientTarget> = backward();
export const normBackward: Operation<NormBackwardPlan, NormGradientTarget> = backward();
export const pointwiseBackward: Operation<PointwiseBackwardPlan, readonly RowsPiece[]> = backward();
export const gatedBackward: Operation<PointwiseBackwardPlan, readonly GatedBackwardPiece[]> =
  backward();
export const embeddingBackward: Operation<
  EmbeddingBackwardPlan,
  { readonly dOut: View; readonly dTable: View }
> = backward();
export const meanBackward: Operation<MeanBackwardPlan, { readonly dOut: View; readonly dx: View }> =
  backward();
