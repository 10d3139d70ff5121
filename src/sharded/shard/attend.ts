/**
 * Attention of a message's rows to what a group has of their sequences.
 *
 * @module
 */

import type { KvCache } from "../../cache/kv_cache.ts";
import type { SignalLike } from "../../check/errors.ts";
import type { Elements } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/tensor.ts";
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

/** The rows of a call's runs, `[batch, rows, Hq, D]`, each at its sequence. */
function gather(
  { cache, attending: { queryHeads }, q }: Rows,
  runs: readonly Run[],
): HostTensor {
  const { batch, headDim } = cache.options, [{ rows, first }] = runs;
  const width = queryHeads * headDim, shape = [batch, rows, queryHeads, headDim];
  const { dtype } = q;
  if (runs.length === 1) {
    // Of the other sequences none counts.
    const strides = [0, width, headDim, 1];
    return { data: q.data, dtype, shape, strides, offset: first * width };
  }
  const Kind = q.data.constructor as new (length: number) => Elements;
  const data = new Kind(batch * rows * width);
  for (const { sequence, first } of runs) {
    const some = q.data.subarray(first * width, (first + rows) * width);
    data.set(some as Float32Array, sequence * rows * width);
  }
  return { data, dtype, shape };
}

/** What a call is asked. */
function optionsOf({ cache, attending: { scale, softcap }, signal }: Rows, runs: readonly Run[]) {
  const { batch } = cache.options, [{ rows, isStill, from, to }] = runs;
  const lengths = new Array<number>(batch).fill(0), offset = new Array<number>(batch).fill(0);
  for (const run of runs) {
    lengths[run.sequence] = rows;
    offset[run.sequence] = run.to - 1;
  }
  const aligned = { causal: true, offset, window: from > 0 ? [to - 1 - from, 0] : undefined };
  const common = { scale, softcap, lengths, layout: "bnhd", lse: true, signal } as const;
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
  for (const { sequence, first, rows } of runs) {
    const from = sequence * rows;
    (to.out.data as Float32Array).set(
      given.out.subarray(from * width, (from + rows) * width),
      first * width,
    );
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < queryHeads; head++) {
        to.lse.data[(first + row) * queryHeads + head] =
          given.lse[(sequence * queryHeads + head) * rows + row];
      }
    }
  }
}

/** Whether a run's last row sees anything here: it sees as much as any. */
function seesAny({ from, to, rows, isStill }: Run): boolean {
  return to + (isStill || from > 0 ? 0 : rows - 1) > from;
}

/** Attends; rows that see nothing here give 0, and -Infinity. */
export async function attendRuns(rows: Rows, runs: readonly Run[]): Promise<PartBody> {
  const { cache, attending: { queryHeads } } = rows, { batch, valueDim } = cache.options;
  const out = new Float32Array(rows.rows * queryHeads * valueDim);
  const lse = new Float32Array(rows.rows * queryHeads).fill(-Infinity);
  const part = { out: { dtype: "f32", data: out }, lse: { dtype: "f32", data: lse } } as const;
  const seeing = runs.filter(seesAny);
  for (const some of callsOf(seeing)) {
    const q = gather(rows, some), [{ rows: count }] = some;
    const data = new Float32Array(batch * count * queryHeads * valueDim);
    const into = { data, shape: [batch, count, queryHeads, valueDim] };
    const given = await cache.attend(q, { ...optionsOf(rows, some), out: into });
    scatter(rows, some, { out: data, lse: (given.lse as { data: Float32Array }).data }, part);
  }
  return part;
}
