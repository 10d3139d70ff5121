/**
 * attentionBackward(): the gradients of attention, as an operation.
 *
 * @module
 */

import { readTensor } from "../../check/tensors.ts";
import type { Backend, Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { type AnyTensor, broadcastOf, type Tensor, viewOf } from "../../tensor/tensor.ts";
import { attention, capturedOf, runAttention } from "../attention/operation.ts";
import { type AttentionCall, countRows, inputsOf, type TensorPlan } from "../attention/plan.ts";
import type { KeptResult, OwnData } from "../attention/result.ts";
import { type Call, checkSync, type Made, type NewTensor, run, runSync } from "../call.ts";
import {
  type AttentionGradients,
  type AttentionWithGradient,
  type BackwardCall,
  type BackwardOptions,
  type BackwardPlan,
  cannot,
  readBackward,
  readPass,
} from "./plan.ts";
import type { GradientTarget } from "./target.ts";

/** The operation. */
export const attentionBackward: Operation<BackwardPlan, GradientTarget> = {
  name: "attentionBackward",
  cannot,
  inputs({ forward, dOut, out, lse, dLse }) {
    return { ...inputsOf(forward), dOut, out, lse, dLse };
  },
  work: ({ forward }) => attention.work(forward),
  rows: ({ forward }) => countRows(forward),
};

/** The same with score and mask functions. */
export const attentionBackwardByFunctions: Operation<BackwardPlan, GradientTarget> = {
  ...attentionBackward,
  inputs: (plan) => ({ ...attentionBackward.inputs(plan), ...capturedOf(plan.forward) }),
  part: ["what gradients of `scoreMod` and `maskMod` need", "{ functions: true, gradients: true }"],
};

/** Arrays of a score function that ask for gradients. */
function askedOf({ functions }: TensorPlan): CapturedArray[] {
  return functions?.score?.arrays.filter(({ grad }) => grad) ?? [];
}

/** What the gradient by one of them is called among what is made. */
const nameOf = (at: number) => `captured${at}`;

/** Gradients by name. */
type Gradients = {
  readonly [Name in Exclude<keyof AttentionGradients, "dCaptured">]?: AnyTensor;
};

/** What is made for the gradients of a call. */
function resultsOf(plan: TensorPlan): Readonly<Record<string, NewTensor>> {
  const { q, kv: { k, v }, written, sinks } = plan;
  const floats = { like: q.data, dtype: "f32" } as const, { bias } = written;
  return {
    dq: { like: q.data, shape: written.q, dtype: q.dtype },
    dk: { like: k.data, shape: written.k, dtype: k.dtype },
    dv: { like: v.data, shape: written.v, dtype: v.dtype },
    ...(bias && { dBias: { ...floats, shape: bias } }),
    ...(sinks && { dSinks: { ...floats, shape: [sinks.length] } }),
    ...Object.fromEntries(
      askedOf(plan).map(({ shape }, at) => [nameOf(at), { ...floats, shape }]),
    ),
  };
}

/** How backends see the gradients. */
function targetOf(made: Gradients & Made, forward: TensorPlan): GradientTarget {
  const { batch, queryHeads, queries, keys, written: { layout } } = forward;
  const { dBias, dSinks } = made;
  const view = (name: "dq" | "dk" | "dv") => viewOf(made[name]!, layout);
  return {
    ...{ dq: view("dq"), dk: view("dk"), dv: view("dv") },
    dBias: dBias === undefined ? null : {
      ...broadcastOf(dBias, [batch, queryHeads, queries, keys]),
      ...{ data: heldFloats(dBias), dtype: "f32" as const },
    },
    dSinks: dSinks === undefined ? null : dSinks.data as Float32Array | GPUBuffer,
    captured: new Map(
      askedOf(forward).map((array, at) => [array, { data: heldFloats(made[nameOf(at)]) }]),
    ),
  };
}

/** A result of f32 as backends see it. */
function heldFloats({ data }: AnyTensor): HeldArray<Float32Array> | GPUBuffer {
  return isGpuBuffer(data) ? data : new HeldArray(data as Float32Array);
}

/** What becomes of a backward pass that was read. */
function placed({ plan, control }: BackwardCall): Call<BackwardPlan, GradientTarget, object> {
  const { forward } = plan;
  return {
    operation: forward.functions === null ? attentionBackward : attentionBackwardByFunctions,
    plan,
    control,
    results: resultsOf(forward),
    target: (made) => targetOf(made, forward),
    finish: (made) => gradientsOf(made, forward),
  };
}

/** What the caller gets: gradients by arrays in a map. */
function gradientsOf(made: Made, forward: TensorPlan): object {
  const asked = askedOf(forward), names = asked.map((_, at) => nameOf(at));
  const own = Object.entries(made).filter(([name]) => !names.includes(name));
  const dCaptured = new Map(asked.map((array, at) => [array, made[nameOf(at)]]));
  return { ...Object.fromEntries(own), ...(asked.length > 0 && { dCaptured }) };
}

/** Runs a backward pass that was read. */
export function runBackward<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  asked: Machinery | Promise<Machinery>,
  call: BackwardCall,
): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const made: Promise<unknown> = run(asked, placed(call));
  return made as Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>>;
}

/** Runs a backward pass on a backend to its end. */
export function runBackwardSync<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  backend: Backend,
  dOut: AnyTensor,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: BackwardOptions,
): AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>> {
  checkSync(backend, attentionBackward);
  const made: unknown = runSync(backend, placed(readBackward(dOut, q, k, v, options)));
  return made as AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>;
}

/** Runs attention, and keeps what its gradients need. */
export async function runWithGradient<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  asked: Machinery | Promise<Machinery>,
  call: AttentionCall<TensorPlan>,
): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const result = await runAttention<OwnData<Q>>(asked, call);
  const { out, lse, lseRest } = result as KeptResult<OwnData<Q>>;
  const kept = { out: readTensor("out", out, cannot), lse: { ...lse }, lseRest };
  return {
    ...{ out, lse },
    // Who waits for the forward pass need not be who waits for this one.
    backward: async (dOut, pass = {}) =>
      await runBackward(asked, readPass(call.plan, kept, dOut, pass)),
  };
}
