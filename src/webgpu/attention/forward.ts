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
import { Loan, roles, UniformRing, type UniformSlot } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import type { Region } from "../transfer/regions.ts";
import { boxesOf, type Call, prepareCall, regionsOf, rowsOfRegion, workOf } from "./call.ts";
import { type PlacedRegion, placeRegion } from "./place.ts";
import { recordRegion, type WriteUniforms } from "./record.ts";
import { chooseTile, type Tile } from "./variants.ts";

/** What stops a call beside its signal. */
export type Check = () => void;

/** Runs a plan; in tiles that are not chosen, where it is searched which are fast. */
export async function forward(
  session: Session,
  plan: AttentionPlan,
  target: Target,
  control: Control,
  check: Check,
  tile: Tile = chooseTile(plan),
): Promise<void> {
  const total = countRows(plan);
  if (total > 0) {
    const loan = new Loan(session.pool);
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
  const { session, loan, out, lse } = call;
  const { device, guard } = session.gpu;
  const placed = await placeRegion(call, region);
  loan.attempt(() => submitRegion(call, region, placed));
  const start = clock.now();
  const { rows } = boxesOf(call, region, [0, 0]);
  const waits = [loan.accepted("Cannot attend")];
  if (placed.out.readBack) waits.push(out.collect(rows, placed.out.readBack));
  if (placed.lse?.readBack) waits.push(lse!.collect(rows, placed.lse.readBack));
  if (more && waits.length === 1) waits.push(device.queue.onSubmittedWorkDone().then(() => {}));
  await guard(Promise.all(waits));
  if (waits.length > 1) session.learn(workOf(call, region), clock.now() - start);
}

/** Records and submits a region in one go. */
function submitRegion(call: Call, region: Region, placed: PlacedRegion): void {
  const { session, loan } = call;
  const { device } = session.gpu;
  const encoder = device.createCommandEncoder({ label: "FlashTile attention" });
  // A slot of the ring must not come round again before it is submitted.
  const write: WriteUniforms = countDispatches(call, placed) <= UniformRing.slots
    ? (block) => session.uniforms.write(block)
    : (block) => ownUniforms(device, block);
  recordRegion(call, region, placed, encoder, write);
  for (const window of [placed.out, placed.lse]) {
    window?.copyOut?.(encoder);
    if (!window?.readBack && !window?.copyOut) continue;
    if (window.readBack) {
      encoder.copyBufferToBuffer(window.buffer, 0, window.readBack, 0, window.size);
    }
    loan.give(window.buffer);
  }
  device.queue.submit([encoder.finish()]);
  for (const source of [call.q, call.k, call.v, call.bias, call.mask]) source?.settle();
  const { partial, tables } = placed;
  for (const used of [partial?.acc, partial?.ml, tables?.binding]) if (used) loan.give(used.buffer);
}

function countDispatches({ plan, valueVectors, merge }: Call, { keys }: PlacedRegion): number {
  const blocks = Math.ceil(plan.valueDim / 4 / valueVectors);
  return blocks * (keys.length + (merge === null ? 0 : 1));
}

/** Records all regions into the caller's encoder. */
async function recordRegions(call: Call, encoder: GPUCommandEncoder): Promise<void> {
  const { session: { gpu: { device } }, loan } = call;
  const regions = [...regionsOf(call, () => true)];
  const placed: PlacedRegion[] = [];
  for (const region of regions) placed.push(await placeRegion(call, region));
  loan.attempt(() => {
    for (const [index, region] of regions.entries()) {
      recordRegion(call, region, placed[index], encoder, (block) => ownUniforms(device, block));
    }
  });
  await loan.accepted("Cannot attend");
}

/** Uniforms that nobody writes again: nobody knows when the caller submits. */
export function ownUniforms(device: GPUDevice, block: Uint8Array): UniformSlot {
  const buffer = device.createBuffer({
    label: "FlashTile uniforms of a caller's encoder",
    size: block.byteLength,
    usage: roles.uniform,
    mappedAtCreation: true,
  });
  new Uint8Array(buffer.getMappedRange()).set(block);
  buffer.unmap();
  return { buffer, offset: 0, size: block.byteLength };
}
