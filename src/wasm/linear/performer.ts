/**
 * Performer attention on Wasm: sums over keys, of parts of them; and rows that look at them. Nothing but the sums of
 * some heads, and some rows on their way, is ever held.
 *
 * @module
 */

import {
  countProjections,
  type HostPerformerPlan,
  type PerformerStep,
  type PerformerTarget,
  rowsOfStatePart,
} from "../../operations/performer/tokens.ts";
import type { View } from "../../tensor/tensor.ts";
import { locate } from "../memory/tensor.ts";
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
  learnJobs,
  learnKeys,
  mostSumBytes,
  packProjections,
  partsOf,
  partsPerWave,
  passing,
  placeRun,
  rowsInTurn,
  rowsOf,
  rowsOfPart,
  rowsOfWave,
  rowsTogether,
  type Run,
  scratchOf,
  stateBytes,
  writeCommon,
  writeRun,
} from "./performer_jobs.ts";
import { type Job, runWave } from "./waves.ts";

/** Query rows of a job that looks at sums over all keys. */
const rowsOfAnswer = 256;

/** Performer attention. */
export function* performerRows(
  machine: Machine,
  plan: HostPerformerPlan,
  { out }: PerformerTarget,
): Generator<Step> {
  if (plan.batch * plan.queries === 0) return;
  const { arena, threads } = machine, sizes = bytesOf(plan), all = plan.batch * plan.keyHeads;
  const atOnce = Math.max(Math.min(all, threads), Math.floor(mostSumBytes / stateBytes(sizes)));
  const count = Math.min(all, atOnce), packed = countProjections(plan) * sizes.projection;
  const block = arena.allocate(packed + count * stateBytes(sizes));
  const call: Call = {
    ...{ machine, plan, sizes, projections: block, part: rowsOfPart },
    scratch: scratchOf(machine, plan, rowsKinds.performerAttend),
  };
  try {
    yield* packProjections(call);
    for (let first = 0; first < all; first += count) {
      const heads = headsFrom(
        plan,
        first,
        Math.min(all, first + count),
        (at) => block + packed + at * stateBytes(sizes),
      );
      yield* plan.causal ? attend(call, heads, out as View) : answer(call, heads, out as View);
    }
  } finally {
    arena.free(block);
  }
}

/** A step of a state, which keeps what a call would have in a block of its own. */
export function* stepPerformer(
  machine: Machine,
  { plan: given, state, position }: PerformerStep,
  { out }: PerformerTarget,
): Generator<Step> {
  const plan = given as HostPerformerPlan, sizes = bytesOf(plan);
  if (plan.batch * plan.queries === 0) return;
  const { at } = locate(state as View, machine.arena)!;
  const packed = countProjections(plan) * sizes.projection;
  const call: Call = {
    ...{ machine, plan, sizes, projections: at, part: rowsOfStatePart },
    scratch: scratchOf(machine, plan, rowsKinds.performerAttend),
  };
  if (position === 0) yield* packProjections(call);
  const heads = headsFrom(
    plan,
    0,
    plan.batch * plan.keyHeads,
    (index) => at + packed + index * stateBytes(sizes),
  );
  // What is before counts by where in its part it ends, and by whether there is any.
  const before = position % rowsOfStatePart + (position < rowsOfStatePart ? 0 : rowsOfStatePart);
  yield* attendInTurn(call, heads, out as View, before);
}

/** Rows that see all keys: sums over these, then the rows. */
function* answer(call: Call, heads: readonly Head[], out: View): Generator<Step> {
  const { machine, plan } = call;
  yield* learnKeys(call, heads);
  const most = Math.max(2 * machine.threads, Math.ceil(rowsOfWave / rowsOfAnswer / plan.group));
  const views = queryViews(plan, out);
  for (const wave of inWaves(partsOf(heads, plan.queries, rowsOfAnswer), most)) {
    yield* runWave(machine, call.scratch, (space) => {
      const places = wave.map((run) => placeRun(call, run, views, space));
      const jobs = wave.map((run, index): Job => (record, base) => {
        writeCommon(record, call, rowsKinds.performerAnswer);
        writeRun(record, call, run, places[index], base);
        record.set(field.performerBefore, run.head.state);
      });
      return { batches: [jobs], ...passing(places), rows: rowsOf(wave, plan) };
    });
  }
}

/** Rows that see no later keys: in turn where there are heads for all threads, else part by part. */
function attend(call: Call, heads: readonly Head[], out: View): Generator<Step> {
  const { machine: { threads }, plan: { queries }, part } = call;
  return heads.length >= threads || queries <= part
    ? attendInTurn(call, heads, out, 0)
    : attendInParts(call, heads, out);
}

/** Each head's rows in turn, some of every head at a time. */
function* attendInTurn(
  call: Call,
  heads: readonly Head[],
  out: View,
  position: number,
): Generator<Step> {
  const { machine, plan, sizes: { sums } } = call, { queries } = plan, most = rowsInTurn(heads);
  const views = [...keyViews(plan), ...queryViews(plan, out)];
  // Steps that begin within a chunk end with one all the same.
  for (let from = 0, to = 0; from < queries; from = to) {
    to = Math.min(queries, from + most - (position + from) % rowsTogether);
    yield* runWave(machine, call.scratch, (space) => {
      const wave = heads.map((head): Run => ({ head, from, to }));
      const places = wave.map((run) => placeRun(call, run, views, space));
      const jobs = wave.map((run, index): Job => (record, base) => {
        writeCommon(record, call, rowsKinds.performerAttend);
        writeRun(record, call, run, places[index], base);
        record.set(field.performerPosition, position + from);
        record.set(field.performerBefore, run.head.state);
        record.set(field.performerLocal, run.head.state + 2 * sums);
        record.set(field.performerAddsParts, 1);
      });
      return { batches: [jobs], ...passing(places), rows: rowsOf(wave, plan) };
    });
  }
}

/** Views of queries and results. */
function queryViews({ q }: HostPerformerPlan, out: View): [number, View][] {
  return [[field.performerQ, q], [field.performerOut, out]];
}

/** Parts by themselves, once it is known what is before each: the keys of each are looked at twice. */
function* attendInParts(call: Call, heads: readonly Head[], out: View): Generator<Step> {
  const { machine, plan, sizes: { sums }, part } = call;
  const views = [...keyViews(plan), ...queryViews(plan, out)];
  for (const wave of inWaves(partsOf(heads, plan.queries, part), partsPerWave(call))) {
    yield* runWave(machine, call.scratch, (space) => {
      const places = wave.map((run) => placeRun(call, run, views, space));
      const slots = space.place(wave.length * 2 * sums);
      const slotAt = (index: number, base: number) => base + slots + index * 2 * sums;
      const jobs = wave.map((run, index): Job => (record, base) => {
        writeCommon(record, call, rowsKinds.performerAttend);
        writeRun(record, call, run, places[index], base);
        record.set(field.performerPosition, run.from);
        record.set(field.performerBefore, slotAt(index, base) + sums);
        record.set(field.performerLocal, slotAt(index, base));
        record.set(field.performerAddsParts, 0);
      });
      return {
        batches: [
          learnJobs(call, wave, places, slotAt),
          addJobs(call, wave, 2 * sums, slotAt),
          jobs,
        ],
        ...passing(places),
        rows: rowsOf(wave, plan),
      };
    });
  }
}
