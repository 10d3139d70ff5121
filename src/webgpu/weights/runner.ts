/**
 * Weights of attention on a GPU: `backward()` for values alone.
 *
 * @module
 */

import type { Control } from "../../contract/backend.ts";
import type { Runner } from "../../contract/runners.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import {
  attentionWeights,
  rowsOfPart,
  type WeightsPlan,
  type WeightsTarget,
} from "../../operations/weights/tokens.ts";
import type { AnyView } from "../../tensor/tensor.ts";
import { backward } from "../backward/backward.ts";
import type { Machine } from "../device/machine.ts";

/** No gradients but that by values. */
function targetOf(dv: AnyView): GradientTarget {
  return { dv, dq: null, dk: null, dBias: null, dSinks: null, captured: new Map() };
}

async function weighAll(
  { session, open }: Machine,
  plan: WeightsPlan,
  targets: WeightsTarget,
  { signal, onProgress }: Control,
): Promise<void> {
  const total = attentionWeights.rows(plan);
  let done = 0;
  for (const [at, part] of plan.parts.entries()) {
    const differentiate = part.forward.functions === null
      ? backward
      : (await import("../scored/runner.ts")).differentiate;
    const before = done;
    await differentiate(session, part, targetOf(targets[at]), {
      signal,
      onProgress: onProgress && (({ done }) => {
        if (before + done < total) onProgress({ done: before + done, total });
      }),
    }, open);
    done += rowsOfPart(part);
  }
  onProgress?.({ done: total, total });
}

/** The runner. */
export const runner: Runner<Machine, WeightsPlan, WeightsTarget, Promise<void>> = {
  run: weighAll,
};
