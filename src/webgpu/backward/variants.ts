/**
 * Variants of the gradients' shaders: which of them a call needs.
 *
 * @module
 */

import { classExtent } from "../attention/classes.ts";
import { scoreFields, sumFields } from "../attention/fields.ts";
import { chooseSlices, keysOf, rowsOf, unrolled } from "../attention/variants.ts";
import { type Access, accessFlags } from "../shader/access.ts";
import type { Fields } from "../shader/parameters.ts";
import { codeOf } from "../shader/sources.ts";
import type { Constants } from "../shader/template.ts";

/**
 * How a tile of scores is laid out in a workgroup: as those of forward, with as many keys as rows. Slices of both, or of one
 * that is twice as wide, lie in the same place.
 */
export const gradientTile = { TX: 16, TY: 8, ROWS: 4, RK: 2, SLICE: 8, VALUES: 16 } as const;

/** Rows and keys of a tile. */
export const tileExtent: number = rowsOf(gradientTile);

/** Bytes of workgroup memory: slices, and what results are summed up by; each padded by one. */
export function gradientBytes({ TX, TY, RK, VALUES }: typeof gradientTile): number {
  return (VALUES * (4 * TY + 1) + TX * RK * (TY + 1)) * 16;
}

/** What delta leaves of each row: three words of `tables`. */
const rowFields = { rows: "tensor" } as const;

/** Fields of the uniforms of the shader that prepares rows. */
export const deltaFields = {
  ...rowFields,
  value_dim: "u32",
  value_vectors: "u32",
  end_row: "u32",
  out: "tensor",
  lse: "tensor",
  d_out: "tensor",
  d_lse: "tensor",
  lse_rest: "tensor",
} as const;

/** Of those with tiles of scores. */
export const tileFields = {
  ...sumFields,
  ...rowFields,
  ...scoreFields,
  /** Heads of the rows for each head of the keys, where not whole groups are taken at once. */
  key_group: "u32",
  dim: "u32",
  dim_vectors: "u32",
  value_dim: "u32",
  value_vectors: "u32",
  q: "tensor",
  k: "tensor",
  v: "tensor",
  d_out: "tensor",
  gradient: "tensor",
} as const;

/** Of gradients with respect to the tensors. */
export const gradientFields = {
  ...tileFields,
  /** First vector of the columns. */
  value_from: "u32",
  /** What a sum of gradients of products is multiplied by. */
  gradient_scale: "f32",
} as const;

/** Of the gradient with respect to a bias. */
export const biasFields = {
  ...tileFields,
  tiles: "u32",
  /** Segments and query heads that it is summed over; 0 where each has its own. */
  sum_segments: "u32",
  sum_heads: "u32",
} as const;

/** Of the gradient with respect to sinks. */
export const sinkFields = {
  ...sumFields,
  ...rowFields,
  sinks_at: "u32",
  batches: "u32",
  end_row: "u32",
  gradient: "tensor",
} as const;

/** What the gradients' shaders read. */
export interface GradientInputs {
  readonly q: Access;
  readonly k: Access;
  readonly v: Access;
  readonly d_out: Access;
}

/** Gradients with respect to the tensors. */
export type TensorGoal = "dq" | "dk" | "dv";

/** Vectors of a result's columns that a workgroup has at once. */
export function vectorsAtOnce(columns: number): number {
  return chooseSlices(gradientTile, columns) * gradientTile.VALUES;
}

/** Constants of shaders with tiles of scores. */
export function tileConstants(inputs: GradientInputs): Record<string, number> {
  const { TX, TY } = gradientTile;
  return {
    ...gradientTile,
    ...{ THREADS: TX * TY, BR: rowsOf(gradientTile), BC: keysOf(gradientTile), CLASS: classExtent },
    ...{ GRADIENTS: 1, ...accessFlags({ ...inputs }) },
  };
}

/** Who has the text of shaders: functions add theirs. */
export type CodeOf = (path: string, fields: Fields, constants: Constants) => string;

/** Whose text a shader is, and whether scores are scaled products within a band. */
export interface GradientWay {
  readonly code?: CodeOf;
  readonly plain?: boolean;
}

/** The WGSL of the shader that makes a gradient of so many columns. */
export function backwardCode(
  goal: TensorGoal,
  inputs: GradientInputs,
  result: Access,
  columns: number,
  { code = codeOf, plain = false }: GradientWay = {},
): string {
  const SLICES = chooseSlices(gradientTile, columns);
  const CPS = gradientTile.VALUES / gradientTile.TX;
  const constants = {
    ...tileConstants(inputs),
    ...{ SLICES, CPS, NC: SLICES * CPS, UNROLLED: unrolled },
  };
  return code("backward.wgsl", gradientFields, {
    ...constants,
    ...accessFlags({ gradient: result }),
    [goal.toUpperCase()]: 1,
    ...(goal === "dv"
      ? { WEIGHTS: 1 }
      : { OF_PRODUCTS: 1, THROUGH_SCORES: Number(code !== codeOf) }),
    ...(goal !== "dq" && { OWNS_KEYS: 1 }),
    ...(plain && { PLAIN: 1 }),
  });
}

/** The WGSL of the shader that makes the gradient with respect to a bias. */
export function biasGradientCode(inputs: GradientInputs, code: CodeOf = codeOf): string {
  return code("backward_bias.wgsl", biasFields, tileConstants(inputs));
}

/** Threads of the shaders of single rows. */
export const deltaThreads = 64;

/** The WGSL of the shader that makes the gradient with respect to sinks. */
export function sinkGradientCode(): string {
  return codeOf("backward_sinks.wgsl", sinkFields, { THREADS: deltaThreads });
}

/** What is read of rows before: by the names of fields; that of `dLse` and of what `lse` lacks need not be. */
export type RowInputs<Input> =
  & Readonly<Record<"out" | "lse" | "d_out", Input>>
  & Readonly<Record<"d_lse" | "lse_rest", Input | null>>;

/** The WGSL of the shader that prepares rows. */
export function deltaCode(inputs: RowInputs<Access>): string {
  return codeOf("delta.wgsl", deltaFields, {
    ...{ THREADS: deltaThreads, ...accessFlags(inputs) },
    ...{ D_LSE: Number(inputs.d_lse !== null), REST: Number(inputs.lse_rest !== null) },
  });
}
