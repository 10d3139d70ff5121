/**
 * Plans of any size, over tensors that take no memory.
 *
 * @module
 */

import type { AttentionOptions, Tensor } from "@flashtile/attention";
import { type AttentionPlan, planAttention } from "../../src/plan.ts";
import { shapesOf, type Sizes, sizesOf } from "./problem.ts";

const nothing = new Float32Array(1);

/** A tensor of this shape that reads one element everywhere. */
function hollow(shape: readonly number[]): Tensor {
  return { data: nothing, shape, strides: shape.map(() => 0) };
}

/** The plan of a call of these sizes. */
export function planOf(
  sizes: Partial<Sizes> & Pick<Sizes, "Nq" | "D">,
  options?: AttentionOptions,
): AttentionPlan {
  const { q, k, v } = shapesOf(sizesOf(sizes));
  return planAttention(hollow(q), hollow(k), hollow(v), options);
}
