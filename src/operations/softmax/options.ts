/**
 * What softmax and its logarithms can be asked.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { AnyTensor, BooleanTensor } from "../../tensor/tensor.ts";

/** Which of the three. */
export type SoftmaxResult = "softmax" | "logSoftmax" | "logSumExp";

/** The function that has the gradients of another. */
export function twinOf<What extends SoftmaxResult>(what: What): `${What}WithGradient` {
  return `${what}WithGradient`;
}

/** What the messages of a function begin with. */
export function cannotOf(name: string): string {
  return `Cannot compute \`${name}()\``;
}

/** Options of `softmax()`, `logSoftmax()` and `logSumExp()`. */
export interface SoftmaxOptions<
  Out extends AnyTensor | undefined = AnyTensor | undefined,
> {
  /** Along which axis, counted from the last where it is negative; -1 by default. */
  readonly axis?: number | undefined;
  /** What elements are multiplied by before: finite, 1 by default. */
  readonly scale?: number | undefined;
  /**
   * Which elements count, 1 = counts: each axis as `x` has it or 1, leading ones may be missing. The others
   * get 0, and -Infinity of `logSoftmax()`.
   */
  readonly mask?: BooleanTensor | undefined;
  /** Where the result goes, of any storage; by default a tensor of its own. */
  readonly out?: Out | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Options of the functions with gradients. */
export type SoftmaxGradientOptions = Omit<SoftmaxOptions, "out">;

/** What a backward pass may be told. */
export type PassOptions = Pick<SoftmaxOptions, "signal">;

/** Its options, by name. */
export const passNames = ["signal"] as const satisfies readonly (keyof PassOptions)[];

/** Options of gradients, by name. */
export const gradientNames = [
  "axis",
  "scale",
  "mask",
  "signal",
] as const satisfies readonly (keyof SoftmaxGradientOptions)[];

/** Every option, by name. */
export const softmaxNames = [
  ...gradientNames,
  "out",
] as const satisfies readonly (keyof SoftmaxOptions)[];
