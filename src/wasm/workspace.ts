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

/**
 * Packed heads of at most this many bytes are held twice, so that the next are packed while the last
 * are read. Of larger ones packing is too small a part to pay for the memory.
 */
const packedAheadBytes = 8 * 1024 * 1024;

/** Where the heads of a wave are packed. */
export interface PackedHeads {
  readonly keys: number;
  readonly values: number;
}

/** Where the rows of a wave are staged, and the records of its jobs. */
export interface StagedRows {
  readonly records: number;
  readonly q: number;
  readonly out: number;
  readonly lse: number;
  /** Panels of jobs that are split over keys, once per slot and part. */
  readonly panels: number;
}

/** Addresses in linear memory; what a wave holds once per head has a stride from slot to slot. */
export interface Workspace {
  /** Two where the next heads are packed while the last are read. */
  readonly packed: readonly PackedHeads[];
  readonly keysStride: number;
  readonly valuesStride: number;
  /** Two where the next wave is staged while the last runs. */
  readonly staged: readonly StagedRows[];
  readonly panelsStride: number;
  /** Rows on their way to be packed. */
  readonly staging: number;
  readonly stagingRows: number;
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
  const copies = copiesOf(plan, cut, cut.heads * (keysStride + valuesStride));
  const strides = { keysStride, valuesStride, panelsStride, stagingRows, scratchStride };
  const layOut = (place: Place) => ({
    ...strides,
    staging: place(stagingRows * width * 4),
    scratch: place(cut.threads * scratchStride),
    packed: twice(copies.packed, () => ({
      keys: place(cut.heads * keysStride),
      values: place(cut.heads * valuesStride),
    })),
    staged: twice(copies.staged, () => ({
      records: place(Math.max(jobsPerWave, cut.heads * cut.parts) * jobBytes),
      q: place(elsewhere.q ? 0 : rows * dim * 4),
      out: place(elsewhere.out ? 0 : rows * valueDim * 4),
      lse: place(rows * 4),
      panels: place(cut.heads * cut.parts * panelsStride),
    })),
  });
  const measured = placer(0);
  layOut(measured.place);
  const block = arena.allocate(measured.end());
  return { ...layOut(placer(block).place), free: () => arena.free(block) };
}

/** Which of a call's places there are twice. */
function copiesOf(plan: AttentionPlan, cut: Cut, packedBytes: number) {
  const groups = Math.ceil(plan.batch * plan.keyHeads / cut.heads);
  const waves = groups * Math.ceil(plan.queries / cut.positions);
  const ahead = cut.threads > 1 && waves > 1 && (groups === 1 || packedBytes <= packedAheadBytes);
  return { staged: ahead, packed: ahead && groups > 1 };
}

function twice<T>(needed: boolean, make: () => T): T[] {
  return needed ? [make(), make()] : [make()];
}

/** Gives so many bytes a place and returns its address. */
type Place = (bytes: number) => number;

/** Places one behind the other, each on cache lines of its own. */
function placer(from: number): { place: Place; end(): number } {
  let end = from;
  const place = (bytes: number) => {
    const at = end;
    end += roundUp(bytes, 64);
    return at;
  };
  return { place, end: () => end };
}
