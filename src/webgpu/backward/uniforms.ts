/**
 * Uniforms of the gradients: where the tensors of a piece are, and what its dispatches are told.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Tables } from "../attention/tables.ts";
import { scaleOf, scoreValues } from "../attention/uniforms.ts";
import type { KeyRange } from "../attention/key_ranges.ts";
import type { Binding } from "../device/buffers.ts";
import { encode, type Fields, type Placed } from "../shader/parameters.ts";
import type { Bound } from "../transfer/box.ts";
import { extent } from "../transfer/regions.ts";
import type { Boxes, Goal } from "./gradient.ts";
import type { BackwardCall } from "./gradients.ts";
import { biasTiles, ownAxesOf, type Piece, queryHeadsOfPiece } from "./pieces.ts";
import { biasFields, deltaFields, gradientFields, type RowInputs, sinkFields } from "./variants.ts";

/** Where the tensors of a piece are. */
export interface PlacedPiece {
  readonly boxes: Boxes;
  readonly ofRows: RowInputs<Bound>;
  readonly result: Bound;
  /** What scores are made of; `null` where they are not needed. */
  readonly scores: PlacedScores | null;
  readonly tables: Binding;
  /** Byte of these where functions are. */
  readonly functionsAt: number;
  /** What uniforms say of the tables, and of what is in them of each row. */
  readonly looked: Tables["values"];
  readonly rows: Placed;
}

export interface PlacedScores {
  readonly q: Bound;
  readonly k: Bound;
  readonly v: Bound;
  readonly bias: Bound | null;
  readonly mask: Bound | null;
}

/** A piece's keys as forward sees them: all at once, whatever their number. */
export function keyRangeOf({ keys }: Piece): KeyRange {
  return { keys, partKeys: 0, parts: 1, firstPart: 0 };
}

/** A block of uniforms. */
type Block = Uint8Array<ArrayBuffer>;

/** Of the dispatch that prepares the rows of a piece. */
export function deltaBlock({ plan: { valueDim } }: BackwardCall, placed: PlacedPiece): Block {
  return encode(deltaFields, {
    ...{ rows: placed.rows, ...placed.ofRows },
    ...{ value_dim: valueDim, value_vectors: Math.ceil(valueDim / 4) },
    end_row: extent(placed.boxes.rows.rows),
  });
}

/** Of a dispatch that makes a piece of a gradient, for its columns from a vector on. */
export function gradientBlock(
  call: BackwardCall,
  goal: Goal,
  piece: Piece,
  placed: PlacedPiece,
  firstVector: number,
): Block {
  const { plan } = call, { rows } = placed.boxes;
  const common = { gradient: placed.result, minus_infinity: -Infinity, rows: placed.rows };
  if (placed.scores === null) {
    return encode(sinkFields, {
      ...{ ...common, sinks_at: placed.looked.sinks_at },
      ...{ batches: extent(rows.batch), end_row: extent(rows.rows) },
    });
  }
  const values = {
    ...{ ...common, ...placed.looked },
    ...tileValues(call, piece, placed, placed.scores),
  };
  const extended = (block: Block, fields: Fields) =>
    call.functions?.uniforms(block, fields, piece.region, placed.functionsAt) ?? block;
  if (goal === "dBias") {
    return extended(encode(biasFields, { ...values, ...biasValues(plan, piece) }), biasFields);
  }
  if (goal === "dCaptured") {
    return call.functions!.sumsBlock(values, piece.region, placed.functionsAt);
  }
  const own = { gradient_scale: goal === "dv" ? 1 : plan.scale, value_from: firstVector };
  return extended(encode(gradientFields, { ...values, ...own }), gradientFields);
}

/** Of tiles of scores, in powers of e, as `lse` is. */
function tileValues(call: BackwardCall, piece: Piece, placed: PlacedPiece, scores: PlacedScores) {
  const { plan } = call;
  return {
    ...{ scale: scaleOf(plan), softcap: plan.softcap ?? 0 },
    ...{ group: plan.group, key_group: 1 },
    ...{ dim: plan.dim, dim_vectors: Math.ceil(plan.dim / 4) },
    ...{ value_dim: plan.valueDim, value_vectors: Math.ceil(plan.valueDim / 4) },
    ...{ q: scores.q, k: scores.k, v: scores.v, d_out: placed.ofRows.d_out },
    ...scoreValues(call, piece.region, { keyRange: keyRangeOf(piece), ...scores }),
  };
}

/** For the gradient with respect to a bias, in which each query head is by itself. */
function biasValues(plan: AttentionPlan, piece: Piece) {
  const own = ownAxesOf(plan);
  return {
    ...{ group: 1, key_group: plan.group, tiles: biasTiles(plan, piece) },
    sum_segments: own.segments ? 0 : extent(piece.region.batch),
    sum_heads: own.heads ? 0 : queryHeadsOfPiece(plan, piece),
  };
}
