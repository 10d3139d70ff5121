/**
 * Pieces: how the work for a gradient is cut so that each keeps the device's limits.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { boxesOf } from "../attention/call.ts";
import {
  countRowsIn,
  longestOf,
  positionsIn,
  queryHeadsOf,
  segmentsIn,
} from "../attention/spans.ts";
import { countWords } from "../attention/tables.ts";
import {
  cutRegion,
  extent,
  mostWorkgroups,
  positionUnit,
  type Range,
  type Region,
  tileUnit,
} from "../transfer/regions.ts";
import type { Boxes, Goal, Gradient } from "./gradient.ts";
import type { BackwardCall } from "./gradients.ts";
import { deltaThreads, tileExtent } from "./variants.ts";

/** A part of the work: the queries of a region against a range of keys, counted from a segment's first. */
export interface Piece {
  readonly region: Region;
  readonly keys: Range;
}

/** Whether workgroups own keys; else they own rows. */
function ownsKeys(goal: Goal): boolean {
  return goal === "dk" || goal === "dv";
}

function longestKeys(plan: AttentionPlan, region: Region): number {
  return segmentsIn(plan, region).reduce((most, { keys }) => Math.max(most, keys), 0);
}

/** What a box of what is owned needs of the other side: all of it. */
function pieceOf(plan: AttentionPlan, goal: Goal, owned: Region): Piece {
  if (!ownsKeys(goal)) return { region: owned, keys: [0, longestKeys(plan, owned)] };
  const all: Region = { ...owned, positions: [0, Infinity] };
  const positions: Range = [0, longestOf(plan, all)];
  return { region: { ...owned, positions }, keys: owned.positions };
}

/** The parts of tensors of a piece. */
export function boxesOfPiece(call: Pick<BackwardCall, "plan">, { region, keys }: Piece): Boxes {
  return boxesOf(call, region, keys);
}

/** Keys of a segment that a piece has. */
function keysWithin({ keys: [from, to] }: Piece, keys: number): number {
  return Math.max(0, Math.min(keys, to) - from);
}

/** Multiply-adds of a piece. */
export function workOfPiece({ plan }: BackwardCall, { columns }: Gradient, piece: Piece): number {
  const { region } = piece, rows = extent(region.heads) * plan.group;
  const pairs = segmentsIn(plan, region).reduce(
    (sum, segment) => sum + positionsIn(region, segment) * keysWithin(piece, segment.keys),
    0,
  );
  return pairs * rows * columns + countRowsIn(plan, region) * plan.valueDim;
}

/** Rows of the bindings of a piece. */
export function countPieceRows({ rows }: Pick<Boxes, "rows">): number {
  return extent(rows.batch) * extent(rows.heads) * extent(rows.rows);
}

/** Bytes of a piece's tables, what its rows have of three numbers behind them; functions are behind these. */
export function functionsAt({ plan }: BackwardCall, { region }: Piece, boxes: Boxes): number {
  return 4 * countWords(plan, region) + 12 * countPieceRows(boxes);
}

/** Bytes of all of it. */
export function pieceTableBytes(call: BackwardCall, piece: Piece, boxes: Boxes): number {
  return functionsAt(call, piece, boxes) + (call.functions?.bytes(piece.region) ?? 0);
}

/** Whether each of the axes of a bias has elements of its own, or its gradient is summed over it. */
export interface OwnAxes {
  readonly segments: boolean;
  readonly heads: boolean;
  readonly rows: boolean;
  readonly keys: boolean;
}

/** The axes of a plan's bias. */
export function ownAxesOf({ bias, packed }: AttentionPlan): OwnAxes {
  const [batch, heads, rows, keys] = bias!.strides.map((stride) => stride !== 0);
  // Packed sequences share neither rows nor keys.
  return { segments: packed ? rows || keys : batch, heads, rows, keys };
}

/** Tiles of rows of a bias's gradient. */
export function biasTiles(plan: AttentionPlan, { region }: Piece): number {
  return ownAxesOf(plan).rows ? Math.ceil(longestOf(plan, region) / tileExtent) : 1;
}

/** Workgroups of the dispatch that makes a piece of a gradient. */
export function gridOfPiece(
  { plan, functions }: Pick<BackwardCall, "plan" | "functions">,
  goal: Goal,
  piece: Piece,
): [x: number, y: number, z: number] {
  const { region, keys } = piece, heads = extent(region.heads), segments = extent(region.batch);
  const keyTiles = Math.ceil(extent(keys) / tileExtent);
  if (ownsKeys(goal)) return [keyTiles, heads, segments];
  if (goal === "dq") {
    return [Math.ceil(longestOf(plan, region) * plan.group / tileExtent), heads, segments];
  }
  if (goal === "dSinks") return [heads * plan.group, 1, 1];
  if (goal === "dCaptured") return [functions!.groups, 1, 1];
  const own = ownAxesOf(plan);
  return [
    biasTiles(plan, piece) * (own.keys ? keyTiles : 1),
    own.heads ? heads * plan.group : 1,
    own.segments ? segments : 1,
  ];
}

/** Workgroups of the dispatch that prepares the rows of a piece. */
export function deltaGrid({ rows }: Boxes): [x: number, y: number, z: number] {
  return [Math.ceil(extent(rows.rows) / deltaThreads), extent(rows.heads), extent(rows.batch)];
}

/** Bytes of the bindings of a piece. */
function bindingsOf(call: BackwardCall, { goal, result }: Gradient, piece: Piece): number[] {
  const boxes = boxesOfPiece(call, piece), { rows, columns, scores } = boxes;
  const ofRows = Object.values(call.ofRows).map((one) => one?.bytes(rows) ?? 0);
  const always = [...ofRows, pieceTableBytes(call, piece, boxes), result.bytes(boxes)];
  if (goal === "dSinks") return always;
  return [
    ...always,
    ...[call.q.bytes(rows), call.k.bytes(columns), goal === "dv" ? 0 : call.v.bytes(columns)],
    ...[call.bias?.bytes(scores) ?? 0, call.mask?.bytes(scores) ?? 0],
  ];
}

/** Whether a piece keeps every limit of the device. */
function fitsDevice(call: BackwardCall, gradient: Gradient, piece: Piece): boolean {
  const { bindingBytes } = call.session.bounds;
  const grids = [
    gridOfPiece(call, gradient.goal, piece),
    deltaGrid(boxesOfPiece(call, piece)),
  ].flat();
  return grids.every((n) => n <= mostWorkgroups) &&
    bindingsOf(call, gradient, piece).every((bytes) => bytes <= bindingBytes);
}

/**
 * Multiply-adds of a piece whose results are added to those before. A constant: a sum's bits should not
 * depend on what was learned of the device's speed.
 */
const summedWork = 2 ** 28;

/** Keys, or query positions, that pieces are not cut below for time: whole tiles, so that it changes no bit. */
function unitOf({ group }: AttentionPlan, goal: Goal): number {
  return ownsKeys(goal) ? tileUnit : positionUnit(group);
}

/** Whether a piece is no more than that. */
function isOneTile(plan: AttentionPlan, goal: Goal, { region, keys }: Piece): boolean {
  const { batch, heads, positions } = region;
  const owned = extent(ownsKeys(goal) ? keys : positions);
  return extent(batch) === 1 && extent(heads) === 1 && owned <= unitOf(plan, goal);
}

/** Whether a piece does not take long. */
function isSmall(call: BackwardCall, gradient: Gradient, piece: Piece): boolean {
  if (gradient.goal === "dSinks" || isOneTile(call.plan, gradient.goal, piece)) return true;
  const most = gradient.goal === "dBias" ? summedWork : call.session.work;
  return workOfPiece(call, gradient, piece) <= most;
}

/** Whether there is anything to compute: results are zero at first. */
function isEmpty({ plan }: BackwardCall, { goal }: Gradient, piece: Piece): boolean {
  const { region } = piece;
  if (countRowsIn(plan, region) === 0) return true;
  return goal !== "dSinks" &&
    segmentsIn(plan, region).every(({ keys }) => keysWithin(piece, keys) === 0);
}

/** All queries, and whatever else may be counted as positions. */
function wholeOf({ segments, keyHeads }: AttentionPlan): Region {
  return { batch: [0, segments.length], heads: [0, keyHeads], positions: [0, Infinity] };
}

/** Multiply-adds of a gradient. */
export function workOfAll(call: BackwardCall, gradient: Gradient): number {
  return workOfPiece(call, gradient, { region: wholeOf(call.plan), keys: [0, Infinity] });
}

/** Cuts the work for a gradient: rows, or keys, of what it owns, against all of the other side. */
export function* piecesOf(call: BackwardCall, gradient: Gradient): Generator<Piece> {
  const { plan } = call, { goal } = gradient;
  const whole = wholeOf(plan);
  const longest = ownsKeys(goal) ? longestKeys(plan, whole) : longestOf(plan, whole);
  const cut = cutRegion({ ...whole, positions: [0, longest] }, (owned) => {
    const piece = pieceOf(plan, goal, owned);
    return isEmpty(call, gradient, piece) ||
      fitsDevice(call, gradient, piece) && isSmall(call, gradient, piece);
  }, unitOf(plan, goal));
  for (const owned of cut) {
    const piece = pieceOf(plan, goal, owned);
    if (isEmpty(call, gradient, piece)) continue;
    if (!fitsDevice(call, gradient, piece)) throw new RangeError(explain(call, goal));
    yield piece;
  }
}

function explain({ session }: BackwardCall, goal: Goal): string {
  const [one, other] = ownsKeys(goal)
    ? ["one key of a key/value head", "all queries of its group"]
    : ["one query position of a key/value head", "its keys"];
  return `Cannot differentiate: \`${goal}\` for ${one}, with ${other}, needs more than the ` +
    `${session.bounds.bindingBytes} bytes that this GPU can bind at once; use fewer positions a ` +
    "call, or the wasm backend";
}

/** Query heads of a piece. */
export function queryHeadsOfPiece(plan: AttentionPlan, { region }: Piece): number {
  return extent(queryHeadsOf(plan, region));
}
