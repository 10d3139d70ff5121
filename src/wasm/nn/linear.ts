/**
 * Linear layers on Wasm: rows where they are, or some at a time on their way through linear memory.
 *
 * @module
 */

import type { LinearDType } from "../../operations/nn/options.ts";
import { panelOutputs, panelsAtOnce } from "../../operations/nn/packed.ts";
import type { LinearPlan, RowsPiece } from "../../operations/nn/tokens.ts";
import { threadedWork } from "../attention/jobs.ts";
import { Placer } from "../memory/placer.ts";
import type { Rows } from "../memory/rows.ts";
import { locate } from "../memory/tensor.ts";
import type { JobRecord } from "../record/job_record.ts";
import * as field from "../record/layers.gen.ts";
import { activationKinds, layerKinds, productKinds, weightKinds } from "../record/layers.ts";
import { collectRows, type Place, placeRows, stageRows, writePlace } from "../rows/places.ts";
import { type Jobs, runsOf, runsOfAll, runStaged, wavesOf } from "../rows/staged.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { areHere, placeHere, runAtOnce } from "./at_once.ts";
import { jobRecord, layersProgram, scratchFor, weightAt } from "./program.ts";

/** Rows of a job at most, and bytes that they may have as they are packed: what stays in L2 beside a panel. */
const mostRows = 128, packedBytes = 384 * 1024;

/** Rows of a job at least, where there are as many: fewer than that, and weights are what it waits for. */
const leastRows = 32;

/** Multiply-adds of a wave for each thread, some 15 ms. */
const waveWork = 300e6;

/** Bytes of a wave that pass through linear memory. */
const stagedBytes = 4 * 1024 * 1024;

/** Numbers of the kernels, by what they are of. */
const weights: Readonly<Record<LinearDType, number>> = {
  ...{ f32: weightKinds.weightF32, f16: weightKinds.weightF16, bf16: weightKinds.weightBf16 },
  ...{ int16: weightKinds.weightInt16, int8: weightKinds.weightInt8 },
};

const products = {
  ...{ f32: productKinds.productF32, int16: productKinds.productInt16 },
  int8: productKinds.productInt8,
} as const;

/** Numbers that stand for activations, 0 for none. */
export const activationOf = {
  ...{ gelu: activationKinds.gelu, "gelu-tanh": activationKinds.geluTanh },
  ...{ silu: activationKinds.silu, relu: activationKinds.relu, tanh: activationKinds.tanh },
} as const;

/** How a call is cut. */
interface Cut {
  /** Threads that the work is enough for. */
  readonly threads: number;
  /** Rows and panels of a job. */
  readonly rows: number;
  readonly panels: number;
  /** Bytes of a row that pass through linear memory. */
  readonly staged: number;
}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly plan: LinearPlan;
  readonly cut: Cut;
}

/** Some rows. */
interface Run extends RowsPiece, Rows {}

/** A run with the places of its rows. */
interface PlacedRun extends Run {
  readonly xPlace: Place;
  readonly yPlace: Place | null;
  readonly outPlace: Place;
}

/** Rows of a job as its packed rows and what is staged allow. */
function rowsOfJob(plan: LinearPlan, threads: number, staged: number): number {
  const { rows, packed: { inputs } } = plan;
  const most = Math.min(mostRows, Math.max(leastRows, Math.floor(packedBytes / (inputs * 4))));
  const share = threads === 1 ? most : Math.max(leastRows, Math.ceil(rows / (2 * threads)));
  const fitting = staged === 0 ? Infinity : Math.floor(stagedBytes / staged);
  return Math.max(4, Math.floor(Math.min(most, share, fitting) / 4) * 4);
}

/** How many panels a job has: all, unless there are fewer runs of rows than threads. */
function panelsOfJob(
  { rows, packed: { panels } }: LinearPlan,
  threads: number,
  ofRows: number,
): number {
  const runs = Math.ceil(rows / ofRows);
  if (threads === 1 || runs >= 2 * threads) return panels;
  const parts = Math.ceil(2 * threads / runs);
  return Math.ceil(panels / parts / panelsAtOnce) * panelsAtOnce;
}

function cutCall(machine: Machine, plan: LinearPlan, pieces: readonly RowsPiece[]): Cut {
  const { rows, packed: { inputs, outputs } } = plan, { arena } = machine;
  const threads = rows * inputs * outputs < threadedWork ? 1 : machine.threads;
  let staged = 0;
  for (const { x, y, out } of pieces.slice(0, 1)) {
    for (const view of [x, y, out]) {
      if (view !== null && locate(view, arena) === undefined) staged += view.shape[3] * 4;
    }
  }
  const ofRows = rowsOfJob(plan, threads, staged);
  return { threads, staged, rows: ofRows, panels: panelsOfJob(plan, threads, ofRows) };
}

/** Rows of a linear layer. */
export function linearRows(
  machine: Machine,
  plan: LinearPlan,
  pieces: readonly RowsPiece[],
): Iterable<Step> {
  if (linearAtOnce(machine, plan, pieces)) return [];
  const cut = cutCall(machine, plan, pieces), call = { machine, plan, cut };
  const { inputs, outputs } = plan.packed;
  const most = Math.max(1, Math.floor(cut.threads * waveWork / (inputs * outputs)));
  const rowsOfWave = cut.staged === 0
    ? most
    : Math.min(most, Math.max(1, Math.floor(stagedBytes / cut.staged)) * cut.threads);
  const runs = runsOfAll(pieces, ({ x: { shape } }) => runsOf(shape, cut.rows));
  return runStaged(wavesOf(runs, ({ from, to }) => to - from, rowsOfWave), {
    ...{ machine, threads: cut.threads, program: layersProgram(machine) },
    place: (wave) => placeWave(call, wave),
    rows: (wave) => wave.reduce((sum, { from, to }) => sum + to - from, 0),
  });
}

/** Does a call at once where that takes no turn of the event loop, and no other thread could help. */
function linearAtOnce(
  machine: Machine,
  plan: LinearPlan,
  [piece, ...others]: readonly RowsPiece[],
): boolean {
  const { rows, bias, packed: { inputs, outputs, panels } } = plan;
  const work = rows * inputs * outputs, isShared = machine.threads > 1 && work >= threadedWork;
  if (piece === undefined || others.length > 0 || work > waveWork || isShared) return false;
  const { x, y, out } = piece;
  if (!areHere(machine, [x, y, out, bias])) return false;
  const most = rowsOfJob(plan, 1, 0), biasPlace = bias && placeHere(bias, 0);
  const cut = { threads: 1, rows: most, panels, staged: 0 };
  runAtOnce(machine, rows, most, (record, from, to) => {
    const run = { x, y, out, sum: null, batch: 0, head: 0, from, to };
    const xPlace = placeHere(x, from), yPlace = y && placeHere(y, from);
    writeJob(
      { plan, cut },
      record,
      { ...run, xPlace, yPlace, outPlace: placeHere(out, from) },
      0,
      0,
    );
    if (biasPlace) writePlace(record, field.linearBias, biasPlace, 0);
  });
  return true;
}

const onlyRow: Rows = { batch: 0, head: 0, from: 0, to: 1 };

function placeWave(call: Call, wave: readonly Run[]): { space: Placer; jobs: Jobs } {
  const { machine: { arena }, plan: { bias, packed }, cut } = call, space = new Placer(0);
  const biasPlace = bias && placeRows(bias, onlyRow, arena, space);
  const runs = wave.map((run): PlacedRun => {
    const { x, y, out } = run;
    return {
      ...run,
      xPlace: placeRows(x, run, arena, space),
      yPlace: y && placeRows(y, run, arena, space),
      outPlace: placeRows(out, run, arena, space),
    };
  });
  const parts = Math.ceil(packed.panels / cut.panels), tallest = Math.max(...wave.map(rowsOf));
  const jobs: Jobs = {
    count: runs.length * parts,
    scratch: scratchOf(call, tallest),
    stage(block) {
      if (bias) stageRows(biasPlace!, bias, onlyRow, arena, block);
      for (const run of runs) {
        stageRows(run.xPlace, run.x, run, arena, block);
        if (run.y) stageRows(run.yPlace!, run.y, run, arena, block);
      }
    },
    write(index, block, at) {
      const run = runs[Math.floor(index / parts)], first = index % parts * cut.panels;
      writeJob(call, jobRecord(arena, at), run, first, block);
      if (biasPlace) writePlace(jobRecord(arena, at), field.linearBias, biasPlace, block);
    },
    collect({ at }) {
      for (const run of runs) collectRows(run.outPlace, run.out, run, arena, at);
    },
  };
  return { space, jobs };
}

function rowsOf({ from, to }: Rows): number {
  return to - from;
}

/** What a job's tile memory depends on. */
function writeSizes(record: JobRecord, { packed, precision }: LinearPlan, rows: number): void {
  record.set(field.linearKind, layerKinds.linearRows);
  record.set(field.linearRows, rows);
  record.set(field.linearInputs, packed.inputs);
  record.set(field.linearStored, weights[packed.dtype]);
  record.set(field.linearProduct, products[precision]);
}

function scratchOf({ machine, plan }: Call, rows: number): number {
  return scratchFor(machine, (record) => writeSizes(record, plan, rows));
}

function writeJob(
  { plan, cut }: Pick<Call, "plan" | "cut">,
  record: JobRecord,
  run: PlacedRun,
  firstPanel: number,
  block: number,
): void {
  const { packed, activation } = plan, { panels, panelBytes, scaleBytes, bytes } = packed;
  const weight = weightAt(packed);
  writeSizes(record, plan, rowsOf(run));
  writePlace(record, field.linearX, run.xPlace, block);
  if (run.yPlace) writePlace(record, field.linearY, run.yPlace, block);
  else record.set(field.linearY, 0);
  writePlace(record, field.linearOut, run.outPlace, block);
  record.set(field.linearBias, 0);
  record.set(field.linearOutputs, packed.outputs);
  record.set(field.linearFirstPanel, firstPanel);
  record.set(field.linearEndPanel, Math.min(panels, firstPanel + cut.panels));
  record.set(field.linearWeight, weight);
  record.set(field.linearPanelBytes, panelBytes);
  record.set(field.linearScales, weight + panels * panelBytes);
  record.set(field.linearScaleBytes, scaleBytes);
  record.set(field.linearActivation, activation === null ? 0 : activationOf[activation]);
  record.set(field.linearFinite, weight + bytes - 4);
}

/** Outputs of a panel: who packs weights cuts them where panels end. */
export const outputsAtOnce = panelOutputs * panelsAtOnce;

/** What stands for a weight as it is stored. */
export function storedAs(dtype: LinearDType): number {
  return weights[dtype];
}
