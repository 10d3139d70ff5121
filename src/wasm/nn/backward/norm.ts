/**
 * Gradients of norms on Wasm: rows where they are, or some at a time on their way through linear memory. Those by weights and
 * biases are summed over the rows of each job, and those sums in their order.
 *
 * @module
 */

import type {
  NormBackwardPlan,
  NormGradientTarget,
} from "../../../operations/nn/backward/tokens.ts";
import type { RowsPiece } from "../../../operations/nn/tokens.ts";
import type { HeldArray } from "../../../tensor/arrays.ts";
import type { View } from "../../../tensor/tensor.ts";
import { Placer } from "../../memory/placer.ts";
import type { Rows } from "../../memory/rows.ts";
import * as field from "../../record/layers.gen.ts";
import type { JobRecord } from "../../record/job_record.ts";
import { layerKinds } from "../../record/layers.ts";
import { collectRows, type Place, placeRows, stageRows, writePlace } from "../../rows/places.ts";
import { type Jobs, runsOf, runsOfAll, runStaged, wavesOf } from "../../rows/staged.ts";
import type { Machine } from "../../team/machine.ts";
import type { Step } from "../../team/steps.ts";
import { jobRecord, layersProgram, scratchFor } from "../program.ts";

/** Elements of a job, and rows at least and at most: by columns alone, so that bits do not depend on threads. */
const jobElements = 32 * 1024, leastRows = 16, mostRows = 256;

/** Elements of a wave: some ms. */
const waveElements = 256 * 1024;

/** Some rows. */
interface Run extends RowsPiece, Rows {}

const onlyRow: Rows = { batch: 0, head: 0, from: 0, to: 1 };

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly plan: NormBackwardPlan;
  readonly columns: number;
  /** Bytes of a row of sums. */
  readonly sumBytes: number;
  readonly sums: Readonly<Record<"weight" | "bias", Float64Array>>;
}

/** The gradients of a norm. */
export function* normGradients(
  machine: Machine,
  plan: NormBackwardPlan,
  { pieces, dWeight, dBias }: NormGradientTarget,
): Generator<Step> {
  const columns = pieces[0]?.x.shape[3] ?? 0;
  const most = Math.max(
    leastRows,
    Math.min(mostRows, Math.floor(jobElements / Math.max(1, columns))),
  );
  const sums = { weight: new Float64Array(columns), bias: new Float64Array(columns) };
  const call = { machine, plan, columns, sums, sumBytes: Math.ceil(columns / 16) * 64 };
  const elements = plan.rows * columns, threads = elements > jobElements ? machine.threads : 1;
  const runs = runsOfAll(pieces, ({ x: { shape } }) => runsOf(shape, most));
  yield* runStaged(wavesOf(runs, ({ from, to }: Run) => (to - from) * columns, waveElements), {
    ...{ machine, threads, program: layersProgram(machine) },
    place: (wave) => placeWave(call, wave),
    rows: (wave) => wave.reduce((sum, { from, to }) => sum + to - from, 0),
  });
  for (const [target, of] of [[dWeight, sums.weight], [dBias, sums.bias]] as const) {
    if (target) (target.data as HeldArray<Float32Array>).now().set(of);
  }
}

/** Fields that say where rows are, and whether they are written. */
const rowFields = {
  ...{ x: field.layerX, y: field.layerY, sum: field.layerSum, out: field.layerOut },
} as const;

type RowsName = keyof typeof rowFields;

const names = Object.keys(rowFields) as readonly RowsName[];

function placeWave(call: Call, wave: readonly Run[]): { space: Placer; jobs: Jobs } {
  const { machine, plan: { weight } } = call, { arena } = machine, space = new Placer(0);
  const weightPlace = weight && placeRows(weight, onlyRow, arena, space);
  const runs = wave.map((run) => ({
    run,
    places: names.flatMap((name): { name: RowsName; view: View; place: Place }[] => {
      const view = run[name];
      return view === null ? [] : [{ name, view, place: placeRows(view, run, arena, space) }];
    }),
    sums: space.place(2 * call.sumBytes),
  }));
  const jobs: Jobs = {
    count: runs.length,
    scratch: scratchFor(machine, (record) => writeSizes(record, call)),
    stage(block) {
      if (weight) stageRows(weightPlace!, weight, onlyRow, arena, block);
    },
    write(index, block, at) {
      const record = jobRecord(arena, at), { run, places, sums } = runs[index];
      writeSizes(record, call);
      record.set(field.layerRows, run.to - run.from);
      record.set(field.layerSum, 0);
      record.set(field.layerSums, block + sums);
      for (const { name, view, place } of places) {
        if (name !== "out") stageRows(place, view, run, arena, block);
        writePlace(record, rowFields[name], place, block);
      }
      if (weightPlace) writePlace(record, field.layerWeight, weightPlace, block);
      else record.set(field.layerWeight, 0);
    },
    collect({ at }) {
      for (const { run, places, sums } of runs) {
        const written = places.find(({ name }) => name === "out")!;
        collectRows(written.place, written.view, run, arena, at);
        addSums(call, at + sums);
      }
    },
  };
  return { space, jobs };
}

/** What a job's tile memory depends on, and what all jobs are told. */
function writeSizes(record: JobRecord, { plan: { isCentred, eps, offset }, columns }: Call): void {
  record.set(field.layerKind, layerKinds.normBackward);
  record.set(field.layerColumns, columns);
  record.set(field.layerIsCentred, Number(isCentred));
  record.setFloat(field.layerEps, eps);
  record.setFloat(field.layerOffset, offset);
}

/** Adds the sums of a job to those of all. */
function addSums(
  { machine: { arena }, columns, sumBytes, sums: { weight, bias } }: Call,
  at: number,
): void {
  const ofWeight = new Float32Array(arena.memory.buffer, at, columns);
  const ofBias = new Float32Array(arena.memory.buffer, at + sumBytes, columns);
  for (let column = 0; column < columns; column++) {
    weight[column] += ofWeight[column];
    bias[column] += ofBias[column];
  }
}
