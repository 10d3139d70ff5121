/**
 * Forward on WebGPU: for each region of a call places tensors, records and submits the kernels, and
 * brings the results to the caller.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import type { Control } from "../../contract/backend.ts";
import { type AttentionPlan, countRows } from "../../operations/attention/plan.ts";
import type { Target } from "../../operations/attention/target.ts";
import { clock } from "../../runtime.ts";
import type { Session } from "../device/session.ts";
import { Loan, Submission } from "../device/submission.ts";
import type { WebGpuPages } from "../pages/pages.ts";
import type { Region } from "../transfer/regions.ts";
import { boxesOf, type Call, prepareCall, regionsOf, rowsOfRegion, workOf } from "./call.ts";
import { placeRegion } from "./place.ts";
import { dispatchRegion } from "./record.ts";
import { chooseTile, type Tile } from "./variants.ts";

/** What stops a call besides its signal. */
export type Check = () => void;

/** Runs a plan; in tiles that are not chosen, where it is searched which are fast. */
export async function forward(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  control: Control,
  check: Check,
  tile: Tile = chooseTile(plan, session.gpu),
): Promise<void> {
  const total = countRows(plan);
  if (total > 0) {
    const loan = new Loan(session);
    try {
      const call = await prepareCall(session, plan, target, loan, tile);
      if (control.encoder === undefined) await runRegions(call, control, check);
      else await recordRegions(call, control.encoder);
    } finally {
      // What a caller's encoder reads must live until it is submitted: nobody else gets it.
      if (control.encoder === undefined) loan.end();
      else loan.leave();
    }
  }
  control.onProgress?.({ done: total, total });
}

/** Runs region after region, none of them for long. */
async function runRegions(call: Call, control: Control, check: Check): Promise<void> {
  const { session } = call;
  const total = countRows(call.plan);
  let done = 0;
  for (const region of regionsOf(call, (one) => workOf(call, one) <= session.work)) {
    throwIfAborted(control.signal);
    check();
    await runRegion(call, region, done + rowsOfRegion(call, region) < total);
    throwIfAborted(control.signal);
    check();
    done += rowsOfRegion(call, region);
    if (done < total) control.onProgress?.({ done, total });
  }
}

/** Submits a region and waits for what the caller is to have. */
async function runRegion(call: Call, region: Region, more: boolean): Promise<void> {
  const { session, loan, out, lse } = call, { device, guard } = session.gpu;
  const placed = await placeRegion(call, region), { partial, tables } = placed;
  const { rows } = boxesOf(call, region, [0, 0]);
  const submission = new Submission(session, "attention"), { kv } = call.plan;
  const pages = kv.kind === "pages" ? kv.store as WebGpuPages : undefined, late = pages?.waits;
  if (late) pages!.flushInto(submission);
  dispatchRegion(call, region, placed, submission);
  placed.lse?.copyOut?.(submission);
  submission.copyBack(placed.out, (bytes) => out.collect(rows, bytes));
  if (placed.lse) submission.copyBack(placed.lse, (bytes) => lse!.collect(rows, bytes));
  for (const used of [partial?.acc, partial?.ml, tables?.binding]) submission.free(used?.buffer);
  const { readsBack } = submission;
  const waits = [submission.submit(loan, "Cannot attend")], start = clock.now();
  if (late) session.staging.reset();
  for (const source of [call.q, call.k, call.v, call.bias, call.mask]) source?.release();
  if (more && !readsBack) waits.push(device.queue.onSubmittedWorkDone().then(() => {}));
  await guard(Promise.all(waits));
  if (more || readsBack) session.learn(workOf(call, region), clock.now() - start);
}

/** Records all regions into the caller's encoder. */
async function recordRegions(call: Call, encoder: GPUCommandEncoder): Promise<void> {
  const submission = new Submission(call.session, "attention");
  for (const region of regionsOf(call, () => true)) {
    dispatchRegion(call, region, await placeRegion(call, region), submission);
  }
  await submission.record(encoder, call.loan, "Cannot attend");
}
