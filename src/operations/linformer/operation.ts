/**
 * linformerAttention(): calls become results.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import { type AnyTensor, type AnyView, viewOf } from "../../tensor/tensor.ts";
import type { AttentionResult } from "../attention/result.ts";
import { type Made, type NewTensor, run } from "../call.ts";
import {
  type Backward,
  type Differentiable,
  gradientsOf,
  placed,
  runWithGradient,
} from "../linear/operation.ts";
import type { LinformerCall } from "./plan.ts";
import {
  linformer,
  linformerBackward,
  type LinformerGradients,
  type LinformerPlan,
  linformerWithGradient,
} from "./tokens.ts";

/** Runs a call that was read. */
export function runLinformer(
  asked: Machinery | Promise<Machinery>,
  call: LinformerCall,
): Promise<AttentionResult<never>> {
  return run(asked, placed(linformer, call)) as Promise<unknown> as Promise<AttentionResult<never>>;
}

/** Where the gradients go that were made. */
function targetOf(made: Made, { forward, projectK, projectV }: LinformerPlan): LinformerGradients {
  const { layout } = forward.written, view = (name: string) => viewOf(made[name], layout);
  return {
    ...{ dq: view("dq"), dk: view("dk"), dv: view("dv") },
    dProjectK: projectionOf(made.dProjectK, projectK),
    dProjectV: projectV && projectionOf(made.dProjectV, projectV),
  };
}

/** The columns that are used of a projection's gradient. */
function projectionOf(made: AnyTensor, { shape }: AnyView): AnyView {
  return { ...viewOf(made, "bhnd"), shape } as AnyView;
}

/** How the gradients of a call are made. */
function backwardOf({ shapes }: LinformerCall): Backward<LinformerPlan, LinformerGradients> {
  return {
    operation: linformerBackward,
    results(plan) {
      const like = ({ data, dtype }: AnyView, shape: readonly number[]): NewTensor => ({
        ...{ like: data, dtype, shape },
      });
      const { projectK, projectV } = plan;
      return gradientsOf(plan, {
        dProjectK: like(projectK, shapes.projectK),
        dProjectV: projectV === null ? undefined : like(projectV, shapes.projectV!),
      });
    },
    target: targetOf,
  };
}

/** Runs a call, and keeps what its gradients need. */
export function runLinformerWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: LinformerCall,
): Promise<Differentiable> {
  return runWithGradient(asked, linformerWithGradient, call, backwardOf(call));
}
