/**
 * Gradients of softmax and its logarithms.
 *
 * @module
 */

import { checkShapeOf, readTensor } from "../../check/tensors.ts";
import { readOptions } from "../../check/words.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import { checkHost } from "../host.ts";
import { type Call, run } from "../call.ts";
import { piecesOf, placedOf, runCall } from "./operation.ts";
import {
  cannotOf,
  passNames,
  type PassOptions,
  type SoftmaxOptions,
  type SoftmaxResult,
  twinOf,
} from "./options.ts";
import { withAxis } from "./pieces.ts";
import {
  countRows,
  placedFrom,
  type PlacedTensor,
  readSoftmax,
  type SoftmaxCall,
  type SoftmaxTensors,
} from "./plan.ts";
import { softmaxBackward, type SoftmaxBackwardPiece, type SoftmaxPlan } from "./tokens.ts";

/** What a function with gradients gives. */
export interface WithGradient {
  readonly out: AnyTensor;
  backward(dOut: AnyTensor, pass?: PassOptions): Promise<{ readonly dx: AnyTensor }>;
}

/** Computes what is asked of tensors that were read, and are in use until it settles; and keeps what gradients need. */
export async function runSoftmaxWithGradient(
  asked: Machinery | Promise<Machinery>,
  what: SoftmaxResult,
  tensors: SoftmaxTensors,
  options: SoftmaxOptions,
): Promise<WithGradient> {
  const name = twinOf(what), call = readSoftmax(what, tensors, options, name);
  const backend = checkHost(await asked, name, cannotOf(name), { x: call.x }),
    out = await runCall(backend, call);
  const { dtype } = call.x, isKept = what !== "logSumExp" && dtype === "f32";
  const kept = placedOf(isKept ? out : await runCall(backend, keptCall(call)));
  return {
    out,
    backward: async (dOut, pass = {}) => await differentiate(backend, call, kept, dOut, pass),
  };
}

/** What gradients are computed from: the result without the rounding of 16 bits; of a logarithm of sums the softmax. */
function keptCall(call: SoftmaxCall): SoftmaxCall {
  const what = call.what === "logSumExp" ? "softmax" : call.what;
  return { ...call, what, resultType: "f32", outShape: call.x.shape };
}

async function differentiate(
  backend: Backend,
  call: SoftmaxCall,
  y: PlacedTensor,
  given: AnyTensor,
  pass: PassOptions,
): Promise<{ readonly dx: AnyTensor }> {
  const doing = softmaxBackward.cannot, { signal } = readOptions(pass, passNames, doing);
  const dOut = placedFrom(readTensor("dOut", given, doing, true));
  checkShapeOf("dOut", dOut.shape, call.outShape, doing);
  return { dx: await run(backend, placedBackward(call, y, dOut, { signal })) };
}

/** What becomes of a backward pass. */
function placedBackward(
  call: SoftmaxCall,
  y: PlacedTensor,
  dOut: PlacedTensor,
  control: PassOptions,
): Call<SoftmaxPlan, readonly SoftmaxBackwardPiece[], AnyTensor> {
  const { what, scale, x, axis } = call,
    spread = what === "logSumExp" ? withAxis(dOut, axis) : dOut;
  return {
    operation: softmaxBackward,
    plan: { what, scale, used: { y, dOut }, rows: countRows(call) },
    control,
    results: { dx: { like: x.data, shape: x.shape, dtype: x.dtype } },
    target: ({ dx }) =>
      piecesOf(call, [y, spread, placedOf(dx)])
        .map(([y, dOut, dx]) => ({ y, dOut, dx } as SoftmaxBackwardPiece)),
    finish: ({ dx }) => dx,
  };
}
