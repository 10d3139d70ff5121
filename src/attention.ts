/**
 * attention(): validate, plan, run.
 *
 * @module
 */

import type { Backend, Target } from "./backend.ts";
import type { AttentionOptions } from "./options.ts";
import { type AttentionPlan, planAttention } from "./plan.ts";
import {
  contiguousStrides,
  copyView,
  mayOverlap,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "./tensor.ts";

/** Result of `attention()`. */
export interface AttentionResult {
  /** `[B, Hq, Nq, Dv]` in the rank and layout of `q`; the tensor passed as `out`, if one was. */
  readonly out: Tensor;
  /** Natural log-sum-exp of each row's scores, `[B, Hq, Nq]`; with `lse: true` only. */
  readonly lse?: Tensor;
}

/** Result of `attention()` with `lse: true`. */
export type AttentionResultWithLse = Required<AttentionResult>;

/** Runs a call on a backend. */
export async function runAttention(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Promise<AttentionResult> {
  const plan = planAttention(q, k, v, options);
  options.signal?.throwIfAborted();
  const call = beginCall(plan, options);
  await backend.run(plan, call.target, options);
  return call.finish();
}

/** Runs a call on a backend to its end. */
export function runAttentionSync(
  backend: Backend,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): AttentionResult {
  const plan = planAttention(q, k, v, options);
  options.signal?.throwIfAborted();
  const call = beginCall(plan, options);
  backend.runSync(plan, call.target, options);
  return call.finish();
}

interface Call {
  readonly target: Target;
  finish(): AttentionResult;
}

/** Finds a place for the results. */
function beginCall(plan: AttentionPlan, options: AttentionOptions): Call {
  const layout = options.layout ?? "bhnd";
  const own = () => makeTensor(plan.outShape);
  const lse = plan.lseShape === null ? undefined : makeTensor(plan.lseShape);
  const lseView = lse === undefined ? null : viewOfLse(lse, plan);
  const given = plan.out;
  if (given === null) {
    const out = own();
    const target = { out: viewOf(out, layout), lse: lseView };
    return { target, finish: () => ({ out, ...(lse && { lse }) }) };
  }
  const result = { out: options.out!, ...(lse && { lse }) };
  if (![plan.q, plan.k, plan.v].some((input) => mayOverlap(input, given))) {
    return { target: { out: given, lse: lseView }, finish: () => result };
  }
  // Written in place, a tile could overwrite what a later one still reads.
  const apart = viewOf(own(), layout);
  return {
    target: { out: apart, lse: lseView },
    finish: () => {
      copyView(apart, viewOf(result.out, layout));
      return result;
    },
  };
}

function makeTensor(shape: readonly number[]): Tensor {
  const bytes = sizeOf(shape) * 4;
  try {
    return { data: new Float32Array(sizeOf(shape)), shape, dtype: "f32" };
  } catch (cause) {
    throw new RangeError(`Cannot attend: no ${bytes} bytes for a result of shape [${shape}]`, {
      cause,
    });
  }
}

function viewOfLse(lse: Tensor, plan: AttentionPlan): View {
  const shape = [plan.batch, plan.queryHeads, plan.queries, 1] as const;
  const strides = contiguousStrides(shape) as unknown as View["strides"];
  return { data: lse.data, offset: 0, shape, strides };
}
