/**
 * softmax(), its logarithms and their gradients, as operations. Backends know them by these, and load what does them
 * when they are first asked for.
 *
 * @module
 */

import type { Operation, Used } from "../../contract/operation.ts";
import type { AnyView, MaskView, View } from "../../tensor/tensor.ts";
import { cannotOf, type SoftmaxResult } from "./options.ts";

/** What a backend must know of a call before it runs it. */
export interface SoftmaxPlan {
  readonly what: SoftmaxResult;
  readonly scale: number;
  /** All that it reads, and what is the caller's of what it writes. */
  readonly used: Readonly<Record<string, Used | null>>;
  readonly rows: number;
}

/** Rows of a softmax, along the last axis. */
export interface SoftmaxPiece<V extends AnyView = AnyView> {
  readonly x: V;
  /** Of a logarithm of sums, one element a row. */
  readonly out: V;
  readonly mask: MaskView | null;
}

/** Rows of its gradients. */
export interface SoftmaxBackwardPiece {
  /** Results; of a logarithm of sums the softmax. */
  readonly y: View;
  /** Gradients by them; of a logarithm of sums one a row. */
  readonly dOut: View;
  readonly dx: View;
}

function token<Piece>(name: string, cannot: string): Operation<SoftmaxPlan, readonly Piece[]> {
  return {
    ...{ name, cannot, late: "rows" },
    inputs: ({ used }) => used,
    work: () => 0, // It reads and writes more than it computes.
    rows: ({ rows }) => rows,
  };
}

/** The operations by what they give. */
export const softmaxOperations: Readonly<
  Record<SoftmaxResult, Operation<SoftmaxPlan, readonly SoftmaxPiece[]>>
> = {
  softmax: token("softmax", cannotOf("softmax")),
  logSoftmax: token("logSoftmax", cannotOf("logSoftmax")),
  logSumExp: token("logSumExp", cannotOf("logSumExp")),
};

/** The gradients of all three. */
export const softmaxBackward: Operation<SoftmaxPlan, readonly SoftmaxBackwardPiece[]> = token(
  "backward",
  "Cannot differentiate",
);
