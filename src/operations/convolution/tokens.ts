/**
 * Convolutions and their gradients, as operations. Backends know them by these, and load what does them when they are
 * first asked for.
 *
 * @module
 */

import type { Operation } from "../../contract/operation.ts";
import type { AnyView, View } from "../../tensor/tensor.ts";
import { cannotOf, type ConvolutionKind } from "./options.ts";
import { type ConvolutionPlan, countRows } from "./plan.ts";

/** A checked call of gradients. */
export interface ConvolutionBackwardPlan<V extends AnyView = AnyView> {
  /** The call whose gradients are asked for: from zeros on, to a tensor of its own. */
  readonly forward: ConvolutionPlan<V>;
  /** Gradient with respect to `out`. */
  readonly dOut: V;
}

/** Where gradients go: as the plan's `v` and `weights` are in shape and storage. */
export interface ConvolutionGradientTarget<V extends AnyView = AnyView> {
  readonly dv: V;
  /** `[1, H, 1, W]` where rows share their weights. */
  readonly dWeights: V;
}

/** All of a call in arrays. */
export type HostConvolutionBackwardPlan = ConvolutionBackwardPlan<View>;

function token(kind: ConvolutionKind): Operation<ConvolutionPlan, AnyView> {
  return {
    ...{ name: kind, cannot: cannotOf(kind), late: "linear" },
    inputs: ({ v, weights, before, after, out }) => ({ v, weights, before, after, out }),
    work: () => 0, // Of every element that is brought to a GPU, a few products.
    rows: countRows,
  };
}

function gradientToken(
  kind: ConvolutionKind,
): Operation<ConvolutionBackwardPlan, ConvolutionGradientTarget> {
  return {
    ...{ name: `${kind}Backward`, cannot: "Cannot differentiate", late: "linear" },
    inputs: ({ forward: { v, weights }, dOut }) => ({ v, weights, dOut }),
    work: () => 0,
    rows: ({ forward }) => countRows(forward),
  };
}

/** Both convolutions. */
export const convolutions: Readonly<
  Record<ConvolutionKind, Operation<ConvolutionPlan, AnyView>>
> = {
  lightweightConvolution: token("lightweightConvolution"),
  dynamicConvolution: token("dynamicConvolution"),
};

/** The gradients of both. */
export const convolutionGradients: Readonly<
  Record<ConvolutionKind, Operation<ConvolutionBackwardPlan, ConvolutionGradientTarget>>
> = {
  lightweightConvolution: gradientToken("lightweightConvolution"),
  dynamicConvolution: gradientToken("dynamicConvolution"),
};
