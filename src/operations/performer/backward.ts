/**
 * The gradients of performer attention: calls become results.
 *
 * @module
 */

import { checkShapeOf, readTensor } from "../../check/tensors.ts";
import { readOptions } from "../../check/words.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import { type AnyTensor, type AnyView, type Tensor, viewOf } from "../../tensor/tensor.ts";
import type { OwnData } from "../attention/result.ts";
import { type Call, type Made, run } from "../call.ts";
import { runUsedPerformer } from "./operation.ts";
import { cannotOf, passNames, type PerformerPassOptions } from "./options.ts";
import { type PerformerCall, type PerformerPlan, usedBy } from "./plan.ts";
import { performerBackward, type PerformerGradientTarget, type PerformerPass } from "./tokens.ts";

const { performerAttentionWithGradient: cannot } = cannotOf;

/** Gradients, each in the shape, layout and dtype of what it is by. */
export interface PerformerGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  /** By `q`. */
  readonly dq: Tensor<Q>;
  /** By `k`: query heads of a group are summed. */
  readonly dk: Tensor<K>;
  /** By `v`, likewise. */
  readonly dv: Tensor<V>;
}

/** Result of `performerAttentionWithGradient()`. */
export interface PerformerWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  /** As `performerAttention()` gives it. */
  readonly out: Tensor<Q>;
  /**
   * The gradients, from that by `out`. Inputs must not have changed since; can be called more than once.
   *
   * @param dOut Gradient by `out`, `[B, Hq, Nq, Dv]` in its rank and layout, of any storage.
   */
  backward(
    dOut: AnyTensor,
    options?: PerformerPassOptions,
  ): Promise<PerformerGradients<Q, K, V>>;
}

/** Gradients of one of a plan's tensors. */
function storedAs({ data, dtype }: AnyView, shape: readonly number[]) {
  return { like: data, dtype, shape };
}

/** What becomes of a backward pass. */
function placed(
  plan: PerformerPlan,
  dOut: AnyView,
  control: PerformerCall["control"],
): Call<PerformerPass, PerformerGradientTarget, Made> {
  const { q, k, v, written } = plan;
  const view = (made: AnyTensor) => viewOf(made, written.layout);
  return {
    operation: performerBackward,
    plan: { plan, dOut },
    control,
    results: {
      dq: storedAs(q, written.q),
      dk: storedAs(k, written.k),
      dv: storedAs(v, written.v),
    },
    target: ({ dq, dk, dv }) => ({ dq: view(dq), dk: view(dk), dv: view(dv) }),
    finish: (made) => ({ ...made }),
  };
}

/** Checks that there are gradients where the call's tensors are. */
export function checkGradients({ plan }: PerformerCall): void {
  const { q, k, v, projection } = plan;
  if (![q, k, v, projection].some(({ data }) => isGpuBuffer(data))) return;
  throw new Error(`${cannot}: gradients are for the CPU, tensors must be in arrays`);
}

/** Runs a call, and gives what its gradients are asked of. */
export async function runPerformerWithGradient<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  asked: Machinery | Promise<Machinery>,
  call: PerformerCall,
): Promise<PerformerWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const { plan } = call, leave = useAll(Object.values(usedBy(plan)));
  try {
    const { own } = await asked;
    checkBackend(own);
    const { out } = await runUsedPerformer(own, call);
    const result: unknown = { out, backward: backwardOf(own, plan) };
    return result as PerformerWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>;
  } finally {
    leave();
  }
}

function checkBackend({ name }: Backend): void {
  if (name === "wasm") return;
  throw new Error(
    `${cannot}: the ${name} backend has no gradients of it, use an engine of { backend: "wasm" }`,
  );
}

/** What gives the gradients of a call. */
function backwardOf(backend: Backend, plan: PerformerPlan) {
  return async (dOut: AnyTensor, options: PerformerPassOptions = {}): Promise<Made> => {
    const { signal } = readOptions(options, passNames, cannot);
    const given = readTensor("dOut", dOut, cannot);
    checkShapeOf("dOut", given.shape, plan.written.out, cannot);
    return await run(backend, placed(plan, viewOf(given, plan.written.layout), { signal }));
  };
}
