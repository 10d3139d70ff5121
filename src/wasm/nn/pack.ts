/**
 * Weights are packed on Wasm: some outputs at a time, where they are or on their way through linear memory.
 *
 * @module
 */

import type { HeldArray } from "../../tensor/arrays.ts";
import type { View } from "../../tensor/tensor.ts";
import { blockInputs, type PackedWeight } from "../../operations/nn/packed.ts";
import type { BlockSource, PackPlan } from "../../operations/nn/tokens.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { locate } from "../memory/tensor.ts";
import type { JobRecord } from "../record/job_record.ts";
import * as field from "../record/layers.gen.ts";
import { layerKinds, weightKinds } from "../record/layers.ts";
import { addressOf, type Place, placeRows, stageRows, writePlace } from "../rows/places.ts";
import { type Jobs, runStaged, wavesOf } from "../rows/staged.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { outputsAtOnce, storedAs } from "./linear.ts";
import { jobRecord, layersProgram, scratchFor, weightAt } from "./program.ts";

/** Bytes of a wave's source, some ms, and elements from which on other threads take part. */
const waveBytes = 4 * 1024 * 1024, threadedElements = 64 * 1024;

/** Bytes of a block, and what it stands for in records. */
const blocks = {
  q8_0: { bytes: 34, kind: weightKinds.sourceQ8 },
  q4_0: { bytes: 18, kind: weightKinds.sourceQ4 },
} as const;

/** Outputs of a panel or of some. */
interface Outputs {
  readonly from: number;
  readonly to: number;
}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly source: View | BlockSource;
  readonly target: PackedWeight;
}

function isView(source: View | BlockSource): source is View {
  return "strides" in source;
}

/** Bytes of a row of the source. */
function rowBytes({ source, target: { inputs } }: Call): number {
  return isView(source) ? inputs * 4 : inputs / blockInputs * blocks[source.dtype].bytes;
}

function* outputsOf({ outputs }: PackedWeight): Generator<Outputs> {
  for (let from = 0; from < outputs; from += outputsAtOnce) {
    yield { from, to: Math.min(outputs, from + outputsAtOnce) };
  }
}

/** Packs a weight. */
export function* packWeight(
  machine: Machine,
  { source }: PackPlan,
  target: PackedWeight,
): Generator<Step> {
  const call = { machine, source, target }, { inputs, outputs, bytes } = target;
  const threads = inputs * outputs < threadedElements ? 1 : machine.threads;
  new Int32Array(machine.arena.memory.buffer, weightAt(target) + bytes - 4, 1)[0] = 1;
  yield* runStaged(
    wavesOf(outputsOf(target), ({ from, to }) => (to - from) * rowBytes(call), waveBytes),
    {
      ...{ machine, threads, program: layersProgram(machine) },
      place: (wave) => placeWave(call, wave),
      rows: (wave) => wave.reduce((sum, { from, to }) => sum + to - from, 0),
    },
  );
}

/** Outputs of a weight as rows. */
function rowsOf({ from, to }: Outputs): Rows {
  return { batch: 0, head: 0, from, to };
}

/** Finds the place of blocks, or reserves one. */
function placeBlocks(call: Call, source: BlockSource, { from, to }: Outputs, space: Placer): Place {
  const data = source.data as HeldArray,
    row = rowBytes(call),
    { kind: storage } = blocks[source.dtype];
  const stays = data.lender === call.machine.arena;
  const at = stays ? data.byteOffset + from * row : space.place((to - from) * row);
  return { stays, at, element: 1, storage, row };
}

function placeWave(call: Call, wave: readonly Outputs[]): { space: Placer; jobs: Jobs } {
  const { machine, source } = call, { arena } = machine, space = new Placer(0);
  const places = wave.map((outputs) =>
    isView(source)
      ? placeRows(source, rowsOf(outputs), arena, space)
      : placeBlocks(call, source, outputs, space)
  );
  const jobs: Jobs = {
    count: wave.length,
    scratch: scratchFor(machine, (record) => writeSizes(record, call)),
    write(index, block, at) {
      stageOutputs(call, places[index], wave[index], block);
      writeJob(jobRecord(arena, at), call, wave[index], places[index], block);
    },
    collect() {},
  };
  return { space, jobs };
}

/** Brings rows of the source to their place. */
function stageOutputs(call: Call, place: Place, outputs: Outputs, block: number): void {
  const { source, machine: { arena } } = call, { from, to } = outputs;
  if (isView(source)) {
    if (locate(source, arena) === undefined) {
      stageRows(place, source, rowsOf(outputs), arena, block);
    }
    return;
  }
  if (place.stays) return;
  const row = rowBytes(call),
    bytes = (source.data as HeldArray<Uint8Array>).part(from * row, to * row);
  new Uint8Array(arena.memory.buffer, addressOf(place, block), bytes.length).set(bytes);
}

/** What a job's tile memory depends on. */
function writeSizes(record: JobRecord, { target: { inputs } }: Call): void {
  record.set(field.packKind, layerKinds.packWeight);
  record.set(field.packInputs, inputs);
}

function writeJob(
  record: JobRecord,
  call: Call,
  { from, to }: Outputs,
  place: Place,
  block: number,
): void {
  const { target } = call, { panels, panelBytes, scaleBytes, dtype, bytes } = target;
  const panel = from / 8, weight = weightAt(target);
  writeSizes(record, call);
  writePlace(record, field.packX, place, block);
  record.set(field.packRows, to - from);
  record.set(field.packWeight, weight + panel * panelBytes);
  record.set(field.packPanelBytes, panelBytes);
  record.set(field.packScales, weight + panels * panelBytes + panel * scaleBytes);
  record.set(field.packScaleBytes, scaleBytes);
  record.set(field.packStored, storedAs(dtype));
  record.set(field.packFinite, weight + bytes - 4);
}
