/**
 * The workspace of one call: every byte that it needs beyond the caller's tensors, taken as one
 * block before the first kernel runs. Constant in N but for one packed key/value head.
 *
 * @module
 */

import type { AttentionPlan } from "../plan.ts";
import { type Arena, roundUp } from "./arena.ts";
import { jobBytes } from "./job_record.ts";
import { positionsPerJob, type Tiles } from "./jobs.ts";

/** Rows of keys or values that are staged at once before they are packed: at most this many bytes. */
const stagingBytes = 256 * 1024;

/** Addresses in linear memory. */
export interface Workspace {
  readonly record: number;
  readonly keys: number;
  readonly values: number;
  readonly staging: number;
  readonly stagingRows: number;
  readonly q: number;
  readonly out: number;
  readonly lse: number;
  readonly scratch: number;
  free(): void;
}

/** What lives elsewhere and needs no place here. */
export interface Elsewhere {
  readonly q: boolean;
  readonly values: boolean;
  readonly out: boolean;
}

/** Takes the workspace of a plan. */
export function takeWorkspace(
  arena: Arena,
  plan: AttentionPlan,
  tiles: Tiles,
  elsewhere: Elsewhere,
): Workspace {
  const { dim, valueDim, group } = plan;
  const rows = positionsPerJob(plan) * group;
  const keys = roundUp(plan.keys, 4);
  const width = Math.max(dim, valueDim);
  const stagingRows = Math.min(keys, Math.max(4, Math.floor(stagingBytes / (width * 16)) * 4));
  const scratchPerRow = 4 * (dim + roundUp(valueDim, 4)) + 24;
  const sizes = {
    record: jobBytes,
    keys: keys * dim * 4,
    values: elsewhere.values ? 0 : plan.keys * roundUp(valueDim, 4) * 4,
    staging: stagingRows * width * 4,
    q: elsewhere.q ? 0 : rows * dim * 4,
    out: elsewhere.out ? 0 : rows * valueDim * 4,
    lse: rows * 4,
    scratch: tiles.rows * scratchPerRow + tiles.keys * 32,
  };
  const total = Object.values(sizes).reduce((sum, bytes) => sum + roundUp(bytes, 64), 0);
  const block = arena.allocate(total);
  let at = block;
  const place = (bytes: number) => {
    const here = at;
    at += roundUp(bytes, 64);
    return here;
  };
  return {
    record: place(sizes.record),
    keys: place(sizes.keys),
    values: place(sizes.values),
    staging: place(sizes.staging),
    stagingRows,
    q: place(sizes.q),
    out: place(sizes.out),
    lse: place(sizes.lse),
    scratch: place(sizes.scratch),
    free: () => arena.free(block),
  };
}
