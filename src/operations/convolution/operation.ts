/**
 * Convolutions: calls become results.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import { type AnyTensor, type AnyView, viewOf } from "../../tensor/tensor.ts";
import { type Call, handBack, type Made, type NewTensor, run, runUsed } from "../call.ts";
import { type ConvolutionCall, type ConvolutionPlan, mayBeRead } from "./plan.ts";
import { convolutions } from "./tokens.ts";

/** Result of a convolution. */
export interface Convolved {
  readonly out: AnyTensor;
}

/** What a call makes for its result; `apart` where `out` cannot be written while others are read. */
function resultsOf({ plan, shapes }: ConvolutionCall): Record<string, NewTensor> {
  const { v, out } = plan;
  if (out === null) return { out: { like: v.data, shape: shapes.v, dtype: v.dtype } };
  return mayBeRead(plan, out)
    ? { apart: { like: out.data, shape: shapes.v, dtype: out.dtype } }
    : {};
}

/** What becomes of a call. */
function placed(call: ConvolutionCall): Call<ConvolutionPlan, AnyView, Convolved> {
  const { plan, layout, given, control } = call;
  return {
    ...{ operation: convolutions[plan.kind], plan, control, results: resultsOf(call) },
    target({ out, apart }: Made) {
      const made = out ?? apart;
      return made === undefined ? plan.out! : viewOf(made, layout);
    },
    finish: (made) => ({ out: handBack(made, layout, plan.out, given) }),
  };
}

/** Runs a call that was read. */
export function runConvolution(
  asked: Machinery | Promise<Machinery>,
  call: ConvolutionCall,
): Promise<Convolved> {
  return run(asked, placed(call));
}

/** The same where all that it reads and writes is in use already. */
export function runUsedConvolution(
  asked: Machinery | Promise<Machinery>,
  call: ConvolutionCall,
): Promise<Convolved> {
  return runUsed(asked, placed(call));
}
