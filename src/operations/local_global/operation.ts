/**
 * localGlobalAttention(): calls become results.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import type { Machinery } from "../../contract/backend.ts";
import { viewOf } from "../../tensor/tensor.ts";
import type { AttentionResult } from "../attention/result.ts";
import { run } from "../call.ts";
import {
  type Backward,
  type Differentiable,
  gradientsOf,
  placed,
  runWithGradient,
} from "../linear/operation.ts";
import { type LocalGlobalCall, viewOfPool } from "./plan.ts";
import {
  cannot,
  localGlobal,
  localGlobalBackward,
  type LocalGlobalGradients,
  type LocalGlobalPlan,
  localGlobalWithGradient,
} from "./tokens.ts";

/** Runs a call that was read. */
export function runLocalGlobal(
  asked: Machinery | Promise<Machinery>,
  call: LocalGlobalCall,
): Promise<AttentionResult<never>> {
  return run(asked, placed(localGlobal, call)) as Promise<unknown> as Promise<
    AttentionResult<never>
  >;
}

/** How the gradients of a call are made. */
function backwardOf(
  { poolShape }: LocalGlobalCall,
): Backward<LocalGlobalPlan, LocalGlobalGradients> {
  return {
    operation: localGlobalBackward,
    results(plan) {
      const { pool } = plan;
      const dPool = pool === null
        ? undefined
        : { like: pool.data, dtype: pool.dtype, shape: poolShape! };
      return gradientsOf(plan, { dPool });
    },
    target(made, { forward: { written: { layout } }, block }) {
      const view = (name: string) => viewOf(made[name], layout);
      const dPool = made.dPool && viewOfPool(readTensor("dPool", made.dPool, cannot, true), block);
      return { dq: view("dq"), dk: view("dk"), dv: view("dv"), dPool: dPool ?? null };
    },
  };
}

/** Runs a call, and keeps what its gradients need. */
export function runLocalGlobalWithGradient(
  asked: Machinery | Promise<Machinery>,
  call: LocalGlobalCall,
): Promise<Differentiable> {
  return runWithGradient(asked, localGlobalWithGradient, call, backwardOf(call));
}
