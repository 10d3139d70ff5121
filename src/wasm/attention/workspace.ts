/**
 * The workspace of one call: every byte that it needs beyond the caller's tensors, taken as one
 * block before the first kernel runs. Constant in N but for one packed key/value head.
 *
 * @module
 */

import { isQuantized } from "../../contract/pages.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import type { WasmPages } from "../pages/pages.ts";
import { jobBytes, keysPerPart, tileHeader } from "../record/job_record.ts";
import { type Cut, jobsPerWave, partsOf, type Wave, wavesOf } from "./jobs.ts";
import { biasBytes, maskBytes } from "./terms.ts";
import { visitBytes } from "./visits.ts";

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
  readonly lseRest: number;
  /** Panels of jobs that are split over keys, once per part. */
  readonly panels: number;
  readonly bias: number;
  readonly mask: number;
  readonly visits: number;
  readonly pages: number;
}

/** What the runs of a wave have of a workspace: bytes, or rows. */
export interface Shares {
  /** Query rows: of each are queries, results and lse. */
  readonly rows: number;
  readonly keys: number;
  readonly values: number;
  readonly panels: number;
  readonly bias: number;
  readonly mask: number;
  readonly visits: number;
  readonly pages: number;
}

/** Addresses in linear memory. */
export interface Workspace {
  /** Two where the next heads are packed while the last are read. */
  readonly packed: readonly PackedHeads[];
  /** Two where the next wave is staged while the last runs. */
  readonly staged: readonly StagedRows[];
  /** ALiBi's slopes and sinks of the whole call. */
  readonly slopes: number;
  readonly sinks: number;
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
  readonly bias: boolean;
  /** Whether what rounding took from `lse` has a place all the same: where it is asked for. */
  readonly rest?: boolean;
}

/** Bytes of a row in a tile's panels: its query, its o, and ten numbers of state. */
function rowBytes({ dim, valueDim }: AttentionPlan): number {
  return 4 * (dim + roundUp(valueDim, 4)) + 40;
}

/** Bytes of tile memory: what `scratchBytes` of the binary says. */
export function scratchBytes(plan: AttentionPlan, { tiles: { rows, keys } }: Cut): number {
  const tile = keys * 32 + tileHeader + roundUp(keys + 32, 16) + pagedBytes(plan, keys);
  return rows * (rowBytes(plan) + sumsBytes(plan)) + tile;
}

/** Bytes of a row in the sums of more than one part, and in what rounding took from them. */
function sumsBytes({ keys, valueDim }: AttentionPlan): number {
  return keys > keysPerPart ? 8 * (roundUp(valueDim, 4) + 2) : 0;
}

/** Bytes of a tile of a cache's keys and values in f32, and of what few queries take beside. */
function pagedBytes({ paged, dim, valueDim }: AttentionPlan, keys: number): number {
  if (paged === null) return 0;
  const { dtype } = paged.store.layout;
  const wide = keys * ((dtype === "f32" ? 0 : dim) + roundUp(valueDim, 4)) * 4;
  // Scores, weights and scratch of a row, and queries four times each.
  const row = roundUp(keys, 32) * 4 + roundUp(keys, 16) * 16 + 128;
  return roundUp(wide, 16) + row + (isQuantized(dtype) ? 8 : 1) * (roundUp(dim, 8) * 16 + 16);
}

const nothing: Shares = {
  ...{ rows: 0, keys: 0, values: 0, panels: 0 },
  ...{ bias: 0, mask: 0, visits: 0, pages: 0 },
};

/** Where the share of each run of a wave begins, and behind the last one what all have together. */
export function sharesOf(plan: AttentionPlan, where: Elsewhere, { runs }: Wave): Shares[] {
  const shares: Shares[] = [nothing];
  let last = nothing;
  for (const run of runs) {
    const { keys } = plan.segments[run.segment];
    const rows = (run.to - run.from) * plan.group, parts = partsOf(plan, run);
    last = {
      rows: last.rows + rows,
      keys: plan.paged !== null ? 0 : last.keys + roundUp(roundUp(keys, 4) * plan.dim * 4, 64),
      values: where.values ? 0 : last.values + roundUp(keys * roundUp(plan.valueDim, 4) * 4, 64),
      panels: parts === 1 ? last.panels : last.panels + (parts + 1) * panelBytes(plan, rows),
      bias: where.bias ? 0 : last.bias + roundUp(biasBytes(plan, run), 64),
      mask: last.mask + roundUp(maskBytes(plan, run), 64),
      visits: last.visits + roundUp(visitBytes(plan, run), 64),
      pages: last.pages + roundUp(blockListBytes(plan, keys), 64),
    };
    shares.push(last);
  }
  return shares;
}

/** Bytes of the list of so many keys' blocks. */
function blockListBytes({ paged }: AttentionPlan, keys: number): number {
  return paged === null ? 0 : (paged.store as WasmPages).countBlocks(keys) * 4;
}

/** Bytes of the panels of so many rows. */
export function panelBytes(plan: AttentionPlan, rows: number): number {
  return roundUp(rows, 8) * rowBytes(plan);
}

/** The largest shares of all waves, and how many there are. */
function measureWaves(plan: AttentionPlan, cut: Cut, where: Elsewhere) {
  let most = nothing, jobs = jobsPerWave, waves = 0, packings = 0;
  for (const wave of wavesOf(plan, cut)) {
    const all = sharesOf(plan, where, wave).at(-1)!;
    most = {
      rows: Math.max(most.rows, all.rows),
      keys: Math.max(most.keys, all.keys),
      values: Math.max(most.values, all.values),
      panels: Math.max(most.panels, all.panels),
      bias: Math.max(most.bias, all.bias),
      mask: Math.max(most.mask, all.mask),
      visits: Math.max(most.visits, all.visits),
      pages: Math.max(most.pages, all.pages),
    };
    let parts = 0;
    for (const run of wave.runs) parts += partsOf(plan, run);
    jobs = Math.max(jobs, parts * cut.members);
    waves++;
    if (wave.packs) packings++;
  }
  return { most, jobs, waves, packings };
}

/** Takes the workspace of a plan. */
export function takeWorkspace(
  arena: Arena,
  plan: AttentionPlan,
  cut: Cut,
  elsewhere: Elsewhere,
): Workspace {
  const { dim, valueDim } = plan;
  const { most, jobs, waves, packings } = measureWaves(plan, cut, elsewhere);
  const width = Math.max(dim, valueDim);
  const keys = plan.paged !== null ? 0 : roundUp(plan.keys, 4);
  const stagingRows = Math.min(keys, Math.max(4, Math.floor(stagingBytes / (width * 16)) * 4));
  const scratchStride = roundUp(scratchBytes(plan, cut), 64);
  const ahead = cut.threads > 1 && waves > 1 &&
    (packings === 1 || most.keys + most.values <= packedAheadBytes);
  const layOut = (place: Place) => ({
    ...{ stagingRows, scratchStride },
    staging: place(stagingRows * width * 4),
    scratch: place(cut.threads * scratchStride),
    slopes: place((plan.slopes?.length ?? 0) * 4),
    sinks: place((plan.sinks?.length ?? 0) * 4),
    packed: twice(ahead && packings > 1, () => ({
      keys: place(most.keys),
      values: place(most.values),
    })),
    staged: twice(ahead, () => ({
      records: place(jobs * jobBytes),
      q: place(elsewhere.q ? 0 : most.rows * dim * 4),
      out: place(elsewhere.out ? 0 : most.rows * valueDim * 4),
      lse: place(most.rows * 4),
      lseRest: place(elsewhere.rest ? most.rows * 4 : 0),
      panels: place(most.panels),
      bias: place(most.bias),
      mask: place(most.mask),
      visits: place(most.visits),
      pages: place(most.pages),
    })),
  });
  const measured = placer(0);
  layOut(measured.place);
  const block = arena.allocate(measured.end());
  return { ...layOut(placer(block).place), free: () => arena.free(block) };
}

function twice<T>(needed: boolean, make: () => T): T[] {
  return needed ? [make(), make()] : [make()];
}

/** Gives so many bytes a place and returns its address. */
export type Place = (bytes: number) => number;

/** Places one behind the other, each on cache lines of its own. */
export function placer(from: number): { place: Place; end(): number } {
  let end = from;
  const place = (bytes: number) => {
    const at = end;
    end += roundUp(bytes, 64);
    return at;
  };
  return { place, end: () => end };
}
