/**
 * What convolutions can be asked.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { AnyTensor, Layout } from "../../tensor/tensor.ts";

/** Which of the two: one row of weights a head, or one for each of its rows. */
export type ConvolutionKind = "lightweightConvolution" | "dynamicConvolution";

/** The function that has the gradients of another. */
export function twinOf<Kind extends ConvolutionKind>(kind: Kind): `${Kind}WithGradient` {
  return `${kind}WithGradient`;
}

/** What the messages of a function begin with. */
export function cannotOf(name: string): string {
  return `Cannot compute \`${name}()\``;
}

/** Taps that a row has at most. */
export const mostTaps = 127;

/** Options of `lightweightConvolution()` and `dynamicConvolution()`. */
export interface ConvolutionOptions<
  Out extends AnyTensor | undefined = AnyTensor | undefined,
> {
  /**
   * Whether the last tap is on the row itself, so that no row depends on later ones, instead of the
   * middle tap. Default `false`, as in `attention()`.
   */
  readonly causal?: boolean | undefined;
  /** Order of the axes of all but `[H, W]`; `"bhnd"` by default. */
  readonly layout?: Layout | undefined;
  /** Where the result goes: of the shape of `v`, any storage and strides. A new tensor by default. */
  readonly out?: Out | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Every option, by name. */
export const convolutionNames = [
  "causal",
  "layout",
  "out",
  "signal",
] as const satisfies readonly (keyof ConvolutionOptions)[];

/** Options of the functions with gradients. */
export type ConvolutionGradientOptions = Omit<ConvolutionOptions, "out">;

/** All of them, by name. */
export const convolutionGradientNames = [
  "causal",
  "layout",
  "signal",
] as const satisfies readonly (keyof ConvolutionGradientOptions)[];

/** What a backward pass may be told. */
export type ConvolutionPassOptions = Pick<ConvolutionOptions, "signal">;

/** All of that, by name. */
export const convolutionPassNames = [
  "signal",
] as const satisfies readonly (keyof ConvolutionPassOptions)[];

/** Options of a state. */
export type ConvolutionStateOptions = Pick<ConvolutionOptions, "layout">;

/** All of them, by name. */
export const convolutionStateNames = [
  "layout",
] as const satisfies readonly (keyof ConvolutionStateOptions)[];

/** Options of a step of a state. */
export type ConvolutionStepOptions<
  Out extends AnyTensor | undefined = AnyTensor | undefined,
> = Pick<ConvolutionOptions<Out>, "out" | "signal">;

/** All of them, by name. */
export const convolutionStepNames = [
  "out",
  "signal",
] as const satisfies readonly (keyof ConvolutionStepOptions)[];
