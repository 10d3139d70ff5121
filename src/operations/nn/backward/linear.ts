/**
 * linearWithGradient(): a linear layer of a weight as it is, and what gives its gradients.
 *
 * @module
 */

import type { Machinery } from "../../../contract/backend.ts";
import type { AnyTensor } from "../../../tensor/tensor.ts";
import { type Call, type Made, run } from "../../call.ts";
import type { RowsCall } from "../call.ts";
import { placedOf, type PlacedTensor } from "../rows.ts";
import type { LayerPassOptions } from "./options.ts";
import {
  copyOf,
  gradientLike,
  matrixOf,
  piecesBy,
  readGradient,
  readPass,
  rowMade,
  runForward,
} from "./pass.ts";
import {
  linearBackward,
  type LinearBackwardPlan,
  type LinearGradientTarget,
  type PlainLinearPlan,
} from "./tokens.ts";

/** A layer's result, and what gives its gradients. */
export interface Differentiable {
  readonly out: AnyTensor;
  backward(dOut: AnyTensor, pass?: LayerPassOptions): Promise<Made>;
}

/** Runs a layer, and keeps what its gradients need. */
export async function linearWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: RowsCall<PlainLinearPlan>,
): Promise<Differentiable> {
  const { backend, out, sum } = await runForward(asked, "linearWithGradient", call);
  const inner = sum === undefined ? null : placedOf(sum);
  return {
    out,
    backward: async (dOut, pass = {}) => await run(backend, readBackward(call, inner, dOut, pass)),
  };
}

/** Reads a backward pass; `inner` is what went into the activation. */
function readBackward(
  { plan, x, y, leading, out: { shape } }: RowsCall<PlainLinearPlan>,
  inner: PlacedTensor | null,
  given: AnyTensor,
  pass: LayerPassOptions,
): Call<LinearBackwardPlan, LinearGradientTarget, Made> {
  const { signal } = readPass(pass), dOut = readGradient("dOut", given, shape);
  const { weight, isTurned, activation, bias, rows, packed: { inputs, outputs } } = plan;
  const ofWeight = isTurned ? [inputs, outputs] : [outputs, inputs];
  return {
    operation: linearBackward,
    plan: { weight, isTurned, activation, rows, used: { x, weight, dOut } },
    control: { signal },
    results: {
      dx: gradientLike(x),
      dWeight: gradientLike(x, ofWeight),
      ...(bias && { dBias: gradientLike(x, [outputs]) }),
      ...(y && { dResidual: gradientLike(x, shape) }),
    },
    target: ({ dx, dWeight, dBias }) => ({
      pieces: piecesBy({ x, dOut, inner, dx: placedOf(dx) }, leading),
      dWeight: matrixOf(placedOf(dWeight)),
      dBias: rowMade(dBias),
    }),
    finish(made) {
      if (made.dResidual) copyOf(dOut, made.dResidual);
      return { ...made };
    },
  };
}
