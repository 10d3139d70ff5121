/**
 * What a call of `layerNorm()` or `rmsNorm()` means: read once, checked.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { type AnyTensor, sizeOf } from "../../tensor/tensor.ts";
import { checkResultsApart, readWritten, type RowsCall } from "./call.ts";
import type { RmsNormOptions } from "./options.ts";
import { type PlacedTensor, readPlaced, readShaped, rowOf } from "./rows.ts";
import { type NormPlan, norms } from "./tokens.ts";

/** What is given beside the options. */
export interface NormGiven {
  readonly x: AnyTensor;
  readonly weight: AnyTensor | null | undefined;
  readonly bias: AnyTensor | null | undefined;
}

function readEps(eps: unknown, doing: string): number {
  if (typeof eps === "number" && eps >= 0 && Number.isFinite(Math.fround(eps))) return eps;
  throw new RangeError(
    `${doing}: \`eps\` must be finite in f32 and at least 0, got ${kindOf(eps)}`,
  );
}

function readOffset(offset: unknown, doing: string): number {
  if (typeof offset === "number" && Number.isFinite(Math.fround(offset))) return offset;
  throw new RangeError(`${doing}: \`offset\` must be finite in f32, got ${kindOf(offset)}`);
}

/** Reads a call. */
export function readNorm(
  name: keyof typeof norms,
  given: NormGiven,
  options: RmsNormOptions,
  doing = norms[name].cannot,
): RowsCall<NormPlan> {
  const operation = norms[name], { signal } = options;
  const x = readPlaced("x", given.x, doing), { shape } = x, leading = shape.slice(0, -1);
  const optional = (name: string, tensor: unknown, of: readonly number[]): PlacedTensor | null =>
    tensor === undefined || tensor === null ? null : readShaped(name, tensor, of, doing);
  const width = shape.slice(-1);
  const weight = optional("weight", given.weight, width),
    bias = optional("bias", given.bias, width);
  const residual = options.residual === undefined
    ? null
    : readShaped("residual", options.residual, shape, doing);
  if (residual === null && options.sum !== undefined) {
    throw new RangeError(`${doing}: \`sum\` is for a call with a \`residual\`, there is none`);
  }
  const result = { shape, like: x, over: [x, residual] };
  const out = readWritten("out", options.out, result, doing);
  const sum = residual && readWritten("sum", options.sum, result, doing);
  checkResultsApart(out, sum, doing);
  const plan: NormPlan = {
    ...{ isCentred: name === "layerNorm", weight: rowOf(weight), bias: rowOf(bias) },
    eps: readEps(options.eps ?? 1e-5, doing),
    offset: readOffset(options.offset ?? 0, doing),
    used: { x, weight, bias, residual, out: out.own, sum: sum && sum.own },
    rows: sizeOf(leading),
  };
  return { operation, plan, leading, x, y: residual, reads: [weight, bias], out, sum, signal };
}
