/**
 * attentionBackward(): the gradients of attention. Validate, plan, run.
 *
 * @module
 */

import {
  type AttentionResultWithLse,
  type KeptResult,
  type LseData,
  makeTensor,
  runPlan,
} from "./attention.ts";
import type { Backend, GradientTarget } from "./backend.ts";
import { type DType, type HostData, isGpuBuffer, type TensorData } from "./dtype.ts";
import { asColumn } from "./merge.ts";
import type { AttentionOptions } from "./options.ts";
import { type AttentionPlan, type BackwardPlan, planAttention } from "./plan.ts";
import { broadcastOf, type BroadcastView } from "./scores.ts";
import { throwIfAborted } from "./signal.ts";
import { type AnyTensor, type AnyView, type Tensor, viewOf } from "./tensor.ts";
import { checkTensor } from "./validate/tensors.ts";
import { kindOf } from "./validate/words.ts";

const cannot = "Cannot differentiate";

/** Options of `attention()` that its gradients depend on, or that are about time. */
export type GradientOptions = Omit<AttentionOptions, "lse" | "out" | "encoder">;

/** Options of `attentionBackward()`: those that `attention()` was called with, and what it gave. */
export interface BackwardOptions extends GradientOptions {
  /** What `attention()` gave: `[B, Hq, Nq, Dv]`. */
  readonly out: AnyTensor;
  /** What `attention()` gave with `lse: true`: `[B, Hq, Nq]`, f32. */
  readonly lse: Tensor<Float32Array | GPUBuffer>;
  /** Gradient by `lse`, where the loss depends on it: as `lse` is. */
  readonly dLse?: Tensor<Float32Array | GPUBuffer>;
}

/** Gradients, each of the shape and layout of what it is the gradient by, contiguous. */
export interface AttentionGradients<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> {
  /** By `q`, stored as `q` is. */
  readonly dq: Tensor<Q>;
  /** By `k`, stored as `k` is; query heads of a group are summed. */
  readonly dk: Tensor<K>;
  /** By `v`, stored as `v` is. */
  readonly dv: Tensor<V>;
  /** By `bias`, f32, summed over the axes along which it was broadcast; where one was given. */
  readonly dBias?: Tensor<LseData<Q>>;
  /** By `sinks`, f32, `[Hq]`; where they were given. */
  readonly dSinks?: Tensor<LseData<Q>>;
}

/** What a backward pass may be told beside the gradient by `out`. */
export interface BackwardPassOptions
  extends Pick<BackwardOptions, "dLse" | "signal" | "onProgress"> {}

/** Result of `attentionWithGradient()`. */
export interface AttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  /**
   * The gradients, from that by `out`. Inputs and `out` must not have changed since; can be called
   * more than once.
   */
  backward(
    dOut: AnyTensor,
    options?: BackwardPassOptions,
  ): Promise<AttentionGradients<Q, K, V>>;
}

/** Checks that a tensor has the shape of a result. */
function checkResult(name: string, value: unknown, shape: readonly number[]): void {
  checkTensor(name, value, cannot);
  checkShape(name, value.shape, shape);
}

function checkShape(name: string, given: readonly number[], expected: readonly number[]): void {
  if (String(given) === String(expected)) return;
  throw new RangeError(`${cannot}: \`${name}\` must have shape [${expected}], got [${given}]`);
}

/** Checks a tensor of one number per row, and reads it as `[B, Hq, Nq, 1]`. */
function checkRows(name: string, value: unknown, shape: readonly number[]): AnyView {
  const given = value as AnyTensor;
  if (!Array.isArray(given?.shape)) {
    throw new TypeError(
      `${cannot}: \`${name}\` must be { data, shape }, got ${kindOf(value)}` +
        (name === "lse" ? "; ask `attention()` for it with `lse: true`" : ""),
    );
  }
  if (given.dtype !== undefined && given.dtype !== "f32") {
    throw new TypeError(`${cannot}: \`${name}\` must be f32, got ${given.dtype}`);
  }
  checkShape(name, given.shape, shape);
  const column = asColumn(given);
  checkTensor(name, column, cannot);
  return viewOf(column, "bhnd");
}

/** Checks that all tensors of a call are where `q` is. */
function checkPlaces(q: AnyTensor, tensors: Readonly<Record<string, unknown>>): void {
  const onGpu = isGpuBuffer(q.data), where = onGpu ? "a GPUBuffer" : "an array";
  for (const [name, tensor] of Object.entries(tensors)) {
    if (tensor === undefined || isGpuBuffer((tensor as AnyTensor).data) === onGpu) continue;
    throw new TypeError(`${cannot}: \`${name}\` must be in ${where} as \`q\` is`);
  }
}

/** Checks a call and decides what it means. */
export function planBackward(
  dOut: AnyTensor,
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: BackwardOptions,
): BackwardPlan {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `${cannot}: \`options\` must have the \`out\` and \`lse\` that attention() gave, ` +
        `got ${kindOf(options)}`,
    );
  }
  const { out, lse, dLse, ...rest } = options, { layout = "bhnd" } = rest;
  if ("encoder" in rest) {
    throw new TypeError(`${cannot}: \`encoder\` is for \`attention()\` alone`);
  }
  const forward = planAttention(q, k, v, rest), rows = forward.outShape.slice(0, -1);
  checkResult("dOut", dOut, forward.outShape);
  checkResult("out", out, forward.outShape);
  // Rows are [B, Hq, Nq] in both layouts.
  const perRow = [forward.batch, forward.queryHeads, forward.queries].slice(3 - rows.length);
  const lseView = checkRows("lse", lse, perRow);
  const dLseView = dLse === undefined ? null : checkRows("dLse", dLse, perRow);
  checkPlaces(q, { k, v, dOut, out, lse, dLse });
  return Object.freeze({
    forward,
    dOut: viewOf(dOut, layout),
    out: viewOf(out, layout),
    lse: lseView,
    lseRest: null,
    dLse: dLseView,
  });
}

/** Runs a call on a backend. */
export async function runBackward<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  chosen: Backend,
  dOut: AnyTensor,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: BackwardOptions,
  lseRest?: AnyTensor,
): Promise<AttentionGradients<Q, K, V>> {
  const plan: BackwardPlan = {
    ...planBackward(dOut, q, k, v, options),
    lseRest: lseRest === undefined ? null : viewOf(asColumn(lseRest), "bhnd"),
  };
  const { forward } = plan;
  const backend = chosen.choose === undefined ? chosen : await chosen.choose(forward, options);
  checkCall(backend, plan, options);
  const onGpu = isGpuBuffer(q.data), made: Made = {};
  try {
    for (const [name, result] of results(forward, { q, k, v }, options)) {
      made[name] = onGpu ? await makeOnGpu(backend, result) : makeOnHost(result);
    }
    await backend.backward(plan, targetOf(made, forward, options), options);
    return made as unknown as AttentionGradients<Q, K, V>;
  } catch (error) {
    for (const { data } of Object.values(made)) if (isGpuBuffer(data)) data.destroy();
    throw error;
  }
}

/** Runs a call on a backend to its end. */
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
): AttentionGradients<Q, K, V> {
  if (backend.backwardSync === undefined) {
    throw new Error(
      `${cannot}: the ${backend.name} backend has no \`attentionBackwardSync()\`, ` +
        "use `attentionBackward()`",
    );
  }
  const plan = planBackward(dOut, q, k, v, options), { forward } = plan, made: Made = {};
  checkCall(backend, plan, options);
  for (const [name, result] of results(forward, { q, k, v }, options)) {
    made[name] = makeOnHost(result);
  }
  backend.backwardSync(plan, targetOf(made, forward, options), options);
  return made as unknown as AttentionGradients<Q, K, V>;
}

/** Checks that a call can run on a backend, and should. */
function checkCall(backend: Backend, plan: BackwardPlan, options: BackwardOptions): void {
  backend.check(plan.forward, options);
  backend.checkReadable?.(cannot, [plan.dOut, plan.out, plan.lse]);
  throwIfAborted(options.signal);
}

/** Gradients that there are so far. */
type Made = { -readonly [Name in keyof AttentionGradients]?: AnyTensor };

/** What a gradient is made like. */
interface Result {
  readonly like: TensorData;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** The gradients of a call. */
function results(
  forward: AttentionPlan,
  { q, k, v }: { q: AnyTensor; k: AnyTensor; v: AnyTensor },
  { bias, sinks }: BackwardOptions,
): (readonly [keyof AttentionGradients, Result])[] {
  const floats = new Float32Array();
  return [
    ["dq", { like: q.data, shape: q.shape, dtype: forward.q.dtype }],
    ["dk", { like: k.data, shape: k.shape, dtype: forward.k.dtype }],
    ["dv", { like: v.data, shape: v.shape, dtype: forward.v.dtype }],
    ...(bias ? [["dBias", { like: floats, shape: bias.shape, dtype: "f32" }] as const] : []),
    ...(sinks ? [["dSinks", { like: floats, shape: sinks.shape, dtype: "f32" }] as const] : []),
  ];
}

function makeOnHost({ like, shape, dtype }: Result): AnyTensor {
  return makeTensor(like as HostData, dtype, [...shape]);
}

async function makeOnGpu(backend: Backend, { shape, dtype }: Result): Promise<AnyTensor> {
  return { data: await backend.createBuffer!(shape, dtype), shape: [...shape], dtype };
}

/** How a backend sees the gradients. */
function targetOf(
  made: Made,
  { batch, queryHeads, queries, keys }: AttentionPlan,
  { layout = "bhnd" }: BackwardOptions,
): GradientTarget {
  const { dBias, dSinks } = made;
  const view = (name: "dq" | "dk" | "dv") => viewOf(made[name]!, layout);
  return {
    ...{ dq: view("dq"), dk: view("dk"), dv: view("dv") },
    dBias: dBias === undefined ? null : {
      ...broadcastOf(dBias, [batch, queryHeads, queries, keys]),
      ...{ data: dBias.data as BroadcastView["data"], dtype: "f32" as const },
    },
    dSinks: dSinks === undefined ? null : dSinks.data as BroadcastView["data"],
  };
}

/** Runs attention, and keeps what its gradients need. */
export async function runWithGradient<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  backend: Backend,
  q: Tensor<Q>,
  k: Tensor<K>,
  v: Tensor<V>,
  options: GradientOptions = {},
): Promise<AttentionWithGradient<Q, K, V>> {
  const asked = { ...options, lse: true }, plan = planAttention(q, k, v, asked);
  const { out, lse, lseRest } = await runPlan(backend, plan, q, asked, true) as KeptResult<Q>;
  // Who waits for the forward pass need not be who waits for this one.
  const { signal: _, onProgress: __, ...meaning } = options;
  return {
    ...{ out, lse },
    backward: (dOut, pass = {}) =>
      runBackward(backend, dOut, q, k, v, { ...meaning, ...pass, out, lse }, lseRest),
  };
}
