/**
 * Gradients of functions of each number, of rows of tables and of means, on Wasm: by the kernels of these, but for rows that
 * are added to a table's.
 *
 * @module
 */

import type {
  EmbeddingBackwardPlan,
  GatedBackwardPiece,
  MeanBackwardPlan,
  PointwiseBackwardPlan,
} from "../../../operations/nn/backward/tokens.ts";
import type { RowsPiece } from "../../../operations/nn/tokens.ts";
import { HeldArray } from "../../../tensor/arrays.ts";
import { copyRowsIn } from "../../../tensor/rows.ts";
import type { View } from "../../../tensor/tensor.ts";
import { Placer } from "../../memory/placer.ts";
import type { Rows } from "../../memory/rows.ts";
import * as field from "../../record/layers.gen.ts";
import type { JobRecord } from "../../record/job_record.ts";
import { layerKinds } from "../../record/layers.ts";
import { placeRows, stageRows, writePlace } from "../../rows/places.ts";
import { type Jobs, runsOf, runStaged, wavesOf } from "../../rows/staged.ts";
import type { Machine } from "../../team/machine.ts";
import type { Step } from "../../team/steps.ts";
import { embeddingRows, mapRows, pointwiseRows, slopeOf } from "../layers.ts";
import { jobRecord, layersProgram, scratchFor } from "../program.ts";

/** Gradients of functions of each number. */
export function pointwiseGradients(
  machine: Machine,
  { activation }: PointwiseBackwardPlan,
  pieces: readonly RowsPiece[],
): Iterable<Step> {
  return mapRows(machine, slopeOf[activation], "multiply", pieces);
}

/** Gradients of gates, and of what they let pass. */
export function* gatedGradients(
  machine: Machine,
  { activation, ...plan }: PointwiseBackwardPlan,
  pieces: readonly GatedBackwardPiece[],
): Generator<Step> {
  const rows = (x: keyof GatedBackwardPiece, y: keyof GatedBackwardPiece, out: "dGate" | "dUp") =>
    pieces.map((piece) => ({ x: piece[x], y: piece[y], out: piece[out], sum: null }));
  const multiplied = { ...plan, combine: "multiply" } as const;
  yield* pointwiseRows(machine, { ...multiplied, activation }, rows("gate", "dOut", "dUp"));
  yield* mapRows(machine, slopeOf[activation], "multiply", rows("gate", "up", "dGate"));
  yield* pointwiseRows(
    machine,
    { ...multiplied, activation: null },
    rows("dGate", "dOut", "dGate"),
  );
}

/** Elements of rows that pass through linear memory at a time. */
const waveElements = 256 * 1024;

/** Gradients by a table: rows are added one after the other. */
export function* embeddingGradients(
  machine: Machine,
  { ids, scale }: EmbeddingBackwardPlan,
  { dOut, dTable }: { readonly dOut: View; readonly dTable: View },
): Generator<Step> {
  const { arena } = machine, [, , rows, columns] = dTable.shape;
  const table = arena.allocateZeroed(rows * columns * 4);
  const tell = (record: JobRecord) => {
    record.set(field.layerKind, layerKinds.scatterRows);
    record.set(field.layerColumns, columns);
    record.setFloat(field.layerScale, scale);
    record.set(field.layerSums, table);
  };
  const place = ([run]: readonly Rows[]) => {
    const space = new Placer(0), rowsPlace = placeRows(dOut, run, arena, space);
    const own = ids.subarray(run.from, run.to), idsAt = space.place(own.length * 4);
    const jobs: Jobs = {
      count: 1,
      scratch: scratchFor(machine, tell),
      write(_index, block, at) {
        const record = jobRecord(arena, at);
        tell(record);
        stageRows(rowsPlace, dOut, run, arena, block);
        new Int32Array(arena.memory.buffer, block + idsAt, own.length).set(own);
        writePlace(record, field.layerX, rowsPlace, block);
        record.set(field.layerRows, own.length);
        record.set(field.layerIds, block + idsAt);
      },
      collect() {},
    };
    return { space, jobs };
  };
  const most = Math.max(1, Math.floor(waveElements / Math.max(1, columns)));
  try {
    yield* runStaged(wavesOf(runsOf(dOut.shape, most), () => 1, 1), {
      ...{ machine, threads: 1, program: layersProgram(machine), place },
      rows: ([{ from, to }]) => to - from,
    });
    const sums = new Float32Array(arena.memory.buffer, table, rows * columns);
    (dTable.data as HeldArray<Float32Array>).now().set(sums);
  } finally {
    arena.free(table);
  }
}

/** Gradients of means: each row has a share of its sequence's. */
export function meanGradients(
  machine: Machine,
  { bounds, ...plan }: MeanBackwardPlan,
  { dOut, dx }: { readonly dOut: View; readonly dx: View },
): Iterable<Step> {
  const [, , sequences, columns] = dOut.shape, shares = new Float32Array(sequences * columns);
  const ids = new Int32Array(plan.rows);
  copyRowsIn(dOut, 0, 0, 0, sequences, shares);
  for (let at = 0; at < sequences; at++) {
    const count = bounds[at + 1] - bounds[at],
      row = shares.subarray(at * columns, (at + 1) * columns);
    ids.fill(at, bounds[at], bounds[at + 1]);
    for (let column = 0; column < columns; column++) row[column] /= Math.max(1, count);
  }
  const x: View = {
    ...{ ...dOut, data: new HeldArray<Float32Array>(shares), offset: 0 },
    strides: [0, 0, columns, 1],
  };
  const piece = { x, y: null, out: dx, sum: null };
  return embeddingRows(machine, { ...plan, ids, scale: 1, packed: null }, [piece]);
}
