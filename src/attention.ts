/**
 * attention(): validate, plan, run.
 *
 * @module
 */

import type { Backend, Target } from "./backend.ts";
import {
  bytesPerElement,
  type DType,
  type HostData,
  isGpuBuffer,
  type TensorData,
  zerosLike,
} from "./dtype.ts";
import type { AttentionOptions, Layout } from "./options.ts";
import { throwIfAborted } from "./signal.ts";
import { type AttentionPlan, mayBeRead, planAttention } from "./plan.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  copyView,
  isOnHost,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "./tensor.ts";

/** Result of `attention()`. */
export interface AttentionResult<Data extends TensorData = Float32Array> {
  /**
   * `[B, Hq, Nq, Dv]` in the rank and layout of `q`, stored as `q` is; the tensor passed as `out`,
   * if one was. On the GPU where `q` is: the buffer is the caller's to destroy.
   */
  readonly out: Tensor<Data>;
  /**
   * Natural log-sum-exp of each row's scores, f32, `[B, Hq, Nq]`, on the GPU where `out` is; with
   * `lse: true` only.
   */
  readonly lse?: Tensor<LseData<Data>>;
}

/** What holds `lse`: a buffer where the result is one. */
export type LseData<Data extends TensorData> = Data extends GPUBuffer ? GPUBuffer : Float32Array;

/** Result of `attention()` with `lse: true`. */
export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

/** The same with what rounding took from `lse`, where that is. */
export interface KeptResult<Data extends TensorData> extends AttentionResultWithLse<Data> {
  readonly lseRest: Tensor<LseData<Data>>;
}

/** Runs a call on a backend. */
export async function runAttention<Data extends TensorData>(
  chosen: Backend,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): Promise<AttentionResult<Data>> {
  return await runPlan(chosen, planAttention(q, k, v, options), q, options);
}

/** Runs the plan of a call on a backend; a `KeptResult` where that is asked for. */
export async function runPlan<Data extends TensorData>(
  chosen: Backend,
  plan: AttentionPlan,
  q: Tensor<Data>,
  options: AttentionOptions,
  keepsRest = false,
): Promise<AttentionResult<Data>> {
  const backend = chosen.choose === undefined ? chosen : await chosen.choose(plan, options);
  backend.check(plan, options);
  throwIfAborted(options.signal);
  // The data of `out` decides, and of `q` without one, so that it is `Data`.
  const { data } = options.out ?? q;
  // Arrays are followed by the one that was asked: they may be in its memory, whoever runs the plan.
  const call = isGpuBuffer(data)
    ? await beginGpuCall(backend, plan, options, keepsRest)
    : beginCall(chosen, plan, data, options, keepsRest);
  try {
    await backend.run(plan, call.target, options);
  } catch (error) {
    call.discard?.();
    throw error;
  }
  return call.finish() as AttentionResult<Data>;
}

/** Runs a call on a backend to its end. */
export function runAttentionSync<Data extends TensorData>(
  backend: Backend,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): AttentionResult<Data> {
  checkSync(backend);
  return runPlanSync(backend, planAttention(q, k, v, options), q, options);
}

function checkSync(
  backend: Backend,
): asserts backend is Backend & Required<Pick<Backend, "runSync">> {
  if (backend.runSync !== undefined) return;
  throw new Error(
    `Cannot attend: the ${backend.name} backend has no \`attentionSync()\`, use \`attention()\``,
  );
}

/** Runs the plan of a call on a backend to its end. */
export function runPlanSync<Data extends TensorData>(
  backend: Backend,
  plan: AttentionPlan,
  q: Tensor<Data>,
  options: AttentionOptions,
): AttentionResult<Data> {
  checkSync(backend);
  backend.check(plan, options);
  throwIfAborted(options.signal);
  const call = beginCall(backend, plan, q.data as HostData, options);
  backend.runSync(plan, call.target, options);
  return call.finish() as AttentionResult<Data>;
}

interface Call {
  readonly target: Target;
  finish(): { out: AnyTensor; lse?: AnyTensor };
  /** Frees what was made for the results, where that does not happen by itself. */
  discard?(): void;
}

/** Finds a place for the results: arrays of the kind that `like` is. */
function beginCall(
  backend: Backend,
  plan: AttentionPlan,
  like: HostData,
  options: AttentionOptions,
  keepsRest = false,
): Call {
  const layout = options.layout ?? "bhnd";
  const rows = (needed: boolean) =>
    needed ? makeTensor(new Float32Array(0), "f32", plan.lseShape!) : undefined;
  const lse = rows(plan.lseShape !== null), lseRest = rows(keepsRest);
  const ofRows = {
    lse: lse === undefined ? null : viewOfLse(lse, plan),
    lseRest: lseRest === undefined ? null : viewOfLse(lseRest, plan),
  };
  const given = plan.out;
  if (given === null || !isOnHost(given)) {
    const out = makeTensor(like, plan.q.dtype, plan.outShape);
    return resultCall({ out, lse, lseRest }, { out: viewOf(out, layout), ...ofRows });
  }
  const result = options.out!;
  if (!mayBeRead(plan, given)) {
    return resultCall({ out: result, lse, lseRest }, { out: given, ...ofRows });
  }
  // Written in place, a tile could overwrite what a later one still reads.
  const apart = viewOf(makeTensor(like, given.dtype, plan.outShape), layout);
  const place = backend.follow(given);
  const call = resultCall({ out: result, lse, lseRest }, { out: apart, ...ofRows });
  return {
    target: call.target,
    finish: () => {
      copyView(apart, place());
      return call.finish();
    },
  };
}

/** The same on the GPU. */
async function beginGpuCall(
  backend: Backend,
  plan: AttentionPlan,
  options: AttentionOptions,
  keepsRest: boolean,
): Promise<Call> {
  const layout: Layout = options.layout ?? "bhnd";
  const made: GPUBuffer[] = [];
  const make = async (shape: readonly number[], dtype: DType): Promise<Tensor<GPUBuffer>> => {
    const data = await backend.createBuffer!(shape, dtype);
    made.push(data);
    return { data, shape, dtype };
  };
  const discard = () => made.forEach((buffer) => buffer.destroy());
  try {
    const lse = plan.lseShape === null ? undefined : await make(plan.lseShape, "f32");
    const out = options.out ?? await make(plan.outShape, plan.q.dtype);
    const lseRest = keepsRest ? await make(plan.lseShape!, "f32") : undefined;
    const call = resultCall({ out, lse, lseRest }, {
      out: plan.out ?? viewOf(out, layout),
      lse: lse === undefined ? null : viewOfLse(lse, plan),
      lseRest: lseRest === undefined ? null : viewOfLse(lseRest, plan),
    });
    return { ...call, discard };
  } catch (error) {
    discard();
    throw error;
  }
}

function resultCall(
  { out, lse, lseRest }: { out: AnyTensor; lse?: AnyTensor; lseRest?: AnyTensor },
  target: { out: AnyView; lse: AnyView | null; lseRest?: AnyView | null },
): Call {
  const result = { out, ...(lse && { lse }), ...(lseRest && { lseRest }) };
  return { target: target as Target, finish: () => result };
}

/**
 * A tensor of zeros for a result.
 *
 * @throws {RangeError} When there is no memory for it.
 */
export function makeTensor<Data extends HostData>(
  like: Data,
  dtype: DType,
  shape: readonly number[],
): Tensor<Data> {
  try {
    return { data: zerosLike(like, sizeOf(shape)) as Data, shape, dtype };
  } catch (cause) {
    const bytes = sizeOf(shape) * bytesPerElement(dtype);
    throw new RangeError(`Cannot attend: no ${bytes} bytes for a result of shape [${shape}]`, {
      cause,
    });
  }
}

function viewOfLse(lse: Tensor<Float32Array | GPUBuffer>, plan: AttentionPlan): AnyView {
  const shape = [plan.batch, plan.queryHeads, plan.queries, 1] as const;
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  return { data: lse.data, dtype: "f32", offset: 0, shape, strides } as AnyView;
}
