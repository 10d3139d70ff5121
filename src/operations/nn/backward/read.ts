/**
 * What a call of linearWithGradient() means: read once, checked. Other layers are read as they are without gradients.
 *
 * @module
 */

import type { HeldArray } from "../../../tensor/arrays.ts";
import type { View } from "../../../tensor/tensor.ts";
import type { RowsCall } from "../call.ts";
import { readLinear, readPack } from "../linear.ts";
import type { FloatTensor, LinearGradientOptions } from "./options.ts";
import { plainLinear, type PlainLinearPlan } from "./tokens.ts";

/** Reads a call. What goes into an activation is kept, as a second result. */
export function readPlainLinear(
  givenX: FloatTensor,
  givenWeight: FloatTensor,
  { layout, ...options }: LinearGradientOptions,
  doing: string,
): RowsCall<PlainLinearPlan> {
  const { source, layout: packed } = readPack(givenWeight, { layout }, doing);
  const data = source.data as HeldArray<Float32Array>;
  const { plan, out, ...call } = readLinear(givenX, { ...packed, data }, options, doing);
  const { own: _own, given: _given, ...kept } = out, apart = { own: null, given: null, ...kept };
  return {
    ...{ ...call, out, operation: plainLinear, sum: plan.activation === null ? null : apart },
    plan: {
      ...plan,
      used: { ...plan.used, weight: source },
      weight: source as View,
      isTurned: layout === "in-out",
    },
  };
}
