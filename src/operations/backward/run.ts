/**
 * attentionBackward(): the gradients of attention. Validate, plan, run.
 *
 * @module
 */

import { throwIfAborted } from "../../check/errors.ts";
import { checkShapeOf, readRows, readTensor } from "../../check/tensors.ts";
import { kindOf, readOptions } from "../../check/words.ts";
import type { Backend, Control } from "../../contract/backend.ts";
import { HeldArray, readOf } from "../../tensor/arrays.ts";
import { broadcastOf } from "../../tensor/broadcast.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import {
  type AnyTensor,
  type ReadData,
  type ReadTensor,
  type Tensor,
  viewOf,
} from "../../tensor/tensor.ts";
import { readAttentionOptions } from "../attention/check/options.ts";
import { type AttentionOptions, optionNames } from "../attention/options.ts";
import {
  type AttentionCall,
  type AttentionPlan,
  type BackwardPlan,
  dataOf,
  readAttention,
  type Storage,
} from "../attention/plan.ts";
import {
  type AttentionResultWithLse,
  isHere,
  type KeptResult,
  kindFor,
  type LseData,
  makeTensor,
  type OwnData,
  runCall,
} from "../attention/run.ts";
import type { GradientTarget } from "./target.ts";

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
  readonly dLse?: Tensor<Float32Array | GPUBuffer> | undefined;
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

/** Options of `attention()` that its gradients depend on, or that are about time, by name. */
const gradientNames = optionNames.filter((name): name is keyof GradientOptions & string =>
  !["lse", "out", "encoder"].includes(name)
);

const backwardNames = [...gradientNames, "out", "lse", "dLse"] as const;

const passNames = ["dLse", "signal", "onProgress"] as const;

/** A backward pass as it was read. */
export interface BackwardCall {
  readonly plan: BackwardPlan;
  readonly control: Control;
}

/** Checks that all tensors of a call are where `q` is. */
function checkPlaces(
  q: ReadData,
  tensors: Readonly<Record<string, { readonly data: ReadData } | null>>,
): void {
  const onGpu = isGpuBuffer(q), where = onGpu ? "a GPUBuffer" : "an array";
  for (const [name, tensor] of Object.entries(tensors)) {
    if (tensor === null || isGpuBuffer(tensor.data) === onGpu) continue;
    throw new TypeError(`${cannot}: \`${name}\` must be in ${where} as \`q\` is`);
  }
}

/** Reads a call and decides what it means. */
export function readBackward(
  dOut: AnyTensor,
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: BackwardOptions,
): BackwardCall {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `${cannot}: \`options\` must have the \`out\` and \`lse\` that attention() gave, ` +
        `got ${kindOf(options)}`,
    );
  }
  checkEncoder(options);
  const { out, lse, dLse, ...rest } = readOptions(options, backwardNames, cannot);
  const { plan, control } = readAttention(q, k, v, rest, gradientNames);
  return { plan: planPass(plan, dOut, { out, lse, dLse }), control };
}

function checkEncoder(options: object): void {
  if (readOf(options as { encoder?: unknown }, "encoder") === undefined) return;
  throw new TypeError(`${cannot}: \`encoder\` is for \`attention()\` alone`);
}

/** The gradients of a forward call that was read. */
function planPass(
  forward: AttentionPlan,
  dOut: AnyTensor,
  given: Readonly<Record<"out" | "lse" | "dLse", unknown>>,
  lseRest?: AnyTensor,
): BackwardPlan {
  const { batch, queryHeads, queries, outShape, written: { layout } } = forward;
  // Rows are [B, Hq, Nq] in both layouts.
  const perRow = [batch, queryHeads, queries].slice(4 - outShape.length);
  const hint = "; ask `attention()` for it with `lse: true`";
  const ofRows = (name: string, rows: unknown) =>
    rows === undefined ? null : viewOf(readRows(name, rows, perRow, cannot), "bhnd");
  const views = {
    dOut: viewOf(readResult("dOut", dOut, outShape), layout),
    out: viewOf(readResult("out", given.out, outShape), layout),
    lse: viewOf(readRows("lse", given.lse, perRow, cannot, hint), "bhnd"),
    lseRest: ofRows("lseRest", lseRest),
    dLse: ofRows("dLse", given.dLse),
  };
  checkPlaces(forward.q.data, { k: forward.k, v: forward.v, ...views });
  return Object.freeze({ forward, ...views });
}

/** Reads a tensor of the shape of a result. */
function readResult(name: string, value: unknown, shape: readonly number[]): ReadTensor {
  const tensor = readTensor(name, value, cannot);
  checkShapeOf(name, tensor.shape, shape, cannot);
  return tensor;
}

function dataOfBackward({ forward, dOut, out, lse, dLse }: BackwardPlan) {
  return [...dataOf(forward), dOut.data, out.data, lse.data, dLse && dLse.data];
}

/** Runs a backward pass on a backend. */
export async function runBackward<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  asked: Backend | Promise<Backend>,
  { plan, control }: BackwardCall,
): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const { forward } = plan, leave = useAll(dataOfBackward(plan)), made: Made = {};
  try {
    const chosen = isHere(asked) ? asked : await asked;
    const backend = chosen.choose === undefined ? chosen : await chosen.choose(forward, control);
    checkCall(backend, plan, control);
    const onGpu = isGpuBuffer(forward.q.data);
    for (const [name, result] of results(forward)) {
      made[name] = onGpu ? await makeOnGpu(backend, result) : makeOnHost(result);
    }
    await backend.backward(plan, targetOf(made, forward), control);
    return made as unknown as AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>;
  } catch (error) {
    for (const { data } of Object.values(made)) if (isGpuBuffer(data)) data.destroy();
    throw error;
  } finally {
    leave();
  }
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
  if (backend.backwardSync === undefined) {
    throw new Error(
      `${cannot}: the ${backend.name} backend has no \`attentionBackwardSync()\`, ` +
        "use `attentionBackward()`",
    );
  }
  const { plan, control } = readBackward(dOut, q, k, v, options), { forward } = plan;
  const leave = useAll(dataOfBackward(plan)), made: Made = {};
  try {
    checkCall(backend, plan, control);
    for (const [name, result] of results(forward)) made[name] = makeOnHost(result);
    backend.backwardSync(plan, targetOf(made, forward), control);
    return made as unknown as AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>;
  } finally {
    leave();
  }
}

/** Checks that a call can run on a backend, and should. */
function checkCall(backend: Backend, plan: BackwardPlan, control: Control): void {
  backend.check(plan.forward, control);
  backend.checkReadable?.(cannot, [plan.dOut, plan.out, plan.lse]);
  throwIfAborted(control.signal);
}

/** Gradients that there are so far. */
type Made = { -readonly [Name in keyof AttentionGradients]?: AnyTensor };

/** A gradient that is to be made. */
interface Result extends Storage {
  readonly shape: readonly number[];
}

/** The gradients of a call. */
function results(
  { q, k, v, written, sinks }: AttentionPlan,
): (readonly [keyof AttentionGradients, Result])[] {
  const floats = { like: q.data, dtype: "f32" } as const, { bias } = written;
  return [
    ["dq", { like: q.data, shape: written.q, dtype: q.dtype }],
    ["dk", { like: k.data, shape: written.k, dtype: k.dtype }],
    ["dv", { like: v.data, shape: written.v, dtype: v.dtype }],
    ...(bias ? [["dBias", { ...floats, shape: bias }] as const] : []),
    ...(sinks ? [["dSinks", { ...floats, shape: [sinks.length] }] as const] : []),
  ];
}

function makeOnHost(result: Result): AnyTensor {
  return makeTensor(kindFor(result), result.dtype, [...result.shape]);
}

async function makeOnGpu(backend: Backend, { shape, dtype }: Result): Promise<AnyTensor> {
  return { data: await backend.createBuffer!(shape, dtype), shape: [...shape], dtype };
}

/** How a backend sees the gradients. */
function targetOf(made: Made, forward: AttentionPlan): GradientTarget {
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
  };
}

/** A result of f32 as backends see it. */
function heldFloats({ data }: AnyTensor): HeldArray<Float32Array> | GPUBuffer {
  return isGpuBuffer(data) ? data : new HeldArray(data as Float32Array);
}

/** Runs attention, and keeps what its gradients need. */
export async function runWithGradient<
  Q extends TensorData,
  K extends TensorData,
  V extends TensorData,
>(
  backend: Backend | Promise<Backend>,
  call: AttentionCall,
): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
  const result = await runCall<OwnData<Q>>(backend, call);
  const { out, lse, lseRest } = result as KeptResult<OwnData<Q>>;
  const kept = { out: readTensor("out", out, cannot), lse: { ...lse }, lseRest };
  return {
    ...{ out, lse },
    // Who waits for the forward pass need not be who waits for this one.
    backward: async (dOut, pass = {}) =>
      await runBackward(backend, readPass(call.plan, kept, dOut, pass)),
  };
}

/** Reads a call whose gradients are to be asked for. */
export function readWithGradient(
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: GradientOptions = {},
): AttentionCall {
  const given = readOptions(options, gradientNames, "Cannot attend");
  return { ...readAttention(q, k, v, { ...given, lse: true }), keepsRest: true };
}

/** Reads a backward pass: what belongs to the forward call was settled with it. */
function readPass(
  forward: AttentionPlan,
  { lseRest, ...kept }: Readonly<Record<"out" | "lse", unknown>> & { readonly lseRest: AnyTensor },
  dOut: AnyTensor,
  pass: BackwardPassOptions,
): BackwardCall {
  const { dLse, ...rest } = readOptions(pass, passNames, cannot);
  const { signal, onProgress } = readAttentionOptions(rest, ["signal", "onProgress"]);
  return {
    plan: planPass(forward, dOut, { ...kept, dLse }, lseRest),
    control: { signal, onProgress, encoder: undefined },
  };
}
