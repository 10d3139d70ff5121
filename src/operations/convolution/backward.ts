/**
 * The gradients of convolutions: calls become results.
 *
 * @module
 */

import { checkShapeOf, readTensor } from "../../check/tensors.ts";
import { readOptions } from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import { useAll } from "../../tensor/lending.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  type Extents,
  viewOf,
} from "../../tensor/tensor.ts";
import { checkHost } from "../host.ts";
import { type Call, type Made, run } from "../call.ts";
import { runConvolution } from "./operation.ts";
import { cannotOf, convolutionPassNames, type ConvolutionPassOptions, twinOf } from "./options.ts";
import { type ConvolutionCall, isShared } from "./plan.ts";
import {
  type ConvolutionBackwardPlan,
  convolutionGradients,
  type ConvolutionGradientTarget,
} from "./tokens.ts";

/** Result of a convolution, and what gives its gradients. */
export interface Differentiable {
  readonly out: AnyTensor;
  backward(
    dOut: AnyTensor,
    options?: ConvolutionPassOptions,
  ): Promise<{ readonly dv: AnyTensor; readonly dWeights: AnyTensor }>;
}

/** Where gradients go, as backends see it. */
function targetOf(made: Made, { plan, layout }: ConvolutionCall): ConvolutionGradientTarget {
  const dv = viewOf(made.dv, layout), dWeights = viewOf(made.dWeights, layout);
  if (!isShared(plan)) return { dv, dWeights };
  const [heads, width] = made.dWeights.shape, [head, tap] = contiguousStrides([heads, width]);
  const placed = { shape: [1, heads, 1, width] as Extents, strides: [0, head, 0, tap] as Extents };
  return { dv, dWeights: { ...dWeights, ...placed } as AnyView };
}

type Pass = Call<ConvolutionBackwardPlan, ConvolutionGradientTarget, Made>;

/** Reads a backward pass: what belongs to the forward call was read with it. */
function readPass(
  call: ConvolutionCall,
  dOut: unknown,
  options: ConvolutionPassOptions,
): Pass {
  const { plan, shapes, layout } = call, operation = convolutionGradients[plan.kind];
  const { signal } = readOptions(options, convolutionPassNames, operation.cannot);
  const tensor = readTensor("dOut", dOut, operation.cannot);
  checkShapeOf("dOut", tensor.shape, shapes.v, operation.cannot);
  const ofInput = (name: "v" | "weights") => {
    const { data, dtype } = plan[name];
    return { like: data, shape: shapes[name], dtype };
  };
  return {
    operation,
    plan: { forward: plan, dOut: viewOf(tensor, layout) },
    control: { signal },
    results: { dv: ofInput("v"), dWeights: ofInput("weights") },
    target: (made) => targetOf(made, call),
    finish: (made) => ({ ...made }),
  };
}

/** Runs a convolution that was read, and keeps what its gradients need. */
export async function runConvolutionWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: ConvolutionCall,
): Promise<Differentiable> {
  const { kind, v, weights } = call.plan, leave = useAll([v, weights]), name = twinOf(kind);
  try {
    const backend = checkHost(await asked, name, cannotOf(name), { v, weights });
    const { out } = await runConvolution(backend, call);
    return {
      out,
      backward: async (dOut, pass = {}) => {
        const made = await run(backend, readPass(call, dOut, pass));
        return made as { dv: AnyTensor; dWeights: AnyTensor };
      },
    };
  } finally {
    leave();
  }
}
