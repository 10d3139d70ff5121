/**
 * Forward as one of several calls that are submitted together: its tensors are all on the GPU.
 *
 * @module
 */

import { type AttentionPlan, countRows, hasUncounted } from "../../operations/attention/plan.ts";
import type { Target } from "../../operations/attention/target.ts";
import type { Course } from "../device/course.ts";
import type { WebGpuPages } from "../pages/pages.ts";
import { prepareCall, regionsOf, workOf } from "./call.ts";
import { placeRegion } from "./place.ts";
import { dispatchRegion } from "./record.ts";
import { uncountedOf } from "./uncounted.ts";
import { chooseTile } from "./variants.ts";

/** Dispatches a plan. */
export async function recordForward(
  course: Course,
  plan: AttentionPlan,
  target: Target,
): Promise<void> {
  const { loan, submission } = course, { session } = loan;
  if (plan.kv.kind === "pages") (plan.kv.store as WebGpuPages).open();
  const rest = hasUncounted(plan) ? uncountedOf(plan, target) : [];
  for (const part of [{ plan, target }, ...rest]) {
    if (countRows(part.plan) === 0) continue;
    const tile = chooseTile(part.plan, session.gpu);
    const call = await prepareCall(session, part.plan, part.target, loan, tile);
    for (const region of regionsOf(call, (one) => workOf(call, one) <= session.work)) {
      const placed = await placeRegion(call, region), { partial, tables } = placed;
      dispatchRegion(call, region, placed, submission);
      for (const used of [partial?.acc, partial?.ml, tables?.binding]) {
        submission.free(used?.buffer);
      }
      await course.end(workOf(call, region), false);
    }
  }
}
