/**
 * What a call of a function of each number means: read once, checked.
 *
 * @module
 */

import { checkOneOf } from "../../check/words.ts";
import { type AnyTensor, sizeOf } from "../../tensor/tensor.ts";
import { readWritten, type RowsCall } from "./call.ts";
import { type Activation, activations, type RowsOptions } from "./options.ts";
import { type PlacedTensor, readPlaced, readShaped } from "./rows.ts";
import { pointwise, type PointwisePlan } from "./tokens.ts";

/** What is asked of which tensors. */
export interface PointwiseGiven {
  readonly name: keyof typeof pointwise;
  readonly activation: Activation | null;
  readonly combine: PointwisePlan["combine"];
  /** Tensors as messages call them. */
  readonly x: readonly [name: string, tensor: AnyTensor];
  readonly y?: readonly [name: string, tensor: AnyTensor];
}

/** Reads a call. */
export function readPointwise(
  { name, activation, combine, x: [xName, givenX], y: givenY }: PointwiseGiven,
  { out: given, signal }: RowsOptions,
  doing = pointwise[name].cannot,
): RowsCall<PointwisePlan> {
  const operation = pointwise[name];
  const x = readPlaced(xName, givenX, doing), { shape } = x, leading = shape.slice(0, -1);
  const y: PlacedTensor | null = givenY ? readShaped(givenY[0], givenY[1], shape, doing) : null;
  checkOneOf("activation", activation ?? undefined, activations, doing);
  const out = readWritten("out", given, { shape, like: x, over: [x, y] }, doing);
  const used = { [xName]: x, ...(givenY && { [givenY[0]]: y }), out: out.own };
  const plan = { activation, combine, used, rows: sizeOf(leading) };
  return { operation, plan, leading, x, y, reads: [], out, sum: null, signal };
}
