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
  /** Threads across the keys, and down the rows. */
  readonly TX: number;
  readonly TY: number;
  /** Rows of a thread; with terms 4. */
  readonly ROWS: 4 | 8;
  /** Columns of scores of a thread. */
  readonly RK: number;
  /** Vectors of four of D in workgroup memory at once, and of Dv. */
  readonly SLICE: number;
  readonly VALUES: number;
  /**
   * Queries are read where they lie, or are in workgroup memory: a slice beside that of the keys, or whole, where D is at most
   * one slice.
   */
  readonly queries: "read" | "slices" | "whole";
  /** What else there is: with terms only. */
  readonly extension?: Extension;
}

/** Limits that a tile has to keep. */
export interface TileLimits {
  readonly maxComputeWorkgroupStorageSize: number;
  readonly maxComputeInvocationsPerWorkgroup: number;
}

/** The tiles. Any of them is right for any plan. */
export const tiles = {
  /** Where a thread has registers for 16 scores and workgroups have room: of vendors whose compilers were asked. */
  large: { TX: 16, TY: 8, ROWS: 4, RK: 4, SLICE: 8, VALUES: 16, queries: "slices" },
  /** Within the default limits, D up to 64. */
  narrow: { TX: 8, TY: 8, ROWS: 4, RK: 4, SLICE: 8, VALUES: 16, queries: "slices" },
  /** The same for larger D: a thread has half of the sums. */
  small: { TX: 16, TY: 8, ROWS: 4, RK: 2, SLICE: 8, VALUES: 16, queries: "slices" },
  /** Few rows: decoding. */
  flat: { TX: 16, TY: 4, ROWS: 4, RK: 2, SLICE: 8, VALUES: 16, queries: "slices" },
} as const satisfies Readonly<Record<string, Tile>>;

/** Most output vectors of a thread: ROWS rows of them are held in registers. */
const mostVectors = 4;

/** Keys whose values are added up without a look at how many are left. */
export const unrolled = 8;

/** Rows of a tile. */
export function rowsOf({ TY, ROWS }: Pick<Tile, "TY" | "ROWS">): number {
  return ROWS * TY;
}

/** Keys of a tile. */
export function keysOf({ TX, RK }: Pick<Tile, "TX" | "RK">): number {
  return TX * RK;
}

/** Vectors that keys, with queries beside them, and then values are staged in. */
function stagedVectors(tile: Tile): number {
  const { SLICE, VALUES, queries } = tile, keys = keysOf(tile);
  const beside = queries === "slices" ? rowsOf(tile) + 1 : 0;
  return Math.max(SLICE * (keys + 1 + beside), VALUES * keys);
}

/** Bytes of workgroup memory of a tile. */
export function workgroupBytes(tile: Tile): number {
  const { TX, SLICE, queries } = tile, rows = rowsOf(tile);
  const whole = queries === "whole" ? SLICE * (rows + 1) : 0;
  // Probabilities and what is exchanged are vectors of four rows.
  return 16 * (stagedVectors(tile) + whole + (keysOf(tile) + TX) * rows / 4);
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

/** And of the device: its name, and limits. */
export interface TileDevice {
  readonly adapter: string;
  readonly device: { readonly limits: TileLimits };
}

/** Vendors for whose compilers the large tile keeps all in registers, by the names of their adapters. */
const roomy = /\b(?:nvidia|geforce|amd|radeon|apple)\b/i;

/** D or Dv beyond which a thread would have more sums than registers, were its tile large. */
const mostRoomy = 128;

/** Picks a tile: by the call, the vendor and the limits alone, so that a device always gives the same bits. */
export function chooseTile(demand: TileDemand, { adapter, device: { limits } }: TileDevice): Tile {
  const { dim, valueDim, queries, group, packed } = demand;
  // A packed sequence should have the same bits, however long those beside it are.
  if (!packed && queries * group <= rowsOf(tiles.flat)) return tiles.flat;
  const width = Math.max(dim, valueDim);
  const isRoomy = roomy.test(adapter) && width <= mostRoomy;
  if (isRoomy && fits(tiles.large, limits)) return tiles.large;
  return width <= 64 ? tiles.narrow : tiles.small;
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
export function chooseSlices(
  { TX, VALUES }: Pick<Tile, "TX" | "VALUES">,
  valueDim: number,
): number {
  const most = Math.max(1, Math.floor(mostVectors * TX / VALUES));
  return Math.min(most, Math.ceil(valueDim / 4 / VALUES));
}

/** Threads of the combining shader. */
export const combineThreads = 64;

/** The WGSL of a forward shader. */
export function forwardCode(variant: ForwardVariant): string {
  const { tile, slices, q, k, v, out, lse, subgroups, terms, paged } = variant;
  const { TX, TY, ROWS, RK, SLICE, VALUES, queries, extension } = tile;
  const CPS = VALUES / TX;
  const constants: Record<string, number> = {
    ...{ TX, TY, ROWS, RK, SLICE, VALUES, CPS, SLICES: slices, NC: slices * CPS },
    ...{ THREADS: TX * TY, BR: rowsOf(tile), BC: keysOf(tile), G: ROWS / 4, REDUCE: 1 },
    ...{ STAGED: stagedVectors(tile), UNROLLED: unrolled, ...accessFlags({ q, k, v, out }) },
  };
  constants.v_free = 1; // Columns behind the last are never stored.
  if (queries !== "read") constants.Q_STAGED = 1;
  if (queries === "slices") constants.Q_SLICES = 1;
  if (queries === "whole") constants.Q_SHARED = 1;
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
