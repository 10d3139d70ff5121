/**
 * What performer attention can be asked.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { AnyTensor, Layout } from "../../tensor/tensor.ts";

/** What the messages of each function begin with. */
export const cannotOf = {
  performerAttention: "Cannot compute `performerAttention()`",
  performerAttentionWithGradient: "Cannot compute `performerAttentionWithGradient()`",
  createPerformerState: "Cannot make a performer's state",
  step: "Cannot compute `step()`",
  performerProjection: "Cannot make a projection",
} as const;

/** Which features: of the softmax, or of a rectified product. */
export type PerformerKernel = "softmax" | "relu";

/** Options that say which features there are. */
export interface PerformerFeatures {
  /**
   * How many features: by default `D ln D` up to the next multiple of 8, as the paper has it, and at least 8. Twice as
   * many halve the square of the error, and double time and memory.
   */
  readonly features?: number | undefined;
  /** Which random features: a whole number from 0 on, 0 by default. The same on every machine. */
  readonly seed?: number | undefined;
  /**
   * Directions of the features instead: `[features, D]`, or `[Hkv, features, D]` for heads of their own, of any
   * storage.
   */
  readonly projection?: AnyTensor | undefined;
  /**
   * `"softmax"` (default) has the features `exp(w^T x - |x|^2 / 2)`, whose products are those of softmax attention on
   * average; `"relu"` has `max(0, w^T x) + 1e-3`.
   */
  readonly kernel?: PerformerKernel | undefined;
  /** Factor of the products of queries and keys, at least 0; default `1 / sqrt(D)`. */
  readonly scale?: number | undefined;
  /** Order of the axes of `q`, `k`, `v` and `out`; default `"bhnd"`. */
  readonly layout?: Layout | undefined;
}

/** Options of `performerAttention()`. */
export interface PerformerOptions extends PerformerFeatures {
  /** Whether row `i` sees keys up to `i` alone; Nq is Nk then. Default `false`. */
  readonly causal?: boolean | undefined;
  /** Where the result goes, of any storage; by default a tensor of its own. */
  readonly out?: AnyTensor | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Options that say which features there are, by name. */
export const featureNames = [
  "features",
  "seed",
  "projection",
  "kernel",
  "scale",
  "layout",
] as const satisfies readonly (keyof PerformerFeatures)[];

/** Every option of `performerAttention()`, by name. */
export const performerNames = [
  ...featureNames,
  "causal",
  "out",
  "signal",
] as const satisfies readonly (keyof PerformerOptions)[];

/** Options of `performerAttentionWithGradient()`: gradients go to tensors of their own. */
export type PerformerGradientOptions = Omit<PerformerOptions, "out">;

/** The same by name. */
export const performerGradientNames = [...featureNames, "causal", "signal"] as const;

/** What a step of a state can be asked. */
export interface PerformerStepOptions extends Pick<PerformerOptions, "out" | "signal"> {}

/** The same by name. */
export const stepNames = ["out", "signal"] as const;

/** What a backward pass can be asked. */
export interface PerformerPassOptions extends Pick<PerformerOptions, "signal"> {}

/** The same by name. */
export const passNames = ["signal"] as const;

/** What `performerProjection()` can be asked. */
export interface PerformerProjectionOptions {
  /** D. */
  readonly dim: number;
  /** How many features, as in {@linkcode PerformerFeatures}. */
  readonly features?: number | undefined;
  /** Which, as in {@linkcode PerformerFeatures}. */
  readonly seed?: number | undefined;
}

/** The same by name. */
export const projectionNames = [
  "dim",
  "features",
  "seed",
] as const satisfies readonly (keyof PerformerProjectionOptions)[];
