/**
 * What layers with gradients can be asked, and what their backward passes can be told.
 *
 * @module
 */

import type { SignalLike } from "../../../check/errors.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import type { Activation } from "../options.ts";

/** A tensor of f32 in an array: what gradients are computed of. */
export type FloatTensor = Tensor<Float32Array>;

/** A tensor of f32 in an array of its own: what they are. */
export type OwnFloatTensor = Tensor<Float32Array<ArrayBuffer>>;

/** Options of layers with gradients. */
export interface LayerGradientOptions {
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Its options, by name. */
export const layerGradientNames = [
  "signal",
] as const satisfies readonly (keyof LayerGradientOptions)[];

/** Options of `linearWithGradient()`. */
export interface LinearGradientOptions extends LayerGradientOptions {
  /** `[outputs]`, added before the activation. */
  readonly bias?: FloatTensor | undefined;
  /** What becomes of each number, before the residual is added; nothing by default. */
  readonly activation?: Activation | undefined;
  /** Added behind everything else, in the shape of the result. */
  readonly residual?: FloatTensor | undefined;
  /** Which axis of `weight` is which: `"out-in"`, the default, as PyTorch's `nn.Linear` has it, or `"in-out"`. */
  readonly layout?: "out-in" | "in-out" | undefined;
}

/** Its options, by name. */
export const linearGradientNames = [
  "bias",
  "activation",
  "residual",
  "layout",
  ...layerGradientNames,
] as const satisfies readonly (keyof LinearGradientOptions)[];

/** Options of `layerNormWithGradient()`. */
export interface LayerNormGradientOptions extends LayerGradientOptions {
  /** Added to the mean of squares; at least 0, 1e-5 by default. */
  readonly eps?: number | undefined;
  /** Added to `x` before, in its shape; the sum is given back. */
  readonly residual?: FloatTensor | undefined;
}

/** Its options, by name. */
export const layerNormGradientNames = [
  "eps",
  "residual",
  ...layerGradientNames,
] as const satisfies readonly (keyof LayerNormGradientOptions)[];

/** Options of `rmsNormWithGradient()`. */
export interface RmsNormGradientOptions extends LayerNormGradientOptions {
  /** Added to the weight, 0 by default. */
  readonly offset?: number | undefined;
}

/** Its options, by name. */
export const rmsNormGradientNames = [
  "offset",
  ...layerNormGradientNames,
] as const satisfies readonly (keyof RmsNormGradientOptions)[];

/** Options of `geluWithGradient()`. */
export interface GeluGradientOptions extends LayerGradientOptions {
  /** `"tanh"` takes the approximation; `"none"`, the default, the error function. */
  readonly approximate?: "none" | "tanh" | undefined;
}

/** Its options, by name. */
export const geluGradientNames = [
  "approximate",
  ...layerGradientNames,
] as const satisfies readonly (keyof GeluGradientOptions)[];

/** Options of `gatedWithGradient()`. */
export interface GatedGradientOptions extends LayerGradientOptions {
  /** What becomes of the gate, `"silu"` by default (SwiGLU). */
  readonly activation?: Activation | undefined;
}

/** Its options, by name. */
export const gatedGradientNames = [
  "activation",
  ...layerGradientNames,
] as const satisfies readonly (keyof GatedGradientOptions)[];

/** Options of `embeddingWithGradient()`. */
export interface EmbeddingGradientOptions extends LayerGradientOptions {
  /** What rows are multiplied by: finite, 1 by default. */
  readonly scale?: number | undefined;
}

/** Its options, by name. */
export const embeddingGradientNames = [
  "scale",
  ...layerGradientNames,
] as const satisfies readonly (keyof EmbeddingGradientOptions)[];

/** What a backward pass may be told. */
export type LayerPassOptions = LayerGradientOptions;

/** What a backward pass of a norm may be told. */
export interface NormPassOptions extends LayerPassOptions {
  /** Gradient by `sum`, where the loss depends on it beside: in its shape. Only of a call with a `residual`. */
  readonly dSum?: FloatTensor | undefined;
}

/** Its options, by name. */
export const normPassNames = [
  "dSum",
  ...layerGradientNames,
] as const satisfies readonly (keyof NormPassOptions)[];

/** The function that has the gradients of another. */
export function twinOf<Name extends string>(name: Name): `${Name}WithGradient` {
  return `${name}WithGradient`;
}
