/**
 * attention(): validate, plan, run.
 *
 * @module
 */

import type { Backend, Target } from "./backend.ts";
import { bytesPerElement, type DType, type TensorData, zerosLike } from "./dtype.ts";
import type { AttentionOptions } from "./options.ts";
import { throwIfAborted } from "./signal.ts";
import { type AttentionPlan, planAttention } from "./plan.ts";
import {
  type AnyTensor,
  contiguousStrides,
  copyView,
  mayOverlap,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "./tensor.ts";

/** Result of `attention()`. */
export interface AttentionResult<Data extends TensorData = Float32Array> {
  /**
   * `[B, Hq, Nq, Dv]` in the rank and layout of `q`, stored as `q` is; the tensor passed as `out`,
   * if one was.
   */
  readonly out: Tensor<Data>;
  /** Natural log-sum-exp of each row's scores, f32, `[B, Hq, Nq]`; with `lse: true` only. */
  readonly lse?: Tensor<Float32Array>;
}

/** Result of `attention()` with `lse: true`. */
export type AttentionResultWithLse<Data extends TensorData = Float32Array> = Required<
  AttentionResult<Data>
>;

/** Runs a call on a backend. */
export async function runAttention<Data extends TensorData>(
  backend: Backend,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): Promise<AttentionResult<Data>> {
  const plan = planAttention(q, k, v, options);
  throwIfAborted(options.signal);
  const call = beginCall(backend, plan, q.data, options);
  await backend.run(plan, call.target, options);
  return call.finish();
}

/** Runs a call on a backend to its end. */
export function runAttentionSync<Data extends TensorData>(
  backend: Backend,
  q: Tensor<Data>,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): AttentionResult<Data> {
  const plan = planAttention(q, k, v, options);
  throwIfAborted(options.signal);
  const call = beginCall(backend, plan, q.data, options);
  backend.runSync(plan, call.target, options);
  return call.finish();
}

interface Call<Data extends TensorData> {
  readonly target: Target;
  finish(): AttentionResult<Data>;
}

/** Finds a place for the results: arrays of the kind that the queries are in. */
function beginCall<Data extends TensorData>(
  backend: Backend,
  plan: AttentionPlan,
  like: Data,
  options: AttentionOptions,
): Call<Data> {
  const layout = options.layout ?? "bhnd";
  const lse = plan.lseShape === null ? undefined : makeLse(plan.lseShape);
  const lseView = lse === undefined ? null : viewOfLse(lse, plan);
  const given = plan.out;
  if (given === null) {
    const out = makeTensor(like, plan.q.dtype, plan.outShape);
    const target = { out: viewOf(out, layout), lse: lseView };
    return { target, finish: () => ({ out, ...(lse && { lse }) }) };
  }
  const result = { out: options.out as Tensor<Data>, ...(lse && { lse }) };
  if (![plan.q, plan.k, plan.v].some((input) => mayOverlap(input, given))) {
    return { target: { out: given, lse: lseView }, finish: () => result };
  }
  // Written in place, a tile could overwrite what a later one still reads.
  const apart = viewOf(makeTensor(options.out!.data, given.dtype, plan.outShape), layout);
  const place = backend.follow(given);
  return {
    target: { out: apart, lse: lseView },
    finish: () => {
      copyView(apart, place());
      return result;
    },
  };
}

function makeLse(shape: readonly number[]): Tensor<Float32Array> {
  return makeTensor(new Float32Array(0), "f32", shape);
}

function makeTensor<Data extends TensorData>(
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

function viewOfLse(lse: Tensor<Float32Array>, plan: AttentionPlan): View {
  const shape = [plan.batch, plan.queryHeads, plan.queries, 1] as const;
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  return { data: lse.data, dtype: "f32", offset: 0, shape, strides };
}
