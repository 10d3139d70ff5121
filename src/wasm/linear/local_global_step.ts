/**
 * Decoding of blocks and summaries on Wasm.
 *
 * @module
 */

import type { HostTarget } from "../../operations/attention/target.ts";
import {
  type Chunk,
  chunksOf,
  planOf,
  rowsFrom,
  targetOf,
} from "../../operations/local_global/chunks.ts";
import type { Kept, LocalGlobalStep } from "../../operations/local_global/tokens.ts";
import type { View } from "../../tensor/tensor.ts";
import { forward } from "../attention/forward.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { summarize } from "./summaries.ts";

/** A plan whose tensors are in arrays. */
type HostStep = LocalGlobalStep<View>;

/** The rows of a step. */
export function* stepLocalGlobal(
  machine: Machine,
  plan: LocalGlobalStep,
  target: HostTarget,
): Generator<Step> {
  const host = plan as HostStep, { kept, before } = host;
  if (before !== null) copyKept(host, before, kept);
  for (const chunk of chunksOf(host)) {
    yield* takeRows(machine, host, chunk);
    yield* forward(machine, planOf(host, chunk), targetOf(target, chunk));
    if (chunk.end === host.block) yield* finishBlock(machine, host, chunk);
  }
}

/** Copies summaries, and the rows of the block that is not over. */
function copyKept({ past, block }: HostStep, from: Kept<View>, to: Kept<View>): void {
  const summaries = Math.floor(past / block), rows = past - summaries * block;
  for (const name of ["k", "v"] as const) {
    const { shape: [batches, heads, length, columns], data } = from[name], target = to[name];
    for (let head = 0; head < batches * heads; head++) {
      const at = head * length * columns, toAt = head * target.shape[2] * columns;
      const copy = (first: number, second: number, count: number) => {
        const source = data.part(at + first * columns, at + (first + count) * columns);
        target.data.part(toAt + second * columns, toAt + (second + count) * columns).set(source);
      };
      copy(0, 0, summaries);
      copy(from.room, to.room, rows);
    }
  }
}

/** New rows come to their block. */
function takeRows(
  machine: Machine,
  plan: HostStep,
  { from, to, first, end }: Chunk,
): Generator<Step> {
  const { kept: { k, v, room }, forward: { kv } } = plan;
  const piece = (x: View, rows: View) => ({
    ...{ x: rowsFrom(x, from, to), rows: rowsFrom(rows, room + first, room + end) },
  });
  return summarize(machine, plan, [piece(kv.k, k), piece(kv.v, v)]);
}

/** The rows of a block become a summary. */
function finishBlock(machine: Machine, plan: HostStep, { block }: Chunk): Generator<Step> {
  const { kept: { k, v, room } } = plan;
  const piece = (rows: View) => ({
    x: rowsFrom(rows, room, room + plan.block),
    summaries: rowsFrom(rows, block, block + 1),
  });
  return summarize(machine, plan, [piece(k), piece(v)]);
}
