/**
 * Where the results of attention go.
 *
 * @module
 */

import type { AnyView, View } from "../../tensor/tensor.ts";

/** Where a plan's results go. */
export interface Target<V extends AnyView = AnyView> {
  /** `[B, Hq, Nq, Dv]`; shares no element with an input. */
  readonly out: V;
  /** `[B, Hq, Nq]` with a last axis of 1, f32, where `out` is; or `null`. */
  readonly lse: V | null;
  /** What rounding to f32 took from `lse`, as it; where that is asked for. */
  readonly lseRest?: V | null;
}

/** Results in arrays. */
export type HostTarget = Target<View>;
