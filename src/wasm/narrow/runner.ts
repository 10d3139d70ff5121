/**
 * Attention of few queries to much that lies in tensors, on Wasm: loaded with its kernels where that is worth it. A head
 * passes through linear memory piece by piece, which takes no memory that grows with its length, on the calling thread:
 * copies take most of the time, and only that thread can make them.
 *
 * @module
 */

import { hasTerms, hasUncounted, type TensorKeys } from "../../operations/attention/plan.ts";
import type { HostTarget } from "../../operations/attention/target.ts";
import type { View } from "../../tensor/tensor.ts";
import {
  clearUncounted,
  collectRun,
  commonJob,
  findResidents,
  resultsOf,
  type RunCall,
  writeRows,
} from "../attention/forward.ts";
import { cutPlan, partsOf, waveWork } from "../attention/jobs.ts";
import { biasOf, placeGroup, writeBand, writeTerms } from "../attention/records.ts";
import type { HostPlan, Run } from "../attention/run.ts";
import { biasBytes, maskBytes, stageMask } from "../attention/terms.ts";
import { type JobSizes, measureJob, panelBytes } from "../attention/workspace.ts";
import { roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import { elementsOver } from "../memory/tensor.ts";
import * as job from "../record/job.gen.ts";
import { JobRecord, type Words } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { Batch } from "../team/team.ts";
import type { Step } from "../team/steps.ts";
import { bringPiece, findSources, rowsOf, type Sources } from "./heads.ts";
import { type KeyPiece, keyPiecesOf, keysPerPiece } from "./key_pieces.ts";
import { narrowProgram, prepareNarrow } from "./program.ts";

/** Addresses of what a head needs; each has them in its turn. */
interface Places {
  readonly keys: number;
  readonly values: number;
  readonly staging: number;
  readonly q: number;
  readonly out: number;
  readonly lse: number;
  readonly lseRest: number;
  readonly panels: number;
  readonly bias: number;
  readonly mask: number;
  readonly records: number;
  readonly scratch: number;
  readonly slopes: number;
  readonly sinks: number;
}

/** What heads have in common. */
interface Call extends RunCall {
  readonly machine: Machine;
  readonly sources: Sources;
  readonly sizes: JobSizes;
  /** Keys of a piece at most. */
  readonly most: number;
  /** Pieces of each segment: those of all its heads are alike. */
  readonly pieces: readonly (readonly KeyPiece[])[];
  readonly places: Places;
  readonly common: Words;
}

/** All queries of a head of a segment. */
function runOf({ segments }: HostPlan, segment: number, keyHead: number): Run {
  return { segment, keyHead, from: 0, to: segments[segment].queries };
}

/** Every head of every segment that has queries. */
function* runsOf(plan: HostPlan): Generator<Run> {
  for (const [segment, { queries }] of plan.segments.entries()) {
    if (queries === 0) continue;
    for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) yield runOf(plan, segment, keyHead);
  }
}

/** Bytes of everything, by the segment that has most of each. */
function layOut(
  space: Placer,
  plan: HostPlan,
  { sizes, most, pieces }: Pick<Call, "sizes" | "most" | "pieces">,
): Places {
  const { dim, valueDim, segments, group } = plan;
  const largest = (of: (run: Run) => number) =>
    segments.reduce((bytes, { queries }, segment) => {
      return Math.max(bytes, queries === 0 ? 0 : of(runOf(plan, segment, 0)));
    }, 0);
  const rows = largest(({ to }) => to * group);
  const keys = Math.min(most, largest(({ segment }) => segments[segment].keys));
  return {
    // Kernels read and write up to three numbers behind the last row.
    keys: space.place(roundUp(keys, 4) * dim * 4 + 12),
    values: space.place(keys * valueDim * 4 + 12),
    staging: space.place(keys * Math.max(dim, valueDim) * 4),
    q: space.place(rows * dim * 4),
    out: space.place(rows * valueDim * 4),
    lse: space.place(rows * 4),
    lseRest: space.place(rows * 4),
    panels: space.place(largest((run) => partsOf(plan, run) + 1) * panelBytes(sizes, rows)),
    bias: space.place(largest((run) => biasBytes(plan, run))),
    mask: space.place(largest((run) => maskBytes(plan, run))),
    records: space.place(largest(({ segment }) => pieces[segment].length) * job.bytes),
    scratch: space.place(sizes.scratch),
    slopes: space.place((plan.slopes?.length ?? 0) * 4),
    sinks: space.place((plan.sinks?.length ?? 0) * 4),
  };
}

/** Runs a plan in steps, as `forward()` does, with the same bits. */
function* attend(machine: Machine, plan: HostPlan, target: HostTarget): Generator<Step> {
  if (hasUncounted(plan)) clearUncounted(plan, target);
  const { kernels, arena } = machine, cut = cutPlan(plan, 1);
  const common = commonJob(machine, plan, target, cut);
  const sizes = measureJob(kernels, arena, common), most = keysPerPiece(plan, cut.tiles.keys);
  const pieces = plan.segments.map((_, segment) =>
    keyPiecesOf(plan, runOf(plan, segment, 0), most)
  );
  const cutInto = { sizes, most, pieces }, measured = new Placer(0);
  layOut(measured, plan, cutInto);
  const block = arena.allocate(measured.end);
  try {
    const places = layOut(new Placer(block), plan, cutInto), { slopes, sinks } = plan;
    if (slopes) elementsOver(arena, places.slopes, slopes.length, "f32").set(slopes);
    if (sinks) elementsOver(arena, places.sinks, sinks.length, "f32").set(sinks);
    const residents = findResidents(plan, target, arena);
    const sources = findSources(plan, plan.kv as TensorKeys<View>, arena);
    const call = { machine, arena, plan, target, residents, sources, ...cutInto, places, common };
    for (const run of runsOf(plan)) yield* attendHead(call, run);
  } finally {
    arena.free(block);
  }
}

/** One head: its pieces one after the other, so many at a time that the event loop gets its turn. */
function* attendHead(call: Call, run: Run): Generator<Step> {
  const { machine, plan, most, places } = call, { dim, valueDim, group } = plan;
  const pieces = call.pieces[run.segment], parts = partsOf(plan, run);
  writeJobs(call, run, pieces);
  const rows = run.to * group, work = rows * most * (dim + valueDim);
  const together = Math.max(1, Math.floor(waveWork / work));
  for (let from = 0; from < pieces.length; from += together) {
    const count = Math.min(together, pieces.length - from);
    const batch: Batch = {
      program: narrowProgram(machine),
      ...{ threads: 1, count, scratch: places.scratch, scratchStride: 0 },
      records: places.records + from * job.bytes,
      before: (index) => bringPiece(machine, plan, call.sources, run, pieces[from + index], places),
    };
    yield { batch, rows: from + count < pieces.length ? 0 : rows };
  }
  if (parts > 1) machine.kernels.combine(places.records, parts);
  collectRun(call, run, places);
}

/** Stages a head's queries and terms, and writes the records of its jobs. */
function writeJobs(call: Call, run: Run, pieces: readonly KeyPiece[]): void {
  const { arena, plan, residents, places, common, sizes } = call;
  const queries = placeGroup(arena, plan, run, plan.q, residents.q, places.q);
  const results = resultsOf(call, run, places), parts = partsOf(plan, run);
  const terms = {
    bias: plan.bias && biasOf(arena, plan, residents.bias, run, places.bias),
    mask: plan.mask && stageMask(arena, plan, run, places.mask),
    intervals: null,
  };
  const bytes = panelBytes(sizes, run.to * plan.group), isTermed = hasTerms(plan);
  const memory = new Int32Array(arena.memory.buffer, places.records);
  for (const [index, piece] of pieces.entries()) {
    memory.set(common, index * job.words);
    const record = new JobRecord(memory, index * job.words), whole = { ...run, member: 0 };
    writeRows(record, { queries, results }, whole, 0);
    writeBand(record, plan.band, plan.segments[run.segment].offset - piece.firstKey);
    record.set(job.keys, piece.keys);
    record.set(job.panels, places.panels + piece.part * bytes);
    record.set(job.begins, Number(piece.begins));
    record.set(job.ends, Number(parts === 1 && index === pieces.length - 1));
    writeHead(record, call, run, piece);
    if (isTermed) writeTerms(plan, places, record, run, terms, { ...whole, ...piece });
  }
}

/** Writes where the keys and values of a piece are. */
function writeHead(record: JobRecord, call: Call, run: Run, piece: KeyPiece): void {
  const { plan, sources: { k, v, keyRows }, places } = call;
  const keys = rowsOf(plan, k, run, piece, places.keys);
  const values = rowsOf(plan, v, run, piece, places.values);
  record.set(job.k, keys.at);
  record.set(job.kRow, keyRows ? keys.row : 0);
  record.set(job.v, values.at);
  record.set(job.vKey, values.row);
  record.set(job.vColumns, 16);
}

/** What runs such plans, and what loads its kernels. */
export const narrow = {
  attend,
  prepare: prepareNarrow,
  isReady: (machine: Machine): boolean => narrowProgram(machine) > 0,
} as const;
