/**
 * Gradients of performer attention on Wasm: a pass over queries, from which gradients by sums over keys are known, and
 * one over keys. Where rows see no later keys both go from chunk to chunk, the second one backwards.
 *
 * @module
 */

import {
  countProjections,
  type HostPerformerPlan,
  type PerformerGradientTarget,
  type PerformerPass,
} from "../../operations/performer/tokens.ts";
import type { View } from "../../tensor/tensor.ts";
import type { Placer } from "../memory/placer.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import {
  addJobs,
  bytesOf,
  type Call,
  type Head,
  headsFrom,
  inWaves,
  keyViews,
  learnKeys,
  mostSumBytes,
  ofPass,
  packProjections,
  partsOf,
  partsPerWave,
  passing,
  placeRun,
  rowsInTurn,
  rowsOf,
  rowsOfPart,
  rowsTogether,
  type Run,
  scratchOf,
  stateBytes,
  writeCommon,
  writeRun,
} from "./performer_jobs.ts";
import { type Job, runWave, type Wave } from "./waves.ts";

/** Views by the fields that say where they are. */
type Views = readonly (readonly [field: number, view: View])[];

/** A backward pass under way. */
interface Pass extends Call {
  /** What each pass reads and writes. */
  readonly rowViews: Views;
  readonly keyViews: Views;
  /** Bytes of all that is kept of a head, and where in it are gradients by sums, rows' numbers and exponents. */
  readonly kept: number;
  readonly dState: number;
  readonly inverses: number;
  readonly deltas: number;
  readonly marks: number;
}

/** Bytes of the exponents of sums before a chunk: over the parts before, and of the part under way. */
function markBytes({ features }: HostPerformerPlan): number {
  return Math.ceil(features / 8) * 64;
}

/** What is kept of a head: two numbers a row and the exponents of chunks where rows see no later keys. */
function placesOf(
  plan: HostPerformerPlan,
): Pick<Pass, "kept" | "dState" | "inverses" | "deltas" | "marks"> {
  const state = stateBytes(bytesOf(plan)), { group, queries, causal } = plan;
  const rows = causal ? Math.ceil(group * queries / 4) * 16 : 0;
  const marks = causal ? Math.ceil(queries / rowsTogether) * markBytes(plan) : 0;
  const inverses = 2 * state, deltas = inverses + rows;
  return { dState: state, inverses, deltas, marks: deltas + rows, kept: deltas + rows + marks };
}

/** Gradients. */
export function* performerGradients(
  machine: Machine,
  { plan: given, dOut }: PerformerPass,
  { dq, dk, dv }: PerformerGradientTarget,
): Generator<Step> {
  const plan = given as HostPerformerPlan, all = plan.batch * plan.keyHeads;
  if (all * plan.queries * plan.keys === 0) return; // They are zeros.
  const { arena, threads } = machine, sizes = bytesOf(plan), places = placesOf(plan);
  const atOnce = Math.max(Math.min(all, threads), Math.floor(mostSumBytes / places.kept));
  const count = Math.min(all, atOnce), packed = countProjections(plan) * sizes.projection;
  const block = arena.allocate(packed + count * places.kept);
  const pass: Pass = {
    ...{ machine, plan, sizes, projections: block, part: rowsOfPart, ...places },
    scratch: scratchOf(machine, plan, rowsKinds.performerKeysBackward, true),
    rowViews: [
      [field.performerQ, plan.q],
      [ofPass(field.passDOut), dOut as View],
      [ofPass(field.passDq), dq as View],
    ],
    keyViews: [
      ...keyViews(plan),
      [ofPass(field.passDk), dk as View],
      [ofPass(field.passDv), dv as View],
    ],
  };
  try {
    yield* packProjections(pass);
    for (let first = 0; first < all; first += count) {
      const heads = headsFrom(
        plan,
        first,
        Math.min(all, first + count),
        (at) => block + packed + at * places.kept,
      );
      yield* plan.causal ? backInTurn(pass, heads) : backInParts(pass, heads);
    }
  } finally {
    arena.free(block);
  }
}

/** Says what both passes know of a head, in a job's record and in that of gradients. */
function writePass(record: JobRecord, own: JobRecord, pass: Pass, { head, from }: Run): void {
  const { sizes: { sums }, plan, dState, inverses, deltas, marks } = pass, { state } = head;
  record.set(field.performerPosition, from);
  record.set(field.performerBefore, state);
  record.set(field.performerLocal, state + 2 * sums);
  own.set(field.passDBefore, state + dState);
  own.set(field.passDLocal, state + dState + 2 * sums);
  own.set(field.passInverses, state + inverses + from * 4);
  own.set(field.passDeltas, state + deltas + from * 4);
  own.set(field.passRowsHead, plan.queries * 4);
  own.set(field.passMarks, state + marks + from / rowsTogether * markBytes(plan));
}

/** Writes what is of one pass alone. */
type More = (record: JobRecord, own: JobRecord, index: number, base: number) => void;

/** A wave of jobs of one pass. */
function passWave(
  pass: Pass,
  kind: number,
  wave: readonly Run[],
  views: Views,
  more: More = () => {},
): (space: Placer) => Wave {
  const { machine: { arena } } = pass;
  return (space) => {
    const places = wave.map((run) => placeRun(pass, run, views, space));
    const records = space.place(wave.length * field.passWords * 4);
    const jobs = wave.map((run, index): Job => (record, base) => {
      const at = base + records + index * field.passWords * 4;
      const own = new JobRecord(new Int32Array(arena.memory.buffer), at / 4);
      writeCommon(record, pass, kind);
      record.set(field.performerPass, at);
      writePass(record, own, pass, run);
      writeRun(record, pass, run, places[index], base, own);
      more(record, own, index, base);
    });
    const isLast = kind === rowsKinds.performerKeysBackward;
    return { batches: [jobs], ...passing(places), rows: isLast ? rowsOf(wave, pass.plan) : 0 };
  };
}

/** Both passes, chunk by chunk: on then back. */
function* backInTurn(pass: Pass, heads: readonly Head[]): Generator<Step> {
  const { machine, scratch, plan, rowViews } = pass, { queries } = plan, most = rowsInTurn(heads);
  const { performerRowsBackward, performerKeysBackward } = rowsKinds;
  const views = [...keyViews(plan), ...rowViews];
  for (let from = 0; from < queries; from += most) {
    const wave = heads.map((head): Run => ({ head, from, to: Math.min(queries, from + most) }));
    yield* runWave(machine, scratch, passWave(pass, performerRowsBackward, wave, views));
  }
  const back = [...pass.keyViews, ...rowViews.filter(([at]) => at !== ofPass(field.passDq))];
  for (let from = Math.floor((queries - 1) / most) * most; from >= 0; from -= most) {
    const to = Math.min(queries, from + most),
      wave = heads.map((head): Run => ({ head, from, to }));
    const draft = passWave(pass, performerKeysBackward, wave, back, (record) => {
      record.set(field.performerAddsParts, Number(to === queries));
    });
    yield* runWave(machine, scratch, draft);
  }
}

/** Sums over keys, gradients by them, and gradients by keys, part by part. */
function* backInParts(pass: Pass, heads: readonly Head[]): Generator<Step> {
  const { machine, scratch, plan, sizes: { sums }, part, dState, rowViews } = pass;
  yield* learnKeys(pass, heads);
  const most = partsPerWave(pass), stateOf = ({ state }: Head) => state + dState;
  for (const wave of inWaves(partsOf(heads, plan.queries, part), most)) {
    yield* runWave(machine, scratch, (space) => {
      const slots = space.place(wave.length * sums);
      const slotAt = (index: number, base: number) => base + slots + index * sums;
      const draft = passWave(
        pass,
        rowsKinds.performerRowsBackward,
        wave,
        rowViews,
        (_, own, index, base) => own.set(field.passDLocal, slotAt(index, base)),
      )(space);
      return { ...draft, batches: [...draft.batches, addJobs(pass, wave, sums, slotAt, stateOf)] };
    });
  }
  for (const wave of inWaves(partsOf(heads, plan.keys, part), most)) {
    yield* runWave(
      machine,
      scratch,
      passWave(pass, rowsKinds.performerKeysBackward, wave, pass.keyViews),
    );
  }
}
