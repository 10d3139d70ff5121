/**
 * A run: query positions of one head, of a plan that is done here.
 *
 * @module
 */

import type { AttentionPlan, CachedKeys, TensorKeys } from "../../operations/attention/plan.ts";
import type { View } from "../../tensor/tensor.ts";
import type { WasmPages } from "../pages/pages.ts";

/** A plan whose tensors are in arrays, and whose pages are in linear memory. */
export type HostPlan = AttentionPlan<View, TensorKeys<View> | CachedKeys<WasmPages>>;

/** Query positions `from` to `to` of a segment, for one key/value head. */
export interface Run {
  /** Index among the plan's segments. */
  readonly segment: number;
  readonly keyHead: number;
  readonly from: number;
  readonly to: number;
}
