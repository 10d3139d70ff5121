/**
 * The workspace of one call: every byte that it needs beyond the caller's tensors, taken as one
 * block before the first kernel runs. Constant in N but for one packed key/value head.
 *
 * @module
 */

import type { AttentionPlan } from "../plan.ts";
import { type Arena, roundUp } from "./arena.ts";
import { jobBytes } from "./job_record.ts";
import { type Cut, jobsPerWave } from "./jobs.ts";

/** Rows of keys or values that are staged at once before they are packed: at most this many bytes. */
const stagingBytes = 256 * 1024;

/** Addresses in linear memory; what a wave holds once per head has a stride from slot to slot. */
export interface Workspace {
  readonly records: number;
  readonly keys: number;
  readonly keysStride: number;
  readonly values: number;
  readonly valuesStride: number;
  readonly staging: number;
  readonly stagingRows: number;
  readonly q: number;
  readonly out: number;
  readonly lse: number;
  /** Panels of jobs that are split over keys, once per slot and part. */
  readonly panels: number;
  readonly panelsStride: number;
  /** Tile memory, once per thread. */
  readonly scratch: number;
  readonly scratchStride: number;
  free(): void;
}

/** What lives elsewhere and needs no place here. */
export interface Elsewhere {
  readonly q: boolean;
  readonly values: boolean;
  readonly out: boolean;
}

/** Bytes of a tile's panels. */
function panelBytes(plan: AttentionPlan, { tiles }: Cut): number {
  return tiles.rows * (4 * (plan.dim + roundUp(plan.valueDim, 4)) + 24);
}

/** Bytes of tile memory: what `scratchBytes` of the binary says. */
export function scratchBytes(plan: AttentionPlan, cut: Cut): number {
  return panelBytes(plan, cut) + cut.tiles.keys * 32;
}

/** Takes the workspace of a plan. */
export function takeWorkspace(
  arena: Arena,
  plan: AttentionPlan,
  cut: Cut,
  elsewhere: Elsewhere,
): Workspace {
  const { dim, valueDim, group } = plan;
  const rows = cut.positions * cut.heads * group;
  const width = Math.max(dim, valueDim);
  const keys = roundUp(plan.keys, 4);
  const stagingRows = Math.min(keys, Math.max(4, Math.floor(stagingBytes / (width * 16)) * 4));
  const keysStride = roundUp(keys * dim * 4, 64);
  const valuesStride = elsewhere.values ? 0 : roundUp(plan.keys * roundUp(valueDim, 4) * 4, 64);
  const panelsStride = cut.parts === 1 ? 0 : panelBytes(plan, cut);
  const scratchStride = roundUp(scratchBytes(plan, cut), 64);
  const sizes = [
    Math.max(jobsPerWave, cut.heads * cut.parts) * jobBytes,
    cut.heads * keysStride,
    cut.heads * valuesStride,
    stagingRows * width * 4,
    elsewhere.q ? 0 : rows * dim * 4,
    elsewhere.out ? 0 : rows * valueDim * 4,
    rows * 4,
    cut.heads * cut.parts * panelsStride,
    cut.threads * scratchStride,
  ].map((bytes) => roundUp(bytes, 64));
  const block = arena.allocate(sizes.reduce((sum, bytes) => sum + bytes, 0));
  let at = block;
  const [records, keysAt, values, staging, q, out, lse, panels, scratch] = sizes.map((bytes) => {
    at += bytes;
    return at - bytes;
  });
  return {
    records,
    keys: keysAt,
    keysStride,
    values,
    valuesStride,
    staging,
    stagingRows,
    q,
    out,
    lse,
    panels,
    panelsStride,
    scratch,
    scratchStride,
    free: () => arena.free(block),
  };
}
