/**
 * Attention of a message's rows to what a group has of their sequences.
 *
 * @module
 */

import type { KvCache } from "../../cache/kv_cache.ts";
import type { SignalLike } from "../../check/errors.ts";
import type { Elements } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/tensor.ts";
import { clock, yieldTurn } from "../../runtime.ts";
import type { Attending, PartBody } from "../messages/bodies.ts";
import type { Block } from "../messages/bytes.ts";
import type { Run } from "./runs.ts";

/** What rows attend with, and to what. */
export interface Rows {
  readonly cache: KvCache;
  readonly attending: Attending;
  readonly q: Block;
  readonly rows: number;
  readonly signal: SignalLike;
}

/** Products of a call at most, so that a shard is heard of between calls: some 15 ms of them. */
const mostProducts = 2 ** 26;

/** A run in pieces that take so long. */
function* piecesOf(run: Run, most: number): Generator<Run> {
  for (let at = 0; at < run.rows; at += most) {
    const { first, isStill, from, to } = run, rows = Math.min(most, run.rows - at);
    const moves = isStill ? 0 : at;
    yield { ...run, first: first + at, rows, from: from > 0 ? from + moves : 0, to: to + moves };
  }
}

/** Runs of different sequences that one call serves. */
function callsOf(runs: readonly Run[]): Run[][] {
  const calls: { readonly key: string; readonly runs: Run[] }[] = [];
  for (const run of runs) {
    const { rows, isStill, from, to, sequence } = run;
    const key = `${rows} ${isStill} ${!isStill && from > 0 ? to - from : ""}`;
    const call = calls.find((one) =>
      one.key === key && one.runs.every((other) => other.sequence !== sequence)
    );
    if (call !== undefined) call.runs.push(run);
    else calls.push({ key, runs: [run] });
  }
  return calls.map(({ runs }) => runs);
}

/** The rows of a call's runs, `[runs, rows, Hq, D]`. */
function gather(
  { cache, attending: { queryHeads }, q }: Rows,
  runs: readonly Run[],
): HostTensor {
  const { headDim } = cache.options, [{ rows, first }] = runs, { dtype } = q;
  const width = queryHeads * headDim, shape = [runs.length, rows, queryHeads, headDim];
  if (runs.length === 1) return { data: q.data, dtype, shape, offset: first * width };
  const Kind = q.data.constructor as new (length: number) => Elements;
  const data = new Kind(runs.length * rows * width);
  for (const [part, { first }] of runs.entries()) {
    const some = q.data.subarray(first * width, (first + rows) * width);
    data.set(some as Float32Array, part * rows * width);
  }
  return { data, dtype, shape };
}

/** What a call is asked. */
function optionsOf({ attending: { scale, softcap }, signal }: Rows, runs: readonly Run[]) {
  const [{ isStill, from, to }] = runs, sequences = runs.map(({ sequence }) => sequence);
  const offset = runs.map(({ to }) => to - 1);
  const aligned = { causal: true, offset, window: from > 0 ? [to - 1 - from, 0] : undefined };
  const common = { scale, softcap, sequences, layout: "bnhd", lse: true, signal } as const;
  return isStill ? common : { ...common, ...aligned };
}

/** Writes what a call gave to where its rows are. */
function scatter(
  { cache, attending: { queryHeads } }: Rows,
  runs: readonly Run[],
  given: { readonly out: Float32Array; readonly lse: Float32Array },
  to: PartBody,
): void {
  const width = queryHeads * cache.options.valueDim;
  for (const [part, { first, rows }] of runs.entries()) {
    const from = part * rows;
    (to.out.data as Float32Array).set(
      given.out.subarray(from * width, (from + rows) * width),
      first * width,
    );
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < queryHeads; head++) {
        to.lse.data[(first + row) * queryHeads + head] =
          given.lse[(part * queryHeads + head) * rows + row];
      }
    }
  }
}

/** Whether a run's last row sees anything here: it sees as much as any. */
function seesAny({ from, to, rows, isStill }: Run): boolean {
  return to + (isStill || from > 0 ? 0 : rows - 1) > from;
}

/** Rows that have seen nothing yet: 0, and -Infinity. */
export function emptyPart({ cache, attending: { queryHeads }, rows }: Rows): PartBody {
  return {
    out: { dtype: "f32", data: new Float32Array(rows * queryHeads * cache.options.valueDim) },
    lse: { dtype: "f32", data: new Float32Array(rows * queryHeads).fill(-Infinity) },
  };
}

/** How long calls may follow one another before whatever else waits has its turn, in milliseconds. */
const sliceMilliseconds = 16;

/** Attends with runs, and writes what they see to where their rows are. */
export async function attendRuns(rows: Rows, runs: readonly Run[], to: PartBody): Promise<void> {
  const { cache, attending: { queryHeads } } = rows, { headDim, valueDim } = cache.options;
  const products = Math.max(1, ...cache.lengths) * queryHeads * (headDim + valueDim);
  const most = Math.max(1, Math.floor(mostProducts / products));
  const pieces = runs.filter(seesAny).flatMap((run) => [...piecesOf(run, most)]);
  let since = clock.now();
  for (const some of callsOf(pieces)) {
    if (clock.now() - since > sliceMilliseconds) {
      await yieldTurn();
      since = clock.now();
    }
    const q = gather(rows, some), [{ rows: count }] = some;
    const data = new Float32Array(some.length * count * queryHeads * valueDim);
    const into = { data, shape: [some.length, count, queryHeads, valueDim] };
    const given = await cache.attend(q, { ...optionsOf(rows, some), out: into });
    scatter(rows, some, { out: data, lse: (given.lse as { data: Float32Array }).data }, to);
  }
}
