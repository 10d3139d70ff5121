/**
 * Variants of the gradients' shaders: which of them a call needs.
 *
 * @module
 */

import { classExtent } from "../attention/classes.ts";
import { chooseSlices, keysOf, rowsOf } from "../attention/variants.ts";
import { type Access, accessFlags } from "../shader/access.ts";
import { sources } from "../shader/sources.ts";
import { type Constants, expand } from "../shader/template.ts";

/** How a tile of scores is laid out in a workgroup: as those of forward, with as many keys as rows. */
export const gradientTile = { TX: 8, TY: 8, RK: 4, SLICE: 8 } as const;

/** Rows and keys of a tile. */
export const tileExtent: number = rowsOf({ ...gradientTile, Q_SHARED: false });

/** Bytes of workgroup memory: two slices, and what results are summed up by; each padded by one. */
export function gradientBytes({ TX, TY, RK, SLICE }: typeof gradientTile): number {
  return (SLICE * (4 * TY + 1) + SLICE * (TX * RK + 1) + TX * RK * (TY + 1)) * 16;
}

/** What the gradients' shaders read. */
export interface GradientInputs {
  readonly q: Access;
  readonly k: Access;
  readonly v: Access;
  readonly dOut: Access;
}

/** Gradients by the tensors. */
export type TensorGoal = "dq" | "dk" | "dv";

/** Vectors of a result's columns that a workgroup has at once. */
export function vectorsAtOnce(columns: number): number {
  return chooseSlices(forwardTile, columns) * gradientTile.SLICE;
}

const forwardTile = { ...gradientTile, Q_SHARED: false };

function tileConstants({ q, k, v, dOut }: GradientInputs): Record<string, number> {
  const { TX, TY } = gradientTile;
  return {
    ...gradientTile,
    ...{ THREADS: TX * TY, BR: rowsOf(forwardTile), BC: keysOf(forwardTile), CLASS: classExtent },
    ...{ GRADIENTS: 1, ...accessFlags("q", q), ...accessFlags("k", k) },
    ...{ ...accessFlags("v", v), ...accessFlags("d_out", dOut) },
  };
}

/** The WGSL of the shader that makes a gradient of so many columns. */
export function backwardCode(
  goal: TensorGoal,
  inputs: GradientInputs,
  result: Access,
  columns: number,
): string {
  const SLICES = chooseSlices(forwardTile, columns);
  const CPS = gradientTile.SLICE / gradientTile.TX;
  const constants = { ...tileConstants(inputs), SLICES, CPS, NC: SLICES * CPS };
  return expand("backward.wgsl", sources, {
    ...constants,
    ...accessFlags("o", result),
    [goal.toUpperCase()]: 1,
    ...(goal === "dv" ? { WEIGHTS: 1 } : { OF_PRODUCTS: 1 }),
    ...(goal !== "dq" && { OWNS_KEYS: 1 }),
  });
}

/** The WGSL of the shader that makes the gradient by a bias. */
export function biasGradientCode(inputs: GradientInputs): string {
  return expand("backward_bias.wgsl", sources, tileConstants(inputs));
}

/** Threads of the shaders of single rows. */
export const deltaThreads = 64;

/** The WGSL of the shader that makes the gradient by sinks. */
export function sinkGradientCode(): string {
  return expand("backward_sinks.wgsl", sources, { THREADS: deltaThreads });
}

/** The WGSL of the shader that prepares rows. */
export function deltaCode(
  out: Access,
  lse: Access,
  dOut: Access,
  dLse: Access | null,
  rest: Access | null = null,
): string {
  const constants: Constants = {
    ...{ THREADS: deltaThreads, ...accessFlags("q", out), ...accessFlags("k", lse) },
    ...accessFlags("d_out", dOut),
    ...(dLse && { D_LSE: 1, ...accessFlags("v", dLse) }),
    ...(rest && { REST: 1, ...accessFlags("bias", rest) }),
  };
  return expand("delta.wgsl", sources, constants);
}
