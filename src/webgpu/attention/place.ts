/**
 * Places: where the tensors of a region are on the GPU, with what it needs beside them.
 *
 * @module
 */

import { type Binding, roles } from "../device/buffers.ts";
import type { Loan } from "../device/submission.ts";
import type { Parameters } from "../shader/parameters.ts";
import type { Region } from "../transfer/regions.ts";
import type { Bound } from "../transfer/box.ts";
import { boxesOf, type Call, partialRows } from "./call.ts";
import { tableBytes, tablesOf } from "./tables.ts";
import { type KeyWindow, windowsOf } from "./windows.ts";

/** A window of keys, and where its tensors are. */
export interface PlacedKeys {
  readonly window: KeyWindow;
  readonly k: Bound;
  readonly v: Bound;
  readonly bias: Bound | null;
  readonly mask: Bound | null;
}

/** Where a region's tensors are. */
export interface PlacedRegion {
  readonly q: Bound;
  readonly keys: readonly PlacedKeys[];
  readonly out: Bound;
  readonly lse: Bound | null;
  readonly partial: { readonly acc: Binding; readonly ml: Binding } | null;
  /** What is looked up; `null` where nothing is. */
  readonly tables: { readonly binding: Binding; readonly parameters: Parameters } | null;
}

/** Uploads what is not there yet, and takes the buffers that a region needs. */
export async function placeRegion(call: Call, region: Region): Promise<PlacedRegion> {
  const { q, k, v, bias, mask, out, lse, loan, combine, valueVectors } = call;
  const { rows } = boxesOf(call, region, [0, 0]);
  const windows = windowsOf(call, region);
  const count = partialRows(call, region, windows);
  const partial = combine && {
    acc: await take(loan, count * valueVectors * 16, "partial results"),
    ml: await take(loan, count * 8, "partial maxima and sums"),
  };
  const keys = [];
  for (const window of windows) {
    const { columns, scores } = boxesOf(call, region, window.keys);
    const placed = { k: await k.place(columns), v: await v.place(columns) };
    const terms = {
      bias: bias && await bias.place(scores),
      mask: mask && await mask.place(scores),
    };
    keys.push({ window, ...placed, ...terms });
  }
  const tables = call.terms ? await placeTables(call, region, windows) : null;
  const placedOut = await out.place(rows), placedLse = lse && await lse.place(rows);
  return { q: await q.place(rows), keys, out: placedOut, lse: placedLse, partial, tables };
}

/** Bound by what is needed: a buffer of the pool may be larger than a binding can be. */
async function take(loan: Loan, size: number, label: string): Promise<Binding> {
  return { buffer: await loan.take(size, roles.storage, label), offset: 0, size };
}

/** Written through the queue at once, also for a caller's encoder: that is submitted later. */
async function placeTables(call: Call, region: Region, windows: readonly KeyWindow[]) {
  const { words, parameters } = tablesOf(call, region, windows);
  const binding = await take(call.loan, tableBytes(call.plan, region, windows), "tables");
  const { session, loan } = call;
  loan.attempt(() => session.gpu.device.queue.writeBuffer(binding.buffer, 0, words));
  const behind = call.classed && { class_at: words.length };
  return { binding, parameters: { ...parameters, ...behind } };
}
