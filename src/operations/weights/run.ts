/**
 * A call of `attentionWeights()` is computed by what is loaded with the first one.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import { inputsOfCall } from "../attention/operation.ts";
import type { KeySums, WeightsResult } from "./options.ts";
import type { WeightsCall } from "./read.ts";

/** Computes a call that was read, which must be done before anything is awaited. What it reads is in use meanwhile. */
export async function runWeights<Data extends TensorData, Sums extends KeySums | undefined>(
  asked: Machinery | Promise<Machinery>,
  call: WeightsCall,
): Promise<WeightsResult<Data, Sums>> {
  const leave = useAll([...Object.values(inputsOfCall(call.plan)), call.lse]);
  try {
    const { computeWeights } = await import("./operation.ts");
    return await computeWeights(asked, call) as unknown as WeightsResult<Data, Sums>;
  } finally {
    leave();
  }
}
