/**
 * Jobs: how a plan is cut. A job is one batch, one key/value head and a run of query positions; any
 * of them can be done by anyone, in any order, with the same bits.
 *
 * @module
 */

import type { AttentionPlan } from "../plan.ts";
import { roundUp } from "./arena.ts";

/** Sizes of the tiles that a job is computed in. */
export interface Tiles {
  /** Query rows of a tile: a multiple of 8. */
  readonly rows: number;
  /** Keys of a tile: a multiple of 4. */
  readonly keys: number;
}

/** One head's keys and values, packed once for all of its query positions. */
export interface Head {
  readonly batch: number;
  readonly keyHead: number;
}

/** Query positions `from` to `to`. */
export interface Run {
  readonly from: number;
  readonly to: number;
}

/** Query rows of a tile: enough that packing and tile state do not show. */
const tileRows = 64;

/** Bytes of keys and values of a tile: they stay in L2 while the tile's query panels pass. */
const tileBytes = 96 * 1024;

/** Bytes of queries, or of results, that one job stages. */
const runBytes = 256 * 1024;

/** Multiply-adds of a job: some 15 ms of work, so that the event loop gets its turn. */
const runWork = 250e6;

/** Picks the tiles of a plan. */
export function chooseTiles(plan: AttentionPlan): Tiles {
  const perKey = (plan.dim + plan.valueDim) * 4;
  const keys = Math.min(256, Math.max(16, Math.floor(tileBytes / perKey / 16) * 16));
  const rows = Math.min(tileRows, roundUp(Math.max(1, plan.queries * plan.group), 8));
  return { rows, keys: Math.min(keys, roundUp(Math.max(1, plan.keys), 4)) };
}

/** Query positions of one job. */
export function positionsPerJob(plan: AttentionPlan): number {
  const { dim, valueDim, group, keys, queries } = plan;
  const byBytes = runBytes / (Math.max(dim, valueDim) * 4 * group);
  const byWork = runWork / (Math.max(1, keys) * (dim + valueDim) * group);
  // Whole tiles where there is room for one.
  const tile = Math.max(1, Math.floor(tileRows / group));
  const positions = Math.floor(Math.min(byBytes, Math.max(byWork, tile)) / tile) * tile;
  return Math.min(queries, Math.max(1, positions || Math.floor(byBytes)));
}

/** Every head of a plan. */
export function* headsOf(plan: AttentionPlan): Generator<Head> {
  for (let batch = 0; batch < plan.batch; batch++) {
    for (let keyHead = 0; keyHead < plan.keyHeads; keyHead++) yield { batch, keyHead };
  }
}

/** Every run of a head's query positions. */
export function* runsOf(plan: AttentionPlan): Generator<Run> {
  const positions = positionsPerJob(plan);
  for (let from = 0; from < plan.queries; from += positions) {
    yield { from, to: Math.min(from + positions, plan.queries) };
  }
}
