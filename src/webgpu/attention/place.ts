/**
 * Places: where the tensors of a region are on the GPU, with what it needs besides.
 *
 * @module
 */

import type { Binding } from "../device/buffers.ts";
import type { Bound } from "../transfer/box.ts";
import type { Region } from "../transfer/regions.ts";
import { boxesOf, type Call, partialRows } from "./call.ts";
import { tableBytes, type Tables, tablesOf } from "./tables.ts";
import { type KeyRange, keyRangesOf } from "./key_ranges.ts";

/** A range of keys, and where its tensors are. */
export interface PlacedKeys {
  readonly keyRange: KeyRange;
  readonly k: Bound;
  readonly v: Bound;
  readonly bias: Bound | null;
  readonly mask: Bound | null;
}

/** Tables, and what uniforms say of them. */
interface PlacedTables extends Pick<Tables, "values" | "paged"> {
  readonly binding: Binding;
  /** Word where classes are; 0 where there are none. */
  readonly classAt: number;
}

/** Where a region's tensors are. */
export interface PlacedRegion {
  readonly q: Bound;
  readonly keys: readonly PlacedKeys[];
  readonly out: Bound;
  readonly lse: Bound | null;
  readonly partial: { readonly acc: Binding; readonly ml: Binding } | null;
  /** What is looked up; `null` where nothing is. */
  readonly tables: PlacedTables | null;
}

/** Uploads what is not there yet, and takes the buffers that a region needs. */
export async function placeRegion(call: Call, region: Region): Promise<PlacedRegion> {
  const { q, k, v, bias, mask, out, lse, loan, combine, valueVectors } = call;
  const { rows } = boxesOf(call, region, [0, 0]);
  const keyRanges = keyRangesOf(call, region);
  const count = partialRows(call, region, keyRanges);
  const partial = combine && {
    acc: await loan.room(count * valueVectors * 16, "partial results"),
    ml: await loan.room(count * 8, "partial maxima and sums"),
  };
  const keys = [];
  for (const keyRange of keyRanges) {
    const { columns, scores } = boxesOf(call, region, keyRange.keys);
    const placed = { k: await k.place(columns), v: await v.place(columns) };
    const terms = {
      bias: bias && await bias.place(scores),
      mask: mask && await mask.place(scores),
    };
    keys.push({ keyRange, ...placed, ...terms });
  }
  const tables = call.terms ? await placeTables(call, region, keyRanges) : null;
  const placedOut = await out.place(rows), placedLse = lse && await lse.place(rows);
  return { q: await q.place(rows), keys, out: placedOut, lse: placedLse, partial, tables };
}

/** Written through the queue at once, also for a caller's encoder: that is submitted later. */
async function placeTables(call: Call, region: Region, keyRanges: readonly KeyRange[]) {
  const { words, ...said } = tablesOf(call, region, keyRanges);
  const { session, loan, plan } = call;
  const binding = await loan.room(call.room(plan, region, keyRanges), "tables");
  const more = call.tile.extension?.words?.(region, keyRanges);
  loan.attempt(() => {
    const { queue } = session.gpu.device;
    queue.writeBuffer(binding.buffer, 0, words);
    if (more) queue.writeBuffer(binding.buffer, tableBytes(plan, region, keyRanges), more);
  });
  return { ...said, binding, classAt: call.classed ? words.length : 0 };
}
