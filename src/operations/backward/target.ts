/**
 * Where gradients go.
 *
 * @module
 */

import type { CapturedElements } from "../../scores/functions.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { AnyView, BroadcastView, View } from "../../tensor/tensor.ts";

/** Where gradients go: zeros at first, where the inputs are; none shares an element with another. */
export interface GradientTarget<V extends AnyView = AnyView> {
  /** As the plan's `q`, `k` and `v` are in shape and storage; `null` where that by values is asked for alone. */
  readonly dq: V | null;
  readonly dk: V | null;
  readonly dv: V;
  /** With stride 0 along the axes that are summed over; `null` where there is no bias. */
  readonly dBias: BroadcastView | null;
  /** By query head, f32; `null` where there are no sinks. */
  readonly dSinks: Float32Array | GPUBuffer | null;
  /** By arrays of a score function that ask for it, f32. */
  readonly captured: ReadonlyMap<CapturedArray, CapturedElements>;
}

/** Gradients in arrays. */
export type HostGradientTarget = GradientTarget<View>;
