/**
 * Variants: which shader a plan needs. One table of tiles, one rule.
 *
 * @module
 */

import { type Access, accessFlags, type PageAccess } from "../shader/access.ts";
import { codeOf } from "../shader/sources.ts";
import { type Classed, classExtent, classThreads } from "./classes.ts";
import { classFields, combineFields, plainFields, termFields } from "./fields.ts";
import type { Extension } from "./extension.ts";

/** How work is laid out in a workgroup: the constants of `shaders/forward.wgsl`. */
export interface Tile {
  /** Threads across the keys, and down the rows: each has 4 rows. */
  readonly TX: number;
  readonly TY: number;
  /** Columns of scores of a thread. */
  readonly RK: number;
  /** Vectors of four of D, or of Dv, in workgroup memory at once. */
  readonly SLICE: number;
  /** Whether the queries lie in workgroup memory: D is then at most one slice. */
  readonly Q_SHARED: boolean;
  /** What else there is: with terms only. */
  readonly extension?: Extension;
}

/** Limits that a tile has to keep. */
export interface TileLimits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
}

/** The tiles. Any of them is right for any plan; D of `Q_SHARED` ones is bounded. */
export const tiles = {
  /** D up to 64. */
  narrow: { TX: 8, TY: 8, RK: 2, SLICE: 16, Q_SHARED: true },
  /** D up to 128. */
  middle: { TX: 8, TY: 8, RK: 4, SLICE: 8, Q_SHARED: false },
  /** Larger D, 256 columns of values at once. */
  wide: { TX: 16, TY: 8, RK: 2, SLICE: 16, Q_SHARED: false },
  /** Few rows: decoding. */
  flat: { TX: 16, TY: 4, RK: 2, SLICE: 16, Q_SHARED: false },
} as const satisfies Readonly<Record<string, Tile>>;

/** Most output vectors of a thread: 4 rows of them are held in registers. */
const mostVectors = 4;

/** Rows of a tile. */
export function rowsOf({ TY }: Tile): number {
  return 4 * TY;
}

/** Keys of a tile. */
export function keysOf({ TX, RK }: Tile): number {
  return TX * RK;
}

/** Bytes of workgroup memory of a tile. */
export function workgroupBytes({ TX, TY, RK, SLICE, Q_SHARED }: Tile): number {
  const vectors = SLICE * TX * RK + TX * RK * TY + TX * TY + (Q_SHARED ? SLICE * 4 * TY : 0);
  return vectors * 16;
}

/** Whether a tile keeps the limits of a device. */
export function fits(tile: Tile, limits: TileLimits): boolean {
  return workgroupBytes(tile) <= limits.maxComputeWorkgroupStorageSize &&
    tile.TX * tile.TY <= limits.maxComputeInvocationsPerWorkgroup;
}

/** What the choice of a tile looks at. */
export interface TileDemand {
  readonly dim: number;
  readonly valueDim: number;
  readonly queries: number;
  readonly group: number;
  readonly packed?: boolean;
}

/** Picks a tile: every one in the table keeps the default limits. */
export function chooseTile({ dim, valueDim, queries, group, packed }: TileDemand): Tile {
  // A packed sequence should have the same bits, however long those beside it are.
  if (!packed && queries * group <= rowsOf(tiles.flat)) return tiles.flat;
  const width = Math.max(dim, valueDim);
  if (width <= 64) return tiles.narrow;
  return width <= 128 ? tiles.middle : tiles.wide;
}

/** What tells one forward shader from another. */
export interface ForwardVariant {
  readonly tile: Tile;
  /** Slices of the values that a workgroup has at once. */
  readonly slices: number;
  readonly q: Access;
  readonly k: PageAccess;
  readonly v: PageAccess;
  /** `null` where partial results are written. */
  readonly out: Access | null;
  readonly lse: boolean;
  readonly subgroups: boolean;
  /** Whether segments are looked up and scores may have terms. */
  readonly terms: boolean;
  /** Whether keys and values are in pages; with terms only. */
  readonly paged?: boolean;
}

/** What tells one combining shader from another. */
export interface CombineVariant {
  readonly out: Access;
  readonly lse: boolean;
  readonly terms: boolean;
}

/** Slices of the values that a workgroup should have at once. */
export function chooseSlices({ TX, SLICE }: Tile, valueDim: number): number {
  const most = Math.max(1, Math.floor(mostVectors * TX / SLICE));
  return Math.min(most, Math.ceil(valueDim / 4 / SLICE));
}

/** Threads of the combining shader. */
export const combineThreads = 64;

/** The WGSL of a forward shader. */
export function forwardCode(variant: ForwardVariant): string {
  const { tile, slices, q, k, v, out, lse, subgroups, terms, paged } = variant;
  const { TX, TY, RK, SLICE, Q_SHARED, extension } = tile;
  const CPS = SLICE / TX;
  const constants: Record<string, number> = {
    ...{ TX, TY, RK, SLICE, CPS, SLICES: slices, NC: slices * CPS },
    ...{ THREADS: TX * TY, BR: rowsOf(tile), BC: keysOf(tile), REDUCE: 1 },
    ...accessFlags({ q, k, v, out }),
  };
  if (Q_SHARED) constants.Q_SHARED = 1;
  if (subgroups) constants.SUBGROUPS = 1;
  if (out === null) constants.SPLIT = 1;
  if (lse) constants.LSE = 1;
  if (terms) Object.assign(constants, { TERMS: 1, CLASS: classExtent });
  if (paged) constants.PAGED = 1;
  const enable = subgroups ? "enable subgroups;\n" : "";
  return enable + (extension?.code(constants) ??
    codeOf("forward.wgsl", terms ? termFields : plainFields, constants));
}

/** The WGSL of a combining shader. */
export function combineCode({ out, lse, terms }: CombineVariant): string {
  const constants: Record<string, number> = { THREADS: combineThreads, ...accessFlags({ out }) };
  if (lse) constants.LSE = 1;
  if (terms) constants.TERMS = 1;
  return codeOf("combine.wgsl", combineFields, constants);
}

/** The WGSL of the shader that looks at a mask and a bias. */
export function classifyCode({ bias, mask }: Classed): string {
  const constants: Record<string, number> = { THREADS: classThreads, CLASS: classExtent };
  if (bias) constants.BIAS = 1;
  if (mask) constants.MASK = 1;
  return codeOf("classify.wgsl", classFields, constants);
}
