/**
 * Uniforms of the gradients: where the tensors of a piece are, and what its dispatches are told.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { lookedUpParameters } from "../attention/uniforms.ts";
import type { KeyWindow } from "../attention/windows.ts";
import type { Binding } from "../device/buffers.ts";
import { type Parameters, tensorParameters } from "../shader/parameters.ts";
import { extent } from "../transfer/regions.ts";
import type { Bound } from "../transfer/box.ts";
import type { BackwardCall, Boxes, Goal } from "./gradients.ts";
import { biasTiles, ownAxesOf, type Piece, queryHeadsOfPiece } from "./pieces.ts";

/** Where the tensors of a piece are. */
export interface PlacedPiece {
  readonly boxes: Boxes;
  readonly dOut: Bound;
  readonly out: Bound;
  readonly lse: Bound;
  readonly dLse: Bound | null;
  readonly lseRest: Bound | null;
  readonly result: Bound;
  /** What scores are made of; `null` where they are not needed. */
  readonly scores: PlacedScores | null;
  readonly tables: Binding;
  /** What uniforms say of the tables. */
  readonly looked: Parameters;
}

export interface PlacedScores {
  readonly q: Bound;
  readonly k: Bound;
  readonly v: Bound;
  readonly bias: Bound | null;
  readonly mask: Bound | null;
}

/** A piece's keys as forward sees them: all at once, whatever their number. */
export function windowOf({ keys }: Piece): KeyWindow {
  return { keys, partKeys: 0, parts: 1, firstPart: 0 };
}

/** Of the dispatch that prepares the rows of a piece. */
export function deltaParameters({ plan }: BackwardCall, placed: PlacedPiece): Parameters {
  return {
    ...placed.looked,
    ...{ value_dim: plan.valueDim, value_vectors: Math.ceil(plan.valueDim / 4) },
    end_row: extent(placed.boxes.rows.rows),
    ...tensorParameters("q", placed.out),
    ...tensorParameters("k", placed.lse),
    ...(placed.dLse && tensorParameters("v", placed.dLse)),
    ...(placed.lseRest && tensorParameters("bias", placed.lseRest)),
    ...tensorParameters("d_out", placed.dOut),
  };
}

/** Of a dispatch that makes a piece of a gradient, for its columns from a vector on. */
export function gradientParameters(
  call: BackwardCall,
  goal: Goal,
  piece: Piece,
  placed: PlacedPiece,
  firstVector: number,
): Parameters {
  const { plan } = call, { boxes, scores } = placed;
  const { rows } = boxes;
  return {
    ...placed.looked,
    ...unitParameters(plan),
    minus_infinity: -Infinity,
    gradient_scale: goal === "dv" ? 1 : plan.scale,
    ...{ group: plan.group, key_group: 1, query_heads: queryHeadsOfPiece(plan, piece) },
    ...{ batches: extent(rows.batch), end_row: extent(rows.rows) },
    ...{ dim: plan.dim, dim_vectors: Math.ceil(plan.dim / 4) },
    ...{ value_dim: plan.valueDim, value_vectors: Math.ceil(plan.valueDim / 4) },
    value_from: firstVector,
    ...tensorParameters("o", placed.result),
    ...tensorParameters("d_out", placed.dOut),
    ...(scores && {
      ...tensorParameters("q", scores.q),
      ...tensorParameters("k", scores.k),
      ...tensorParameters("v", scores.v),
      ...lookedUpParameters(call, piece.region, { window: windowOf(piece), ...scores }),
    }),
    ...(goal === "dBias" && biasParameters(plan, piece)),
  };
}

/** Scores in powers of e, as `lse` is. */
function unitParameters({ scale, softcap }: AttentionPlan): Parameters {
  return {
    scale: softcap === null ? scale : scale / softcap,
    softcap: softcap ?? 0,
  };
}

/** For the gradient by a bias, in which each query head is by itself. */
function biasParameters(plan: AttentionPlan, piece: Piece): Parameters {
  const own = ownAxesOf(plan);
  return {
    ...{ group: 1, key_group: plan.group, tiles: biasTiles(plan, piece) },
    sum_segments: own.segments ? 0 : extent(piece.region.batch),
    sum_heads: own.heads ? 0 : queryHeadsOfPiece(plan, piece),
  };
}
