/**
 * Gradients of convolutions on Wasm: by values a convolution with turned taps; by weights products of rows, which are
 * summed where rows share their weights.
 *
 * @module
 */

import type {
  ConvolutionGradientTarget,
  HostConvolutionBackwardPlan,
} from "../../operations/convolution/tokens.ts";
import { isShared } from "../../operations/convolution/plan.ts";
import type { View } from "../../tensor/tensor.ts";
import { roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { bytes as jobBytes } from "../record/job.gen.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { type Pass, runPass } from "./convolution.ts";
import { collectRows, placeRows, stageRows, writePlace } from "../rows/places.ts";
import { linearKernels } from "./program.ts";

/** The gradients of a convolution. */
export function* convolutionGradients(
  machine: Machine,
  { forward, dOut }: HostConvolutionBackwardPlan,
  { dv, dWeights }: ConvolutionGradientTarget<View>,
): Generator<Step> {
  const { width, lead, v, weights } = forward, isOfHeads = isShared(forward);
  const common = { machine, width, weights, isShared: isOfHeads, before: null, after: null };
  yield* runPass({
    ...{ ...common, kind: rowsKinds.convolution, isTurned: true, lead: width - 1 - lead },
    ...{ x: dOut, g: null, out: dv, sums: null },
  });
  const taps = { ...common, kind: rowsKinds.convolutionTaps, isTurned: false, lead, x: v, g: dOut };
  yield* isOfHeads
    ? runSummed({ ...taps, out: null, sums: null }, dWeights)
    : runPass({ ...taps, out: dWeights, sums: null });
}

/** The record of a job that sums, and what all of them have in common in it. */
function openRecord({ machine: { arena }, width }: Pass, at: number): JobRecord {
  const words = new Int32Array(arena.memory.buffer), record = new JobRecord(words, at / 4);
  words.fill(0, at / 4, (at + jobBytes) / 4);
  record.set(field.convolutionKind, rowsKinds.convolutionSums);
  record.set(field.convolutionWidth, width);
  record.set(field.convolutionIsShared, 1);
  return record;
}

/** Gradients that are sums over all rows of a head: those of each job are added as its wave is collected. */
function* runSummed(pass: Pass, dWeights: View): Generator<Step> {
  const { machine, width, x: { shape: [, heads] } } = pass, { arena } = machine;
  const bytes = roundUp(width * 8, 64), sums = arena.allocateZeroed(heads * bytes);
  const kernels = linearKernels(machine);
  try {
    yield* runPass({
      ...pass,
      sums: {
        bytes,
        add({ head }, partial, scratch, at) {
          const record = openRecord(pass, at);
          record.set(field.convolutionSums, sums + head * bytes);
          record.set(field.convolutionPartial, partial);
          record.set(field.convolutionRows, 1);
          kernels.run(at, scratch);
        },
      },
    });
    for (let head = 0; head < heads; head++) finishHead(pass, dWeights, head, sums + head * bytes);
  } finally {
    arena.free(sums);
  }
}

/** Gradients of a head's weights from their sums. */
function finishHead(pass: Pass, dWeights: View, head: number, sums: number): void {
  const { machine, weights } = pass, { arena } = machine, space = new Placer(0);
  const rows: Rows = { batch: 0, head, from: 0, to: 1 };
  const read = placeRows(weights, rows, arena, space);
  const written = placeRows(dWeights, rows, arena, space);
  const at = space.place(jobBytes), scratch = space.place(scratchOf(pass));
  const block = arena.allocate(space.end);
  try {
    stageRows(read, weights, rows, arena, block);
    const record = openRecord(pass, block + at);
    record.set(field.convolutionSums, sums);
    writePlace(record, field.convolutionW, read, block);
    writePlace(record, field.convolutionY, written, block);
    linearKernels(machine).run(block + at, block + scratch);
    collectRows(written, dWeights, rows, arena, block);
  } finally {
    arena.free(block);
  }
}

function scratchOf(pass: Pass): number {
  const at = pass.machine.kernels.callRecord();
  openRecord(pass, at);
  return linearKernels(pass.machine).scratchBytes(at) >>> 0;
}
