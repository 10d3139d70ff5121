/**
 * What the gradients of attention can be asked, and the meaning of a backward pass.
 *
 * @module
 */

import { checkShapeOf, readRows, readTensor } from "../../check/tensors.ts";
import { cannot as cannotAttend, kindOf, readOptions } from "../../check/words.ts";
import type { Control } from "../../contract/backend.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import { readOf } from "../../tensor/arrays.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import {
  type AnyTensor,
  type AnyView,
  type ReadData,
  type ReadTensor,
  type Tensor,
  type View,
  viewOf,
} from "../../tensor/tensor.ts";
import { readAttentionOptions } from "../attention/check/options.ts";
import { type AttentionOptions, optionNames } from "../attention/options.ts";
import { type AttentionCall, readAttention, type TensorPlan } from "../attention/plan.ts";
import type { AttentionResultWithLse, LseData } from "../attention/result.ts";

/** What the messages of gradients begin with. */
export const cannot = "Cannot differentiate";

/** Options of `attention()` that its gradients depend on, or that are about time. */
export type GradientOptions = Omit<AttentionOptions, "lse" | "out" | "encoder">;

/** Options of `attentionBackward()`: those that `attention()` was called with, and what it gave. */
export interface BackwardOptions extends GradientOptions {
  /** What `attention()` gave: `[B, Hq, Nq, Dv]`. */
  readonly out: AnyTensor;
  /** What `attention()` gave with `lse: true`: `[B, Hq, Nq]`, f32. */
  readonly lse: Tensor<Float32Array | GPUBuffer>;
  /** Gradient with respect to `lse`, where the loss depends on it: as `lse` is. */
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
  /** By each array of `scoreMod` that was captured with `grad`, f32, of its shape; where there are some. */
  readonly dCaptured?: ReadonlyMap<CapturedArray, Tensor<LseData<Q>>>;
}

/** What a backward pass may be told besides the gradient with respect to `out`. */
export interface BackwardPassOptions
  extends Pick<BackwardOptions, "dLse" | "signal" | "onProgress"> {}

/** Result of `attentionWithGradient()`. */
export interface AttentionWithGradient<
  Q extends TensorData = Float32Array,
  K extends TensorData = Q,
  V extends TensorData = Q,
> extends AttentionResultWithLse<Q> {
  /**
   * The gradients, from that with respect to `out`. Inputs and `out` must not have changed since; can be called
   * more than once.
   */
  backward(
    dOut: AnyTensor,
    options?: BackwardPassOptions,
  ): Promise<AttentionGradients<Q, K, V>>;
}

/** Options of `attention()` that its gradients depend on, or that are about time, by name. */
export const gradientNames = optionNames.filter((name): name is keyof GradientOptions & string =>
  !["lse", "out", "encoder"].includes(name)
);

/** Every option of `attentionBackward()`, by name. */
export const backwardNames = [...gradientNames, "out", "lse", "dLse"] as const;

const passNames = ["dLse", "signal", "onProgress"] as const;

/** A backward pass as it was read. */
export interface BackwardCall {
  readonly plan: BackwardPlan;
  readonly control: Control;
}

/** Checks that all tensors of a call are where `q` is. */
export function checkPlaces(
  q: ReadData,
  tensors: Readonly<Record<string, { readonly data: ReadData } | null>>,
  doing = cannot,
): void {
  const onGpu = isGpuBuffer(q), where = onGpu ? "a GPUBuffer" : "an array";
  for (const [name, tensor] of Object.entries(tensors)) {
    if (tensor === null || isGpuBuffer(tensor.data) === onGpu) continue;
    throw new TypeError(`${doing}: \`${name}\` must be in ${where} as \`q\` is`);
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
  checkAsked(options);
  const { out, lse, dLse, ...rest } = readOptions(options, backwardNames, cannot);
  const { plan, control } = readAttention(q, k, v, rest);
  checkExact(plan, cannot);
  return { plan: planPass(plan, dOut, { out, lse, dLse }), control };
}

/** Checks that the results are those whose gradients are computed: by integers they are of other weights. */
function checkExact({ precision }: TensorPlan, doing: string): void {
  if (precision === "f32") return;
  throw new RangeError(
    `${doing}: \`precision\` must be "f32" where gradients are asked for, got "${precision}"`,
  );
}

/** Checks that there are options, and no encoder among them, by messages of their own. */
export function checkAsked(options: unknown): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `${cannot}: \`options\` must have the \`out\` and \`lse\` that attention() gave, ` +
        `got ${kindOf(options)}`,
    );
  }
  if (readOf(options as { encoder?: unknown }, "encoder") === undefined) return;
  throw new TypeError(`${cannot}: \`encoder\` is for \`attention()\` alone`);
}

/** The gradients of a forward call that was read. */
function planPass(
  forward: TensorPlan,
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
  checkPlaces(forward.q.data, { k: forward.kv.k, v: forward.kv.v, ...views });
  return Object.freeze({ forward, ...views });
}

/** Reads a tensor of the shape of a result. */
function readResult(name: string, value: unknown, shape: readonly number[]): ReadTensor {
  const tensor = readTensor(name, value, cannot);
  checkShapeOf(name, tensor.shape, shape, cannot);
  return tensor;
}

/** A checked call of `attentionBackward()`. */
export interface BackwardPlan<V extends AnyView = AnyView> {
  /** The call whose gradients are asked for. */
  readonly forward: TensorPlan<V>;
  /** Gradient with respect to `out`: `[B, Hq, Nq, Dv]`, of any storage. */
  readonly dOut: V;
  /** What the call gave: `[B, Hq, Nq, Dv]`, and `[B, Hq, Nq, 1]` in f32. */
  readonly out: V;
  readonly lse: V;
  /** What rounding to f32 took from `lse`, as it; `null` where that is not known. */
  readonly lseRest: V | null;
  /** Gradient with respect to `lse`, as it; `null` for zeros. */
  readonly dLse: V | null;
}

/** The same with all tensors in arrays. */
export type HostBackwardPlan = BackwardPlan<View>;

/** Reads a call whose gradients are to be asked for. */
export function readWithGradient(
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: GradientOptions = {},
): AttentionCall<TensorPlan> {
  const given = readOptions(options, gradientNames, cannotAttend);
  const call = readAttention(q, k, v, { ...given, lse: true });
  checkExact(call.plan, cannotAttend);
  return { ...call, keepsRest: true };
}

/** Reads a backward pass: what belongs to the forward call was settled with it. */
export function readPass(
  forward: TensorPlan,
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
