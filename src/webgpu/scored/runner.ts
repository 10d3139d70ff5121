/**
 * Attention with score and mask functions on a GPU, loaded with its shaders: `forward()`, whose scores go through functions that
 * are written for the call.
 *
 * @module
 */

import type { Control } from "../../contract/backend.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Target } from "../../operations/attention/target.ts";
import type { BackwardPlan } from "../../operations/backward/plan.ts";
import type { GradientTarget } from "../../operations/backward/target.ts";
import type { Extension, PlacedRows } from "../attention/extension.ts";
import { termFields } from "../attention/fields.ts";
import { type Check, forward } from "../attention/forward.ts";
import { tableBytes } from "../attention/tables.ts";
import { chooseTile } from "../attention/variants.ts";
import { backward } from "../backward/backward.ts";
import type { Session } from "../device/session.ts";
import { ScoredGradients } from "./arrays.ts";
import { prepareFunctions, Scored } from "./scored.ts";

/** What a call has of functions. */
function extensionOf(scored: Scored): Extension {
  const { plan } = scored.compiled, filled = new WeakSet<PlacedRows>();
  return {
    code: (constants) => scored.code("forward.wgsl", termFields, constants),
    bytes: () => 0,
    room: (_, region, keyRanges) => tableBytes(plan, region, keyRanges) + scored.bytes(region),
    words: (region, keyRanges) => scored.words(region, tableBytes(plan, region, keyRanges)),
    make(region, rows, _, block, submission) {
      const at = tableBytes(plan, region, rows.keys.map(({ keyRange }) => keyRange));
      if (!filled.has(rows)) scored.copy(submission, rows.tables!.binding, region, at);
      filled.add(rows);
      return scored.uniforms(block, termFields, region, at);
    },
  };
}

/** Runs a plan as `forward()` does. */
export async function attend(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  control: Control,
  check: Check,
): Promise<void> {
  const extension = extensionOf(new Scored(await prepareFunctions(session, plan, false)));
  const tile = { ...chooseTile(plan, session.gpu), extension };
  await forward(session, plan, target, control, check, tile);
}

/** Runs a plan as `backward()` does. */
export async function differentiate(
  session: Session,
  plan: BackwardPlan,
  target: GradientTarget,
  control: Control,
  check: Check,
): Promise<void> {
  const functions = new ScoredGradients(await prepareFunctions(session, plan.forward, true));
  await backward(session, plan, target, control, check, functions);
}
