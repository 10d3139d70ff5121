/**
 * Norms, functions of each number, rows of tables and means on Wasm: rows where they are, or some at a time on their way
 * through linear memory.
 *
 * @module
 */

import type { PackedWeight } from "../../operations/nn/packed.ts";
import type {
  EmbeddingPlan,
  MeanPlan,
  NormPlan,
  PointwisePlan,
  RowsPiece,
} from "../../operations/nn/tokens.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { elementsOver, locate } from "../memory/tensor.ts";
import type { JobRecord } from "../record/job_record.ts";
import * as field from "../record/layers.gen.ts";
import { activationKinds, combineKinds, layerKinds } from "../record/layers.ts";
import {
  addressOf,
  collectRows,
  type Place,
  placeRows,
  stageRows,
  writePlace,
} from "../rows/places.ts";
import { type Jobs, runsOf, runsOfAll, runStaged, wavesOf } from "../rows/staged.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { areHere, placeHere, runAtOnce } from "./at_once.ts";
import { activationOf, storedAs } from "./linear.ts";
import { jobRecord, layersProgram, scratchFor, weightAt } from "./program.ts";

/** Elements of a job: some 15 us, enough for threads to share; one alone has fewer and larger ones. */
const jobElements = 32 * 1024, jobElementsAlone = 8 * jobElements;

/** Elements of a wave where rows pass through linear memory, and where they stay: some ms. */
const stagedElements = 256 * 1024, residentElements = 4 * 1024 * 1024;

/** Some rows. */
interface Run extends RowsPiece, Rows {}

/** Rows of a run by the word that says where they are. */
interface PlacedRows {
  readonly word: number;
  readonly view: View;
  readonly place: Place;
  readonly isRead: boolean;
}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly threads: number;
  readonly columns: number;
  /** Rows that all share: what columns are multiplied with and added to. */
  readonly shared: readonly (readonly [word: number, view: View | null])[];
  /** What a job is told beside its rows. */
  tell(record: JobRecord): void;
}

const onlyRow: Rows = { batch: 0, head: 0, from: 0, to: 1 };

/** Norms of rows. */
export function normRows(
  machine: Machine,
  plan: NormPlan,
  pieces: readonly RowsPiece[],
): Iterable<Step> {
  const { weight, bias, isCentred, eps, offset } = plan;
  return runLayer(machine, pieces, {
    shared: [[field.layerWeight, weight], [field.layerBias, bias]],
    tell(record) {
      record.set(field.layerKind, layerKinds.normRows);
      record.set(field.layerIsCentred, Number(isCentred));
      record.setFloat(field.layerEps, eps);
      record.setFloat(field.layerOffset, offset);
    },
  });
}

/** Numbers that stand for the derivatives of activations. */
export const slopeOf = {
  ...{ gelu: activationKinds.geluSlope, "gelu-tanh": activationKinds.geluTanhSlope },
  ...{ silu: activationKinds.siluSlope, relu: activationKinds.reluSlope },
  ...{ tanh: activationKinds.tanhSlope },
} as const;

/** Functions of each number. */
export function pointwiseRows(
  machine: Machine,
  { activation, combine }: PointwisePlan,
  pieces: readonly RowsPiece[],
): Iterable<Step> {
  return mapRows(machine, activation === null ? 0 : activationOf[activation], combine, pieces);
}

/** The same by a number that stands for the function, 0 for none. */
export function mapRows(
  machine: Machine,
  activation: number,
  combine: PointwisePlan["combine"],
  pieces: readonly RowsPiece[],
): Iterable<Step> {
  return runLayer(machine, pieces, {
    shared: [],
    tell(record) {
      record.set(field.layerKind, layerKinds.pointwiseRows);
      record.set(field.layerActivation, activation);
      const { combineAdd, combineMultiply } = combineKinds;
      record.set(
        field.layerCombine,
        combine === "none" ? 0 : combine === "add" ? combineAdd : combineMultiply,
      );
    },
  });
}

/** Elements of a run. */
function elementsOf({ x: { shape }, from, to }: Run): number {
  return (to - from) * shape[3];
}

function threadsFor(machine: Machine, elements: number): number {
  return elements > jobElements ? machine.threads : 1;
}

function rowsPerJob(threads: number, columns: number): number {
  const most = threads === 1 ? jobElementsAlone : jobElements;
  return Math.max(1, Math.floor(most / Math.max(1, columns)));
}

function countRows(wave: readonly Rows[]): number {
  return wave.reduce((sum, { from, to }) => sum + to - from, 0);
}

/** Rows that become others, each by itself. */
function runLayer(
  machine: Machine,
  pieces: readonly RowsPiece[],
  rest: Pick<Call, "shared" | "tell">,
): Iterable<Step> {
  const columns = pieces[0]?.x.shape[3] ?? 0;
  const elements = pieces.reduce((sum, { x: { shape } }) => sum + shape[2] * columns, 0);
  const threads = threadsFor(machine, elements), call = { machine, threads, columns, ...rest };
  const stays = pieces.every(({ x, y, out, sum }) => areHere(machine, [x, y, out, sum]));
  const most = rowsPerJob(threads, columns);
  if (stays && threads === 1 && elements <= residentElements) {
    const shared = rest.shared.map(([, view]) => view);
    if (areHere(machine, shared)) return runPieces(call, pieces, most);
  }
  const runs = runsOfAll(pieces, ({ x: { shape } }) => runsOf(shape, most));
  return runStaged(wavesOf(runs, elementsOf, stays ? residentElements : stagedElements), {
    ...{ machine, threads, program: layersProgram(machine) },
    place: (wave) => placeWave(call, wave),
    rows: (wave) => countRows(wave),
  });
}

/** Does at once what is all in linear memory. */
function runPieces(call: Call, pieces: readonly RowsPiece[], most: number): readonly Step[] {
  const place = (record: JobRecord, word: number, view: View | null, from: number) => {
    if (view === null) record.set(word, 0);
    else writePlace(record, word, placeHere(view, from), 0);
  };
  for (const { x, y, out, sum } of pieces) {
    runAtOnce(call.machine, x.shape[2], most, (record, from, to) => {
      writeSizes(record, call);
      record.set(field.layerRows, to - from);
      for (const [word, view] of call.shared) place(record, word, view, 0);
      place(record, field.layerX, x, from);
      place(record, field.layerY, y, from);
      place(record, field.layerOut, out, from);
      place(record, field.layerSum, sum, from);
    });
  }
  return [];
}

/** Places of rows of all kinds that a run has. */
function placeRun({ machine: { arena } }: Call, run: Run, space: Placer): PlacedRows[] {
  const { x, y, out, sum } = run;
  const all = [
    [field.layerX, x, true],
    [field.layerY, y, true],
    [field.layerOut, out, false],
    [field.layerSum, sum, false],
  ] as const;
  return all.flatMap(([word, view, isRead]) =>
    view === null ? [] : [{ word, view, isRead, place: placeRows(view, run, arena, space) }]
  );
}

function placeWave(call: Call, wave: readonly Run[]): { space: Placer; jobs: Jobs } {
  const { machine, shared } = call, { arena } = machine, space = new Placer(0);
  const given = shared.map(([word, view]) =>
    [word, view, view && placeRows(view, onlyRow, arena, space)] as const
  );
  const runs = wave.map((run) => placeRun(call, run, space));
  const jobs: Jobs = {
    count: wave.length,
    scratch: scratchFor(machine, (record) => writeSizes(record, call)),
    stage(block) {
      for (const [, view, place] of given) {
        if (view) stageRows(place!, view, onlyRow, arena, block);
      }
    },
    write(index, block, at) {
      const record = jobRecord(arena, at), run = wave[index];
      writeSizes(record, call);
      record.set(field.layerY, 0);
      record.set(field.layerSum, 0);
      record.set(field.layerRows, run.to - run.from);
      for (const { word, view, place, isRead } of runs[index]) {
        if (isRead) stageRows(place, view, run, arena, block);
        writePlace(record, word, place, block);
      }
      for (const [word, , place] of given) {
        if (place) writePlace(record, word, place, block);
        else record.set(word, 0);
      }
    },
    collect({ at }) {
      for (const [index, rows] of runs.entries()) {
        for (const { view, place, isRead } of rows) {
          if (!isRead) collectRows(place, view, wave[index], arena, at);
        }
      }
    },
  };
  return { space, jobs };
}

/** What a job's tile memory depends on, and what all jobs are told. */
function writeSizes(record: JobRecord, { columns, tell }: Pick<Call, "columns" | "tell">): void {
  record.set(field.layerColumns, columns);
  tell(record);
}

/** Rows of a table by their ids: where it is, or each brought by itself. */
export function embeddingRows(
  machine: Machine,
  { ids, scale, packed }: EmbeddingPlan,
  [{ x: table, out }]: readonly RowsPiece[],
): Iterable<Step> {
  const { arena } = machine, columns = table.shape[3];
  const isHere = packed !== null || locate(table, arena) !== undefined;
  const threads = threadsFor(machine, ids.length * columns);
  const tell = (record: JobRecord) => {
    record.set(field.layerKind, layerKinds.tableRows);
    record.setFloat(field.layerScale, scale);
    writePacked(record, packed);
  };
  const placeTable = (wave: readonly Rows[]) => {
    const space = new Placer(0), stays = isHere ? placeRows(table, onlyRow, arena, space) : null;
    const places = wave.map((run) => ({
      run,
      out: placeRows(out, run, arena, space),
      // As many rows of the table, whichever these are.
      table: stays ?? placeRows({ ...table, shape: out.shape }, run, arena, space),
      ids: space.place((run.to - run.from) * 4),
    }));
    const jobs: Jobs = {
      count: wave.length,
      scratch: scratchFor(machine, (record) => writeSizes(record, { columns, tell })),
      write(index, block, at) {
        const { run, out, table: place, ids: idsAt } = places[index], record = jobRecord(arena, at);
        const wanted = ids.subarray(run.from, run.to);
        writeSizes(record, { columns, tell });
        record.set(field.layerRows, wanted.length);
        writePlace(record, field.layerX, place, block);
        writePlace(record, field.layerOut, out, block);
        record.set(field.layerIds, isHere ? block + idsAt : 0);
        if (isHere) new Int32Array(arena.memory.buffer, block + idsAt, wanted.length).set(wanted);
        else bringRows(table, wanted, machine, addressOf(place, block));
      },
      collect({ at }) {
        for (const place of places) collectRows(place.out, out, place.run, arena, at);
      },
    };
    return { space, jobs };
  };
  const runs = runsOf([1, 1, ids.length, columns], rowsPerJob(threads, columns));
  const elements = ({ from, to }: Rows) => (to - from) * columns;
  return runStaged(wavesOf(runs, elements, stagedElements), {
    ...{ machine, threads, program: layersProgram(machine), place: placeTable, rows: countRows },
  });
}

/** Says where a packed weight is. */
function writePacked(record: JobRecord, packed: PackedWeight | null): void {
  record.set(field.layerPacked, packed === null ? 0 : weightAt(packed));
  if (packed === null) return;
  const { panels, panelBytes, scaleBytes, dtype } = packed;
  record.set(field.layerPanelBytes, panelBytes);
  record.set(field.layerScales, weightAt(packed) + panels * panelBytes);
  record.set(field.layerScaleBytes, scaleBytes);
  record.set(field.layerStored, storedAs(dtype));
}

/** Copies rows of a table one after the other. */
function bringRows(table: View, ids: Int32Array, { arena }: Machine, to: number): void {
  const { shape: [, , , columns], dtype } = table,
    target = elementsOver(arena, to, ids.length * columns, dtype);
  for (let at = 0; at < ids.length; at++) {
    const row = target.subarray(at * columns, (at + 1) * columns);
    copyRowsIn(table, 0, 0, ids[at], ids[at] + 1, row);
  }
}

/** Rows of a sequence, some at a time, and whether they are its first and its last. */
export interface Part extends Rows {
  readonly sequence: number;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** Rows that are summed at a time: a multiple of a run of the kernel's, so that where parts end changes no bit. */
const partRows = 1024;

function* partsOf(bounds: readonly number[]): Generator<Part> {
  for (let sequence = 0; sequence + 1 < bounds.length; sequence++) {
    const first = bounds[sequence], end = bounds[sequence + 1];
    for (let from = first; from === first || from < end; from += partRows) {
      const to = Math.min(end, from + partRows);
      yield { sequence, batch: 0, head: 0, from, to, isFirst: from === first, isLast: to === end };
    }
  }
}

/** Floats that sums of so many columns need. */
export function sumsOf(columns: number): number {
  return columns + 16;
}

/** Rows that are summed, and where they come to, times a number. */
export interface Sums {
  readonly x: View;
  /** Of the sequence that a part is the last of. */
  readonly out: View;
  /** Address of the sums of the sequence under way. */
  readonly sums: number;
  scale(part: Part): number;
}

/** Sums parts of rows, in waves of their own. */
export function sumParts(
  machine: Machine,
  { x, out, sums, scale }: Sums,
  parts: Iterable<Part>,
): Generator<Step> {
  const { arena } = machine, columns = x.shape[3];
  const tell = (record: JobRecord) => {
    record.set(field.layerKind, layerKinds.sumRows);
    record.set(field.layerSums, sums);
  };
  const placePart = ([part]: readonly Part[]) => {
    const space = new Placer(0), { sequence, isFirst, isLast } = part;
    const target = { ...onlyRow, from: sequence, to: sequence + 1 };
    const from = placeRows(x, part, arena, space), to = placeRows(out, target, arena, space);
    const jobs: Jobs = {
      count: 1,
      scratch: scratchFor(machine, (record) => writeSizes(record, { columns, tell })),
      write(_index, block, at) {
        const record = jobRecord(arena, at);
        stageRows(from, x, part, arena, block);
        writeSizes(record, { columns, tell });
        record.set(field.layerRows, part.to - part.from);
        writePlace(record, field.layerX, from, block);
        writePlace(record, field.layerOut, to, block);
        record.set(field.layerIsFirst, Number(isFirst));
        record.set(field.layerIsLast, Number(isLast));
        record.setFloat(field.layerScale, scale(part));
      },
      collect({ at }) {
        if (isLast) collectRows(to, out, target, arena, at);
      },
    };
    return { space, jobs };
  };
  return runStaged(wavesOf(parts, () => 1, 1), {
    ...{ machine, threads: 1, program: layersProgram(machine), place: placePart },
    rows: ([{ isLast }]) => Number(isLast),
  });
}

/** Means of packed sequences: parts of one follow one another. */
export function* meanRowsOf(
  machine: Machine,
  { bounds }: MeanPlan,
  [{ x, out }]: readonly RowsPiece[],
): Generator<Step> {
  const { arena } = machine, sums = arena.allocate(sumsOf(x.shape[3]) * 4);
  const scale = ({ sequence }: Part) => 1 / Math.max(1, bounds[sequence + 1] - bounds[sequence]);
  try {
    yield* sumParts(machine, { x, out, sums, scale }, partsOf(bounds));
  } finally {
    arena.free(sums);
  }
}
